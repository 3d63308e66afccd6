#!/usr/bin/env python3
"""Measures the bytes of a window in each format.

    cargo build --release && benches/sizes.py

One tallyd writes the same window to a file in each format and to stand-ins for its destinations, which count the
bytes of what they receive: bodies of HTTP requests, and streams. The page for Prometheus is requested in each of
its forms. A gRPC request has the body of OTLP over HTTP and five bytes in front of it.

Prints the bytes of a point: of timers only, and of as many counters, gauges, timers and sets.
"""

import argparse
import contextlib
import gzip
import http.server
import json
import pathlib
import socket
import socketserver
import sys
import tempfile
import threading
import time

from prometheus import PROTOBUF, ROOT, free_ports, get, running, wait_until

CONFIG = """
interval: {interval}s
state_dir: {folder}/state
listeners: [{{ transport: tcp, protocol: statsd, address: "127.0.0.1:{tcp}" }}]
admin: {{ listen: "127.0.0.1:{admin}" }}
aggregation: {{ max_series: 1000000, max_series_per_metric: 1000000 }}
forwarders:
"""
SAMPLES = 20


class Web(http.server.BaseHTTPRequestHandler):
    """Accepts every request, and counts the bytes of its body."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        self.server.received += length
        # What OTLP expects. The others accept any success.
        self.send_response(200 if "metrics" in self.path else 204)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Stream(socketserver.BaseRequestHandler):
    """Counts the bytes of a connection."""

    def handle(self):
        while data := self.request.recv(1 << 20):
            self.server.received += len(data)


class Destinations:
    """The section `forwarders`, and the stand-ins for the destinations in it."""

    def __init__(self, folder):
        self.folder, self.servers, self.files, self.pages, self.lists = folder, {}, {}, {}, {}

    def serve(self, label, handler):
        server = socketserver.ThreadingTCPServer if handler is Stream else http.server.ThreadingHTTPServer
        server = server(("127.0.0.1", 0), handler)
        server.daemon_threads, server.received = True, 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers[label] = server
        return f"127.0.0.1:{server.server_address[1]}"

    def add(self, kind, label, **values):
        self.lists.setdefault(kind, []).append({"name": label, **values})

    def add_all(self):
        for form in ("text", "json", "influx"):
            self.files[form] = self.folder / form
            self.add("file", form, path=str(self.files[form]), format=form)
        for compress in (False, True):
            label = "influxdb, gzip" if compress else "influxdb"
            self.add("influxdb", label, url=f"http://{self.serve(label, Web)}", database="m", gzip=compress)
        for label, more in (
            ("graphite", {}),
            ("graphite, pickle", {"protocol": "pickle"}),
            ("graphite, names of statsd", {"naming": "etsy"}),
        ):
            self.add("graphite", label, address=self.serve(label, Stream), **more)
        for dialect in ("dogstatsd", "influx", "signalfx"):
            label = f"statsd, {dialect}"
            self.add("statsd", label, address=self.serve(label, Stream), transport="tcp", dialect=dialect)
        for form in ("summary", "histogram", "native"):
            label, (port,) = f"prometheus, {form}", free_ports(1)
            self.pages[label] = f"http://127.0.0.1:{port}/metrics"
            url = f"http://{self.serve(f'remote write, {form}', Web)}/"
            limits = {"max_series": 1_000_000, "max_page": "1GiB", "listen": f"127.0.0.1:{port}"}
            self.add("prometheus", label, timers=form, remote_write={"url": url}, **limits)
        for temporality in ("delta", "cumulative"):
            for compression in ("none", "gzip"):
                label = f"otlp, {temporality}" + (", gzip" if compression == "gzip" else "")
                endpoint = f"http://{self.serve(label, Web)}"
                more = {"temporality": temporality, "compression": compression, "max_series": 1_000_000}
                self.add("otlp", label, endpoint=endpoint, **more)

    def sizes(self):
        sizes = {label: path.stat().st_size for label, path in self.files.items()}
        sizes |= {label: server.received for label, server in self.servers.items()}
        for label, url in self.pages.items():
            forms = [("text", "text/plain"), ("protobuf", PROTOBUF)]
            for form, accept in forms if "native" in label else forms[:1]:
                page = get(url, accept)
                sizes |= {f"{label}, {form}": len(page), f"{label}, {form}, gzip": len(gzip.compress(page, 1))}
        return sizes


def lines(given, of_each_type):
    """The statsd lines of a window."""
    series = given.mixed if of_each_type else given.timers
    for number in range(series):
        tags = f"#host:web-{number},env:prod,stage:checkout,region:eu-west-1\n"
        # A tail like that of latencies, with two decimals.
        values = ":".join(f"{2 + (number * 7919 + each * 104729) % 9973 / 100 :.2f}" for each in range(SAMPLES))
        yield f"api.latency:{values}|ms|{tags}"
        if of_each_type:
            yield f"api.requests:{number % 50 + 1}|c|{tags}"
            yield f"queue.depth:{number % 2000 / 2}|g|{tags}"
            for member in range(SAMPLES):
                yield f"user.seen:{number * 7 + member}|s|{tags}"


def measure(given, of_each_type, folder):
    destinations = Destinations(folder)
    destinations.add_all()
    tcp, admin = free_ports(2)
    config = CONFIG.format(interval=given.interval, folder=folder, tcp=tcp, admin=admin)
    config += "".join(f"  {kind}: {json.dumps(entries)}\n" for kind, entries in destinations.lists.items())
    (folder / "tallyd.yaml").write_text(config)
    window = "".join(lines(given, of_each_type)).encode()
    points = 4 * given.mixed if of_each_type else given.timers

    def status():
        return json.loads(get(f"http://127.0.0.1:{admin}/api/v1/status"))

    def closed():
        return status()["windows"]["closed"]

    with running([given.tallyd, "run", "--config", folder / "tallyd.yaml"]):
        wait_until(lambda: get(f"http://127.0.0.1:{admin}/readyz"), "start")
        if time.time() % given.interval > given.interval / 2:
            wait_until(lambda: closed() > 0, "window", 2 * given.interval)
        before = closed()
        with contextlib.closing(socket.create_connection(("127.0.0.1", tcp))) as sender:
            sender.sendall(window)
        samples = points * SAMPLES if not of_each_type else given.mixed * (2 + 2 * SAMPLES)
        wait_until(lambda: status()["ledger"]["aggregated"] >= samples, "receiving")
        if closed() > before:
            sys.exit("the window ended too early; please use a longer --interval")

        def is_delivered():
            forwarders = status()["forwarders"].values()
            return all(each["delivered"] >= points for each in forwarders)

        wait_until(is_delivered, "delivery", 2 * given.interval)
        # Afterwards, totals would be sent again.
        sizes = destinations.sizes()
        if closed() > before + 1:
            sys.exit("delivery took longer than a window; please use a longer --interval")
    return {label: size / points for label, size in sizes.items()}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tallyd", default=ROOT / "target/release/tallyd")
    arguments.add_argument("--timers", type=int, default=100_000, help="timers of the first window")
    arguments.add_argument("--mixed", type=int, default=10_000, help="series of each type of the second window")
    arguments.add_argument("--interval", type=int, default=60, help="seconds")
    given = arguments.parse_args()
    columns = []
    for of_each_type in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            columns.append(measure(given, of_each_type, pathlib.Path(folder)))
    print("| bytes of a point | timers | of each type |\n| --- | --- | --- |")
    for label, timers in columns[0].items():
        print(f"| {label} | {timers:,.0f} | {columns[1][label]:,.0f} |")


if __name__ == "__main__":
    main()
