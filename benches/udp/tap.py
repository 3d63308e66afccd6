#!/usr/bin/env python3
"""Measures the cost of taps, and checks that the daemon does not lose a message because of them.

Sends datagrams at a constant rate to a daemon, in turns without taps and with different taps. The
clients are `tallyd tap`, whose output is read and counted. The CPU time is that of the daemon's whole
process, from before the first datagram until it has read the last.

    cargo build --release && benches/udp/tap.py --rate 100000

Needs gcc, and a separate core for the generator and the clients.
"""

import argparse
import http.client
import json
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from receiver import ROOT, build, socket_of, wait_until

PORT, ADMIN = 15093, 15094
CONFIG = """
interval: 3s
listeners: [{{ protocol: {protocol}, address: "127.0.0.1:{port}" }}]
restart_state: {{ enabled: false }}
admin: {{ listen: "127.0.0.1:{admin}" }}
forwarders: {{ file: {{ path: /dev/null }} }}
"""
# The generator's names are api.requests, db.latency and the like, each followed by its series.
TAPS = {
    "none": [],
    "one, everything": [[]],
    "one, a name that does not occur": [["--match", "no.such.name"]],
    "one, 8 % of the samples": [["--match", "*queries*"]],
    "one, a glob without literal text": [["--match", "?[a-c]*"]],
    "four, all of these": [[], ["--match", "no.such.name"], ["--match", "*queries*"], ["--match", "?[a-c]*"]],
}


def status():
    connection = http.client.HTTPConnection("127.0.0.1", ADMIN, timeout=30)
    connection.request("GET", "/api/v1/status")
    return json.loads(connection.getresponse().read())


def answers():
    try:
        return bool(status())
    except OSError:
        return False


def measure(daemon, folder, protocol, clients, series, rate, seconds):
    """Runs one load.

    Returns (sent, sent per second, accepted, kernel drops, CPU seconds, lines shown by each client,
    last line that each client printed on standard error).
    """
    config = folder / "tallyd.yaml"
    config.write_text(CONFIG.format(protocol=protocol, port=PORT, admin=ADMIN))
    process = subprocess.Popen([daemon, "run", "--config", config], stderr=subprocess.DEVNULL)
    taps = []
    try:
        wait_until("the daemon", answers)
        for number, options in enumerate(clients):
            with open(folder / f"tap{number}", "w") as out, open(folder / f"said{number}", "w") as said:
                command = [daemon, "tap", "--admin", f"127.0.0.1:{ADMIN}", *options]
                taps.append(subprocess.Popen(command, stdout=out, stderr=said))
        wait_until("the clients", lambda: status()["taps"]["open"] == len(clients))
        before = status()["process"]["cpu_s"]
        send = [folder / "loadgen", "--dest", f"127.0.0.1:{PORT}", "--format", protocol]
        send += ["--series", str(series), "--count", str(rate * seconds), "--rate", str(rate)]
        load = subprocess.run(send, check=True, capture_output=True, text=True).stdout
        wait_until("the rest", lambda: socket_of(PORT)[0] == 0)
        after = status()
        sent = int(re.search(r"datagrams=(\d+)", load).group(1))
        reached = int(re.search(r" rate=(\d+)", load).group(1))
        ledger = after["ledger"]
        cpu = after["process"]["cpu_s"] - before
        time.sleep(1.2)  # Until the clients have the last counts.
    finally:
        for tap in taps:
            tap.send_signal(signal.SIGINT)
            tap.wait(30)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    lines = [sum(1 for _ in open(folder / f"tap{number}")) for number in range(len(clients))]
    said = [(folder / f"said{number}").read_text().strip().split("\n")[-1] for number in range(len(clients))]
    return sent, reached, ledger["aggregated"], ledger["kernel_drops"], cpu, lines, said


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--series", type=int, default=1_000)
    arguments.add_argument("--rate", type=int, default=100_000, help="datagrams per second (default 100000)")
    arguments.add_argument("--seconds", type=int, default=10)
    arguments.add_argument("--rounds", type=int, default=3, help="how often each is measured (default 3)")
    arguments.add_argument("--protocol", choices=["json", "statsd"], default="json")
    arguments.add_argument("--daemon", default=ROOT / "target/release/tallyd", help="the binary")
    given = arguments.parse_args()
    costs, worst = {name: [] for name in TAPS}, 0
    print("| taps | sent | per second | accepted | kernel drops | CPU s | shown |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    said = {}
    with tempfile.TemporaryDirectory() as path:
        folder = pathlib.Path(path)
        build(folder)
        for _ in range(given.rounds):
            for name, clients in TAPS.items():
                sent, reached, accepted, drops, cpu, lines, said[name] = measure(
                    given.daemon, folder, given.protocol, clients, given.series, given.rate, given.seconds
                )
                costs[name].append(cpu / sent * 1e6)
                worst = max(worst, abs(sent - accepted))
                shown = ", ".join(f"{count:,}" for count in lines)
                print(f"| {name} | {sent:,} | {reached:,} | {accepted:,} | {drops} | {cpu:.2f} | {shown} |", flush=True)
    print("\n| taps | CPU s per million | ratio to none |\n| --- | --- | --- |")
    for name, values in costs.items():
        ratio = statistics.median(value / base for value, base in zip(values, costs["none"]))
        print(f"| {name} | {statistics.median(values):.3f} | {ratio:.2f} |")
    print()
    for name, last_lines in said.items():
        for line in last_lines:
            print(f"{name}: {line}")
    if worst:
        sys.exit(f"accepted and sent differ by up to {worst}")


if __name__ == "__main__":
    main()
