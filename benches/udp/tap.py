#!/usr/bin/env python3
"""What it costs a daemon that somebody looks on, and whether it takes a single message less.

Sends datagrams at a rate to a daemon, once for each way of looking on and once with nobody, in turns.
The clients are `tallyd tap`, whose output is read and counted. The CPU time is the daemon's whole
process, from before the first datagram until it has read the last.

    cargo build --release && benches/udp/tap.py --rate 100000

Needs gcc, and a core for the generator and the clients beside the daemon's.
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
admin: {{ listen: "127.0.0.1:{admin}" }}
forwarders: {{ file: {{ path: /dev/null }} }}
"""
# Names of the generator are api.requests, db.latency and the like, each with its series behind it.
WAYS = {
    "nobody": [],
    "one, everything": [[]],
    "one, a name that does not come": [["--match", "no.such.name"]],
    "one, 8 % of the samples": [["--match", "*queries*"]],
    "one, a glob without a text": [["--match", "?[a-c]*"]],
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
    """(sent, sent a second, accepted, kernel drops, CPU seconds, lines that clients saw, their last words)"""
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
        time.sleep(1.2)  # The last counts.
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
    arguments.add_argument("--rate", type=int, default=100_000, help="datagrams a second (default 100000)")
    arguments.add_argument("--seconds", type=int, default=10)
    arguments.add_argument("--rounds", type=int, default=3, help="how often each is measured (default 3)")
    arguments.add_argument("--protocol", choices=["json", "statsd"], default="json")
    arguments.add_argument("--daemon", default=ROOT / "target/release/tallyd", help="the binary")
    given = arguments.parse_args()
    costs, worst = {way: [] for way in WAYS}, 0
    print("| who looks on | sent | a second | accepted | kernel drops | CPU s | shown |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    words = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        for _ in range(given.rounds):
            for way, clients in WAYS.items():
                sent, reached, accepted, drops, cpu, lines, words[way] = measure(
                    given.daemon, folder, given.protocol, clients, given.series, given.rate, given.seconds
                )
                costs[way].append(cpu / sent * 1e6)
                worst = max(worst, abs(sent - accepted))
                shown = ", ".join(f"{count:,}" for count in lines)
                print(f"| {way} | {sent:,} | {reached:,} | {accepted:,} | {drops} | {cpu:.2f} | {shown} |", flush=True)
    print("\n| who looks on | CPU s a million | times nobody's |\n| --- | --- | --- |")
    nobody = costs["nobody"]
    for way, values in costs.items():
        ratio = statistics.median(value / base for value, base in zip(values, nobody))
        print(f"| {way} | {statistics.median(values):.3f} | {ratio:.2f} |")
    print()
    for way, said in words.items():
        for line in said:
            print(f"{way}: {line}")
    if worst:
        sys.exit(f"accepted and sent differ by up to {worst}")


if __name__ == "__main__":
    main()
