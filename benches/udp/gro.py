#!/usr/bin/env python3
"""Measures what `gro` saves: CPU time per datagram, for senders with and without UDP_SEGMENT.

The backlog method of backlog.py: the receiver is stopped, `tallyd bench` fills its socket, and the
receiver is timed until the socket is empty. All receivers take turns with both kinds of senders.

    cargo build --release && benches/udp/gro.py

Needs gcc, two cores and root (for a receive buffer of a gigabyte).
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

from receiver import ROOT, build, cpu_seconds, socket_of, wait_until

PORT = 15097
CONFIG = """
receive_buffer: 1000MiB
listeners: [{{ protocol: {protocol}, address: "127.0.0.1:{port}"{keys} }}]
admin: {{ listen: none }}
forwarders: {{ file: {{ path: /dev/null }} }}
"""
# All messages of a load have one size, so that 64 datagrams share a packet.
LOADS = {
    "statsd, 1 a datagram": ["--protocol", "statsd", "--tags", "1", "--message-bytes", "60"],
    "JSON, 1 a datagram": ["--protocol", "json", "--message-bytes", "200"],
    "statsd, 10 a datagram": ["--protocol", "statsd", "--tags", "1", "--message-bytes", "60", "--batch", "10"],
}
SENDERS = {"plain": [], "UDP_SEGMENT": ["--gso"]}


def receivers(folder, protocol, daemons):
    """Returns the commands of the receivers, by name."""
    sink = [folder / "sink", "--listen", f"127.0.0.1:{PORT}", "--rcvbuf", "1000000000"]
    commands = {"sink": sink, "sink, UDP_GRO": [*sink, "--gro"]}
    for name, binary, keys in daemons:
        config = folder / f"{name}.yaml".replace(" ", "-")
        config.write_text(CONFIG.format(protocol=protocol, port=PORT, keys=keys))
        commands[name] = [binary, "run", "--config", config]
    return commands


def measure(command, send, datagrams, warm_up):
    """Processes one backlog. Returns the CPU seconds."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    receiver = subprocess.Popen(["taskset", "-c", "0", *command], **quiet)
    try:
        wait_until("the receiver", lambda: socket_of(PORT) is not None)
        subprocess.run([*send, "--count", str(warm_up), "--rate", "100k"], check=True, **quiet)
        wait_until("the warm-up", lambda: socket_of(PORT)[0] == 0)
        dropped = socket_of(PORT)[1]
        os.kill(receiver.pid, signal.SIGSTOP)
        subprocess.run([*send, "--count", str(datagrams), "--rate", "max"], check=True, **quiet)
        before = cpu_seconds(receiver.pid)
        os.kill(receiver.pid, signal.SIGCONT)
        wait_until("the backlog", lambda: socket_of(PORT)[0] == 0)
        time.sleep(0.02)  # The last batch has left the socket and is being processed.
        if socket_of(PORT)[1] > dropped:
            sys.exit("the kernel dropped datagrams; is this root?")
        return cpu_seconds(receiver.pid) - before
    finally:
        receiver.send_signal(signal.SIGINT)
        receiver.wait(20)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5, help="of each pair (default 5)")
    arguments.add_argument("--datagrams", type=int, default=400_000, help="in the socket")
    arguments.add_argument("--daemon", default=ROOT / "target/release/tallyd", help="the binary")
    arguments.add_argument("--before", help="another binary to compare, which need not know `gro`")
    given = arguments.parse_args()
    daemons = [("tallyd", given.daemon, ""), ("tallyd, gro", given.daemon, ", gro: true")]
    if given.before:
        daemons.insert(0, ("tallyd before", given.before, ""))
    print(f"| load | receiver | {', s/M | '.join(SENDERS)}, s/M |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        for load, options in LOADS.items():
            per = 10 if "10 a datagram" in load else 1
            commands = receivers(folder, options[1], daemons)
            used = {(who, how): [] for who in commands for how in SENDERS}
            for _ in range(given.rounds):
                for who, how in used:
                    bench = [given.daemon, "bench", f"udp://127.0.0.1:{PORT}", "--no-admin"]
                    send = ["taskset", "-c", "1", *bench, *options, *SENDERS[how]]
                    messages = given.datagrams // per * per
                    seconds = measure(commands[who], send, messages, 20_000)
                    used[who, how].append(seconds / messages * 1e6)
            for who in commands:
                columns = (f"{statistics.median(used[who, how]):.3f}" for how in SENDERS)
                print(f"| {load} | {who} | {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
