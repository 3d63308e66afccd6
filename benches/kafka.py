#!/usr/bin/env python3
"""Measures the CPU time of the daemon for each record that it writes to Kafka, and the delivery time of a window.

Sends one sample of each series to every window over TCP, waits until the brokers have acknowledged all
records, and takes the CPU time of the daemon's process in two parts: receiving, and from then until the last
acknowledgement (flush, encoding, librdkafka). With several binaries, each measures one window in turn,
while the others are stopped.

    cargo build --release
    tests/servers/kafka.sh start /tmp/broker        # prints KAFKA_BROKER=127.0.0.1:PORT
    benches/kafka.py --broker 127.0.0.1:PORT        # add the binary to compare with: OLD target/release/tallyd

Exits with an error if the ledger does not contain every record, once.
"""

import argparse
import datetime
import json
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = """
interval: {interval}s
listeners: [{{ protocol: json, transport: tcp, address: "127.0.0.1:{port}" }}]
admin: {{ listen: "127.0.0.1:{admin}" }}
aggregation: {{ max_series: {limit}, max_series_per_metric: {limit}, max_series_bytes: 1GiB }}
state_dir: {folder}/state
forwarders:
  kafka:
    kafka_broker: {broker}
    kafka_topic: {topic}
    format: {format}
    librdkafka: {{ {properties} }}
"""


def messages(series):
    """Returns one message of each series: of ten series, eight are counters, one is a gauge, one a timer."""
    kinds = ["counter"] * 8 + ["gauge", "timer"]
    lines = []
    for number in range(series):
        message = {
            "metric_name": f"api.requests{number % 10}",
            "metric_type": kinds[number % 10],
            "value": number % 1000,
            "host": f"host-{number // 10:06}",
            "env": "prod",
            "stage": "checkout",
            "region": "eu-west-1",
        }
        lines.append(json.dumps(message, separators=(",", ":")))
    return ("\n".join(lines) + "\n").encode()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Daemon:
    """A running daemon, which is stopped except while its windows are measured."""

    def __init__(self, binary, folder, given):
        self.binary, self.series = binary, given.series
        self.port, self.admin, self.delivered = free_port(), free_port(), 0
        folder.mkdir()
        config = folder / "tallyd.yaml"
        values = dict(
            interval=given.interval,
            port=self.port,
            admin=self.admin,
            limit=2 * given.series,
            folder=folder,
            broker=given.broker,
            topic=given.topic,
            format=given.format,
            properties=", ".join(given.property),
        )
        config.write_text(CONFIG.format(**values))
        self.log = folder / "log"
        with open(self.log, "w") as out:
            self.process = subprocess.Popen([binary, "run", "--config", config], stdout=out, stderr=out)
        self.wait_until("the daemon", lambda: self.log.read_text().count(" listening "))
        self.sender = socket.create_connection(("127.0.0.1", self.port))

    def wait_until(self, what, holds, seconds=30):
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"{what}: not within {seconds} s\n{self.log.read_text()}")
            time.sleep(0.05)

    def status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/api/v1/status") as answer:
            return json.load(answer)

    def cpu_seconds(self):
        """Returns the CPU time of the process, user and system."""
        return self.status()["process"]["cpu_s"]

    def window(self, payload):
        """Sends a window. Returns the CPU seconds for receiving, those for the rest, and the delivery time."""
        # Starts with a new window, so that all samples and readings fit into it.
        ends = self.status()["windows"]["closed"]
        self.wait_until("a window", lambda: self.status()["windows"]["closed"] > ends)
        start = self.cpu_seconds()
        received = self.status()["ledger"]["received"] + self.series
        self.sender.sendall(payload)
        self.wait_until("the samples", lambda: self.status()["ledger"]["received"] >= received)
        sent = self.status()
        self.delivered += self.series
        # Requests no status until the acknowledgements should have arrived, 0.8 s after the end of the
        # window: the CPU time of a request would count.
        time.sleep(self.until_the_end(sent) + 0.8)
        self.wait_until("delivery", lambda: self.counts()["delivered"] >= self.delivered)
        end = self.status()
        if end["windows"]["closed"] != sent["windows"]["closed"] + 1:
            print("samples or acknowledgements late for their window, which is repeated", file=sys.stderr)
            return self.window(payload)
        last = moment(self.counts(end)["last_success"]) - moment(end["windows"]["last_end"])
        spent = [status["process"]["cpu_s"] for status in (sent, end)]
        return spent[0] - start, spent[1] - spent[0], last.total_seconds()

    def until_the_end(self, status):
        end = moment(status["windows"]["last_end"]).timestamp() + status["windows"]["interval_s"]
        return max(0, end - time.time())

    def counts(self, status=None):
        return (status or self.status())["forwarders"]["kafka"]

    def check(self):
        counts = self.counts()
        seen = [counts[word] for word in ("flushed", "delivered", "failures")] + [counts["dropped"]]
        if seen != [self.delivered, self.delivered, 0, {}]:
            sys.exit(f"{self.binary}: the ledger is not exact: {counts}")

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        self.resume()
        self.process.terminate()
        self.process.wait(30)


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def report(daemon, windows):
    per_million = 1e6 / daemon.series
    received, rest, last = (statistics.median(column) for column in zip(*windows))
    both = statistics.median(window[0] + window[1] for window in windows)
    slowest = max(window[2] for window in windows)
    print(
        f"| {daemon.binary} | {received * per_million:.2f} | {rest * per_million:.2f} |"
        f" {both * per_million:.2f} | {last:.3f} | {slowest:.3f} |"
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--broker", required=True, help="host:port of a broker")
    arguments.add_argument("--topic", default="tallyd-bench", help="an existing topic, or one that brokers create")
    arguments.add_argument("--series", type=int, default=100_000, help="records in a window (default 100000)")
    arguments.add_argument("--windows", type=int, default=10, help="windows for each binary (default 10)")
    arguments.add_argument("--interval", type=int, default=4, help="seconds of a window (default 4)")
    arguments.add_argument("--format", default="pystatsd", help="pystatsd (default), json or influx")
    arguments.add_argument("--property", action="append", default=[], help="of librdkafka, such as 'linger.ms: 5'")
    arguments.add_argument("binaries", nargs="*", default=[ROOT / "target/release/tallyd"])
    given = arguments.parse_args()
    payload = messages(given.series)
    with tempfile.TemporaryDirectory() as name:
        daemons = []
        try:
            for number, binary in enumerate(given.binaries):
                daemons.append(Daemon(binary, pathlib.Path(name) / str(number), given))
                # Two windows before the measurement, which open connections, allocate and fill caches.
                daemons[-1].window(payload)
                daemons[-1].window(payload)
                daemons[-1].pause()
            measured = measure(daemons, payload, given.windows)
        finally:
            for daemon in daemons:
                daemon.end()
    print("CPU seconds for a million records, and seconds from the end of a window to the last acknowledgement")
    print("| binary | receive | flush and Kafka | both | delivered after | slowest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for daemon, windows in zip(daemons, measured):
        report(daemon, windows)


def measure(daemons, payload, times):
    measured = [[] for _ in daemons]
    for _ in range(times):
        for daemon, windows in zip(daemons, measured):
            daemon.resume()
            windows.append(daemon.window(payload))
            daemon.check()
            daemon.pause()
    return measured


if __name__ == "__main__":
    main()
