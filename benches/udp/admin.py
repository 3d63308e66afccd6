#!/usr/bin/env python3
"""Measures the admin endpoint's response times under load, and the datagrams lost meanwhile.

Sends statsd lines at a constant rate and requests each path in turn, over a connection that stays
open like that of a browser or a scraper. The time is measured from the first byte of a request to
the last byte of the reply.

    cargo build --release && benches/udp/admin.py --rate 100000

Needs gcc, and a separate core for the generator.
"""

import argparse
import http.client
import pathlib
import signal
import subprocess
import tempfile
import time

from receiver import ROOT, build, socket_of, wait_until

PORT, ADMIN = 15097, 15098
PATHS = ["/", "/healthz", "/readyz", "/metrics", "/api/v1/status", "/api/v1/rejected", "/api/v1/history", "/api/v1/top", "/api/v1/reload"]
CONFIG = f"""
interval: 3s
listeners: [{{ protocol: statsd, address: "127.0.0.1:{PORT}" }}]
restart_state: {{ enabled: false }}
admin: {{ listen: "127.0.0.1:{ADMIN}" }}
forwarders: {{ file: {{ path: /dev/null }} }}
"""


def request(connection, path):
    """Requests a path. Returns (milliseconds, bytes)."""
    began = time.perf_counter()
    connection.request("GET", path)
    reply = connection.getresponse()
    body = reply.read()
    if reply.status != 200:
        raise SystemExit(f"{path}: {reply.status}")
    return (time.perf_counter() - began) * 1000, len(body)


def measure(daemon, folder, series, rate, seconds):
    """Sends requests until the generator is done.

    Returns (times by path, sizes by path, output of the generator, datagrams dropped).
    """
    config = folder / "tallyd.yaml"
    config.write_text(CONFIG)
    process = subprocess.Popen([daemon, "run", "--config", config], stderr=subprocess.DEVNULL)
    times, sizes = {path: [] for path in PATHS}, {}
    try:
        wait_until("the daemon", lambda: socket_of(PORT) is not None)
        send = [folder / "loadgen", "--dest", f"127.0.0.1:{PORT}", "--format", "statsd"]
        send += ["--series", str(series), "--count", str(rate * seconds), "--rate", str(rate)]
        load = subprocess.Popen(send, stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        connection = http.client.HTTPConnection("127.0.0.1", ADMIN, timeout=30)
        while load.poll() is None:
            for path in PATHS:
                took, sizes[path] = request(connection, path)
                times[path].append(took)
            # A browser sends one request per second; this is 140 per second.
            time.sleep(0.05)
        dropped = socket_of(PORT)[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    return times, sizes, load.stdout.read(), dropped


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--series", type=int, default=10_000)
    arguments.add_argument("--rate", type=int, default=100_000, help="datagrams per second (default 100000)")
    arguments.add_argument("--seconds", type=int, default=30)
    arguments.add_argument("--daemon", default=ROOT / "target/release/tallyd", help="the binary")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        times, sizes, said, dropped = measure(
            given.daemon, folder, given.series, given.rate, given.seconds
        )
    print(said.strip())
    print(f"kernel drops: {dropped}\n")
    print("| path | bytes | requests | median ms | 99 % below ms | most ms |\n| --- | --- | --- | --- | --- | --- |")
    for path, took in times.items():
        took.sort()
        at = lambda share: took[min(len(took) - 1, int(len(took) * share))]
        print(f"| `{path}` | {sizes[path]:,} | {len(took)} | {at(0.5):.2f} | {at(0.99):.2f} | {took[-1]:.2f} |")


if __name__ == "__main__":
    main()
