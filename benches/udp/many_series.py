#!/usr/bin/env python3
"""Measures memory with many series, and checks that the end of a window does not block the receiver.

Sends each series several times over windows of 3 s, at a constant rate, to a socket with the default
buffer. Peak memory includes the flushes. Datagrams dropped by the kernel show that the receiver was
blocked for longer than its buffer lasts.

    cargo build --release && benches/udp/many_series.py --rate 100000

Needs gcc and, at high rates, a separate core for the generator.
"""

import argparse
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

from receiver import ROOT, build, peak_memory, socket_of, wait_until

PORT = 15096
CONFIG = """
interval: 3s
listeners: [{{ protocol: {protocol}, address: "127.0.0.1:{port}" }}]
restart_state: {{ enabled: false }}
admin: {{ listen: none }}
aggregation: {{ max_series: 2000000, max_series_per_metric: 2000000, max_series_bytes: 1GiB }}
forwarders: {{ file: {{ path: /dev/null }} }}
"""


def measure(daemon, folder, protocol, series, times, rate):
    """Returns (datagrams sent per second, peak memory in MiB, datagrams received, datagrams dropped)."""
    config = folder / "tallyd.yaml"
    config.write_text(CONFIG.format(protocol=protocol, port=PORT))
    log = folder / "log"
    with open(log, "w") as out:
        process = subprocess.Popen([daemon, "run", "--config", config], stdout=out, stderr=out)
    try:
        wait_until("the daemon", lambda: socket_of(PORT) is not None)
        send = [folder / "loadgen", "--dest", f"127.0.0.1:{PORT}", "--format", protocol]
        send += ["--series", str(series), "--mix", "100,0,0,0", "--count", str(series * times)]
        sent = subprocess.run([*send, "--rate", str(rate)], check=True, capture_output=True, text=True)
        wait_until("the rest", lambda: socket_of(PORT)[0] == 0)
        time.sleep(4)  # Until the last window is delivered.
        peak = peak_memory(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    ledger = re.search(r"received=(\d+) .*kernel_drops=(\d+)", log.read_text())
    if not ledger:
        sys.exit(f"the daemon left no ledger:\n{log.read_text()}")
    reached = re.search(r" rate=(\d+)", sent.stdout)
    return int(reached.group(1)), peak, int(ledger.group(1)), int(ledger.group(2))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--series", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments.add_argument("--times", type=int, default=6, help="how often each is sent (default 6)")
    arguments.add_argument("--rate", type=int, default=100_000, help="datagrams per second (default 100000)")
    arguments.add_argument("--daemon", default=ROOT / "target/release/tallyd", help="the binary")
    given = arguments.parse_args()
    print("| series | sent | a second | received | kernel drops | peak MiB |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        for series in given.series:
            for protocol in ("json", "statsd"):
                reached, peak, received, dropped = measure(
                    given.daemon, folder, protocol, series, given.times, given.rate
                )
                sent = series * given.times
                print(
                    f"| {series:,} {protocol} | {sent:,} | {reached:,} | {received:,} | {dropped:,} | {peak:.0f} |",
                    flush=True,
                )
                if received + dropped != sent:
                    sys.exit("received and dropped datagrams do not add up to the datagrams sent")


if __name__ == "__main__":
    main()
