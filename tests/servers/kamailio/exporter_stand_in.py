#!/usr/bin/env python3
"""Stands in for Callr's Prometheus exporter for Kamailio, release 1.

The exporter itself cannot be built where its Go module is not available. This program has its flags, its
default port, its moment of polling (the scrape) and its page. A test compares the page with one that the
exporter made of recorded replies. It shares no code with tallyd.

usage: exporter_stand_in.py [--kamailio.scrape-uri=unix:PATH] [--kamailio.methods=A,B]
                            [--kamailio.timeout=SECONDS] [--web.listen-address=HOST:PORT]
"""
import argparse
import re
import socket
import sys
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INT, STR, DOUBLE, STRUCT, ARRAY, NAME, BYTES = range(7)
REPLY = 1
METHODS = "tm.stats,sl.stats,core.shmmem,core.uptime,core.tcp_info"
CODES = "Per-code counters."

# By method: field, type, help text.
FIELDS = {
    "tm.stats": [
        ("current", "gauge", "Current transactions."),
        ("waiting", "gauge", "Waiting transactions."),
        ("total", "counter", "Total transactions."),
        ("total_local", "counter", "Total local transactions."),
        ("rpl_received", "counter", "Number of reply received."),
        ("rpl_generated", "counter", "Number of reply generated."),
        ("rpl_sent", "counter", "Number of reply sent."),
        ("created", "counter", "Created transactions."),
        ("freed", "counter", "Freed transactions."),
        ("delayed_free", "counter", "Delayed free transactions."),
    ],
    "sl.stats": [],
    "core.shmmem": [
        ("total", "gauge", "Total shared memory."),
        ("free", "gauge", "Free shared memory."),
        ("used", "gauge", "Used shared memory."),
        ("real_used", "gauge", "Real used shared memory."),
        ("max_used", "gauge", "Max used shared memory."),
        ("fragments", "gauge", "Number of fragments in shared memory."),
    ],
    "core.uptime": [("uptime", "counter", "Uptime in seconds.")],
    "core.tcp_info": [
        ("readers", "gauge", "Total TCP readers."),
        ("max_connections", "gauge", "Maximum TCP connections"),
        ("max_tls_connections", "gauge", "Maximum TLS connections."),
        ("opened_connections", "gauge", "Opened TCP connections."),
        ("opened_tls_connections", "gauge", "Opened TLS connections."),
        ("write_queued_bytes", "gauge", "Write queued bytes."),
    ],
    "tls.info": [
        ("opened_connections", "gauge", "TLS Opened Connections."),
        ("max_connections", "gauge", "TLS Max Connections."),
    ],
    "dlg.stats_active": [
        (field, "gauge", f"Dialogs {field}.")
        for field in ("starting", "connecting", "answering", "ongoing", "all")
    ],
    "dispatcher.list": [],
}


class ScrapeError(Exception):
    """The scrape ends here."""


class Reader:
    """Reads the records of a reply."""

    def __init__(self, payload):
        self.payload, self.at = payload, 0

    def take(self, count):
        piece = self.payload[self.at : self.at + count]
        if len(piece) < count:
            raise ScrapeError("short reply")
        self.at += count
        return piece

    def record(self):
        """The type and the value of the next record; None is the end of a struct."""
        head = self.take(1)[0]
        kind = head & 0x0F
        if kind == DOUBLE:
            raw = int.from_bytes(self.take(head >> 4), "big", signed=head >> 4 == 8)
            return kind, raw / 1000
        size = (head >> 4) & 7
        if head & 0x80:
            if size == 0:
                return kind, None
            size = int.from_bytes(self.take(size), "big")
        if kind in (STRUCT, ARRAY):
            return kind, self.members()
        value = self.take(size)
        if kind == INT:
            return kind, int.from_bytes(value, "big")
        return kind, value.rstrip(b"\0").decode("utf-8", "replace")

    def members(self):
        """The members of a struct, as pairs."""
        pairs = []
        while True:
            kind, value = self.record()
            if value is None:
                return pairs
            if kind == NAME:
                pairs.append((value, self.record()[1]))
            else:
                pairs.append(("", value))


