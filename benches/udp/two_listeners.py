#!/usr/bin/env python3
"""Measures the speed-up of two listeners over one, with a core for each.

The backlog method with wall time: the daemon is stopped, the sockets are filled, and then it continues.
As no sender runs during the measurement, two cores are enough. The backlog of one listener is timed,
then two such backlogs in two listeners; the speed-up is twice the first time divided by the second. Two
sinks compared with one sink show the speed-up that the machine allows: cores share memory, and virtual
cores share more.

    cargo build --release && benches/udp/two_listeners.py

Needs gcc, two cores and root (for receive buffers of a gigabyte).
"""

import argparse
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from receiver import ROOT, build, socket_of, wait_until

PORTS = (15094, 15095)
CONFIG = """
receive_buffer: 1000MiB
listeners: [{listeners}]
admin: {{ listen: none }}
forwarders: {{ file: {{ path: /dev/null }} }}
"""
LOADS = {
    "statsd, 1 a datagram": ("statsd", []),
    "JSON, 1 a datagram": ("json", []),
    "JSON, 10 a datagram": ("json", ["--per-datagram", "10"]),
}


def daemon_of(binary, folder, protocol, ports):
    """Returns the command of a daemon with a listener on each port."""
    listeners = [f'{{ protocol: {protocol}, address: "127.0.0.1:{port}" }}' for port in ports]
    config = folder / "tallyd.yaml"
    config.write_text(CONFIG.format(listeners=", ".join(listeners)))
    return [[binary, "run", "--config", config]]


def sinks(folder, ports):
    """Returns the commands of a sink on each port."""
    sink = [folder / "sink", "--rcvbuf", "1000000000", "--listen"]
    return [[*sink, f"127.0.0.1:{port}"] for port in ports]


def drain(commands, ports, send, datagrams):
    """Returns the seconds until the backlog of `datagrams` datagrams in each socket is processed."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, **quiet) for command in commands]
    sockets = lambda: [socket_of(port) for port in ports]

    def signal_all(number):
        for process in processes:
            os.kill(process.pid, number)

    def send_all(count, *more):
        for port in ports:
            to = ["--dest", f"127.0.0.1:{port}", "--count", str(count)]
            subprocess.run([*send, *to, *more], check=True, **quiet)

    try:
        wait_until("the receivers", lambda: None not in sockets())
        send_all(10_000, "--rate", "50000")
        wait_until("the warm-up", lambda: not any(waiting for waiting, _ in sockets()))
        signal_all(signal.SIGSTOP)
        send_all(datagrams)
        began = time.monotonic()
        signal_all(signal.SIGCONT)
        wait_until("the backlog", lambda: not any(waiting for waiting, _ in sockets()))
        took = time.monotonic() - began
        if any(dropped for _, dropped in sockets()):
            sys.exit("the kernel dropped datagrams; is this root?")
        return took
    finally:
        signal_all(signal.SIGINT)
        for process in processes:
            process.wait(20)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5, help="pairs for each load (default 5)")
    arguments.add_argument("--datagrams", type=int, default=400_000, help="in each socket")
    arguments.add_argument("--daemon", default=ROOT / "target/release/tallyd", help="the binary")
    given = arguments.parse_args()
    print("| load | receiver | one, s | two, s | speed-up |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        for load, (protocol, options) in LOADS.items():
            send = [folder / "loadgen", "--format", protocol, "--series", "1000", *options]
            receivers = {
                "sink": lambda ports: sinks(folder, ports),
                "tallyd": lambda ports: daemon_of(given.daemon, folder, protocol, ports),
            }
            for who, commands in receivers.items():
                rounds = []
                for _ in range(given.rounds):
                    one, two = (
                        drain(commands(ports), ports, send, given.datagrams)
                        for ports in (PORTS[:1], PORTS)
                    )
                    rounds.append((one, two, 2 * one / two))
                one, two, times = (statistics.median(column) for column in zip(*rounds))
                print(f"| {load} | {who} | {one:.3f} | {two:.3f} | {times:.2f} |", flush=True)


if __name__ == "__main__":
    main()
