#!/usr/bin/env python3
"""Measures CPU time per metric, compared with a sink that only receives: the backlog method.

The receiver is stopped (SIGSTOP), its socket is filled, and then it continues and is timed until the
socket is empty. So it runs at full speed, on one core, without a sender and without waiting.
The sink (one thread, recvmmsg, data discarded) shows the cost of the kernel's part alone.
Sink and daemon take turns. Compare the ratio of each pair: times differ between machines and from
minute to minute.

    cargo build --release && benches/udp/backlog.py

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

from receiver import ROOT, build, peak_memory, socket_of, wait_until

SINK_PORT, DAEMON_PORT = 15098, 15099

# name: (loadgen's options, datagrams, metrics in each)
MIX = ["--mix", "80,10,10,0"]
LOADS = {
    "statsd, 1 a datagram, 1,000 series": (["--format", "statsd", "--series", "1000", *MIX], 600_000, 1),
    "statsd, 10 a datagram, 1,000 series": (["--format", "statsd", "--series", "1000", "--per-datagram", "10", *MIX], 100_000, 10),
    "statsd, 1 a datagram, 100,000 series": (["--format", "statsd", "--series", "100000", "--mix", "100,0,0,0"], 600_000, 1),
    "JSON, 1 a datagram, 1,000 series": (["--format", "json", "--series", "1000", *MIX], 600_000, 1),
    "JSON, 10 a datagram, 1,000 series": (["--format", "json", "--series", "1000", "--per-datagram", "10", *MIX], 100_000, 10),
    "JSON, 1 a datagram, 100,000 series": (["--format", "json", "--series", "100000", "--mix", "100,0,0,0"], 600_000, 1),
}

CONFIG = """
receive_buffer: 1000MiB
listeners: [{{ protocol: {protocol}, address: "127.0.0.1:{port}" }}]
admin: {{ listen: none }}
aggregation: {{ max_series: 1000000, max_series_per_metric: 1000000 }}
forwarders: {{ file: {{ path: /dev/null }} }}
"""


def cpu_seconds(pid):
    """CPU time of all threads, to the nanosecond."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def measure(command, port, folder, options, datagrams):
    """Processes one backlog. Returns (CPU seconds, datagrams dropped, peak memory in MiB)."""
    send = ["taskset", "-c", "1", folder / "loadgen", "--dest", f"127.0.0.1:{port}", *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    receiver = subprocess.Popen(["taskset", "-c", "0", *command], **quiet)
    pid = receiver.pid
    try:
        wait_until("the receiver", lambda: socket_of(port) is not None)
        # Sends every series once, so that none is new during the measurement.
        warm_up = ["--count", str(min(datagrams, 120_000)), "--rate", "100000"]
        subprocess.run([*send, *warm_up], check=True, **quiet)
        wait_until("the warm-up", lambda: socket_of(port)[0] == 0)
        dropped = socket_of(port)[1]
        os.kill(pid, signal.SIGSTOP)
        subprocess.run([*send, "--count", str(datagrams)], check=True, **quiet)
        before = cpu_seconds(pid)
        os.kill(pid, signal.SIGCONT)
        wait_until("the backlog", lambda: socket_of(port)[0] == 0)
        time.sleep(0.02)  # The last batch has left the socket and is being processed.
        used = cpu_seconds(pid) - before
        return used, socket_of(port)[1] - dropped, peak_memory(pid)
    finally:
        receiver.send_signal(signal.SIGINT)
        receiver.wait(20)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5, help="pairs for each load (default 5)")
    arguments.add_argument("--only", default="", help="only loads with this in their name")
    arguments.add_argument("--daemon", default=ROOT / "target/release/tallyd", help="the binary")
    given = arguments.parse_args()
    print("| load | sink s/M | tallyd s/M | ratio | peak MiB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        for load, (options, datagrams, per) in LOADS.items():
            if given.only not in load:
                continue
            protocol = "json" if "JSON" in load else "statsd"
            config = folder / "tallyd.yaml"
            config.write_text(CONFIG.format(protocol=protocol, port=DAEMON_PORT))
            sink = [folder / "sink", "--listen", f"127.0.0.1:{SINK_PORT}", "--rcvbuf", "1000000000"]
            daemon = [given.daemon, "run", "--config", config]
            sinks, daemons, ratios, peak = [], [], [], 0
            for _ in range(given.rounds):
                floor, lost, _ = measure(sink, SINK_PORT, folder, options, datagrams)
                used, dropped, peak = measure(daemon, DAEMON_PORT, folder, options, datagrams)
                if lost or dropped:
                    sys.exit(f"{load}: the kernel dropped datagrams; is this root?")
                millions = datagrams * per / 1e6
                sinks.append(floor / millions)
                daemons.append(used / millions)
                ratios.append(used / floor)
            print(
                f"| {load} | {statistics.median(sinks):.3f} | {statistics.median(daemons):.3f} "
                f"| {statistics.median(ratios):.2f} | {peak:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