class Kamailio:
    """A connection to the ctl socket."""

    def __init__(self, uri, timeout):
        kind, _, place = uri.partition(":")
        place = place.removeprefix("//")
        if kind == "unix":
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(place)
        else:
            host, _, port = place.rpartition(":")
            self.socket = socket.create_connection((host, int(port)), timeout)
        self.cookie = 0

    def call(self, method):
        """The only record of the reply, which must be a struct."""
        self.cookie += 1
        text = method.encode() + b"\0"
        assert len(text) < 128
        payload = bytes([0x90 | STR, len(text)]) + text
        header = bytes([0xA1, 0x03, len(payload)]) + self.cookie.to_bytes(4, "big")
        self.socket.sendall(header + payload)
        kind, reply = self.reply()
        if kind != REPLY or not reply:
            raise ScrapeError(f"{method}: refused")
        reader = Reader(reply)
        kind, pairs = reader.record()
        if kind != STRUCT or reader.at < len(reply):
            raise ScrapeError(f"{method}: not one struct")
        return pairs

    def reply(self):
        magic, head = self.receive(2)
        if magic != 0xA1:
            raise ScrapeError("no BINRPC")
        length = int.from_bytes(self.receive(((head >> 2) & 3) + 1), "big")
        cookie = int.from_bytes(self.receive((head & 3) + 1), "big")
        if cookie != self.cookie:
            raise ScrapeError("another cookie")
        return head >> 4, self.receive(length)

    def receive(self, count):
        received = b""
        while len(received) < count:
            piece = self.socket.recv(count - len(received))
            if not piece:
                raise ScrapeError("closed")
            received += piece
        return received


class Page:
    """Families of samples."""

    def __init__(self):
        self.families = {}

    def add(self, name, kind, help_text, value, **labels):
        samples = self.families.setdefault(name, (kind, help_text, {}))[2]
        samples[tuple(sorted(labels.items()))] = value

    def method(self, method, pairs):
        prefix = "kamailio_" + method.replace(".", "_")
        values = dict(pairs)
        for field, kind, help_text in FIELDS[method]:
            if field in values:
                name = f"{prefix}_{field}" + ("_total" if kind == "counter" else "")
                self.add(name, kind, help_text, float(values[field]))
        if method in ("tm.stats", "sl.stats"):
            for field, value in pairs:
                if re.fullmatch("[0-9x]{3}", field):
                    self.add(f"{prefix}_codes_total", "counter", CODES, float(value), code=field)
        if method == "dispatcher.list":
            for target in targets(values):
                self.add(f"{prefix}_target", "gauge", "Target status.", 1.0, **target)

    def text(self):
        lines = []
        for name, (kind, help_text, samples) in sorted(self.families.items()):
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
            for labels, value in sorted(samples.items(), key=lambda sample: [v for _, v in sample[0]]):
                shown = ",".join(f'{label}="{escaped(text)}"' for label, text in labels)
                lines.append(f"{name}{'{' + shown + '}' if shown else ''} {number(value)}")
        return "\n".join(lines) + "\n"


def targets(values):
    """The labels of each destination of `dispatcher.list`."""
    for _, dispatcher_set in values["RECORDS"]:
        members = dict(dispatcher_set)
        if members["ID"] == 0:
            raise ScrapeError("a set without ID")
        for name, target in members["TARGETS"]:
            if name == "DEST":
                fields = dict(target)
                yield {"flags": fields["FLAGS"], "setid": str(members["ID"]), "uri": fields["URI"]}


def escaped(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value):
    """A number as Go's `%g` writes it."""
    decimal = Decimal(repr(value)).normalize()
    sign, digits, exponent = decimal.as_tuple()
    power = len(digits) - 1 + exponent
    if value == 0 or -4 <= power < 6:
        return f"{decimal:f}"
    fraction = "".join(map(str, digits[1:]))
    mantissa = f"{'-' if sign else ''}{digits[0]}{'.' if fraction else ''}{fraction}"
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


class Exporter:
    """The counts of scrapes, and the page of each."""

    def __init__(self, flags):
        self.flags, self.total, self.failed = flags, 0, 0

    def scrape(self):
        page, is_up = Page(), 1.0
        self.total += 1
        try:
            kamailio = Kamailio(self.flags.uri, self.flags.timeout)
            for method in self.flags.methods.split(","):
                page.method(method.strip(), kamailio.call(method.strip()))
        except (OSError, ScrapeError, KeyError, ValueError) as error:
            print(f"scrape failed: {error!r}", file=sys.stderr)
            self.failed += 1
            is_up = 0.0
        for word, count in [("total", self.total), ("failed", self.failed)]:
            help_text = f"Number of {word} kamailio scrapes"
            page.add(f"kamailio_exporter_{word}_scrapes", "counter", help_text, float(count))
        page.add("kamailio_up", "gauge", "Was the last scrape successful.", is_up)
        return page.text()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-u", "--kamailio.scrape-uri", dest="uri", default="unix:/var/run/kamailio/kamailio_ctl")
    parser.add_argument("-m", "--kamailio.methods", dest="methods", default=METHODS)
    parser.add_argument("-t", "--kamailio.timeout", dest="timeout", type=lambda text: float(text.rstrip("s")), default=5.0)
    parser.add_argument("-l", "--web.listen-address", dest="listen", default=":9494")
    exporter = Exporter(parser.parse_args())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            is_page = self.path == "/metrics"
            body = exporter.scrape().encode() if is_page else b"see /metrics\n"
            self.send_response(200 if is_page else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    host, _, port = exporter.flags.listen.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    print(f"listening on {server.server_address[0]}:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
