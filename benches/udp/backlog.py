#!/usr/bin/env python3
"""Measures CPU time per metric, compared with a sink that only receives: the backlog method (drain.py).

The sink (one thread, recvmmsg, data discarded) shows the cost of the kernel's part alone.
Sink and daemon take turns. Compare user times and the ratio of each pair: times differ between machines and
from minute to minute.

    cargo build --release && benches/udp/backlog.py

Needs gcc and root (for a receive buffer of a gigabyte).
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

from drain import capacity, drain, running, total, warm_up
from receiver import ROOT, build

SINK_PORT, DAEMON_PORT = 15098, 15099

# name: (loadgen's options, datagrams, metrics in each)
MIX = ["--mix", "80,10,10,0"]
LOADS = {
    "statsd, 1 a datagram, 1,000 series": (["--format", "statsd", "--series", "1000", *MIX], 600_000, 1),
    "statsd, 10 a datagram, 1,000 series": (["--format", "statsd", "--series", "1000", "--per-datagram", "10", *MIX], 200_000, 10),
    "statsd, 1 a datagram, 100,000 series": (["--format", "statsd", "--series", "100000", "--mix", "100,0,0,0"], 600_000, 1),
    "JSON, 1 a datagram, 1,000 series": (["--format", "json", "--series", "1000", *MIX], 600_000, 1),
    "JSON, 10 a datagram, 1,000 series": (["--format", "json", "--series", "1000", "--per-datagram", "10", *MIX], 200_000, 10),
    "JSON, 1 a datagram, 100,000 series": (["--format", "json", "--series", "100000", "--mix", "100,0,0,0"], 600_000, 1),
}

CONFIG = """
interval: 10m
listeners: [{{ protocol: {protocol}, address: "127.0.0.1:{port}" }}]
restart_state: {{ enabled: false }}
admin: {{ listen: none }}
aggregation: {{ max_series: 1000000, max_series_per_metric: 1000000 }}
forwarders: {{ file: {{ path: /dev/null }} }}
"""


def measure(command, port, generator, options, datagrams, drains):
    """Returns the cost of some backlogs in one process."""
    with running(command, [port]) as process:
        if capacity(process, [port]) < datagrams:
            sys.exit("the receive buffer is too small for a backlog; is this root?")
        warm_up(process, [port], generator, options, 120_000, datagrams)
        cost = total([drain(process, [port], generator, options, datagrams) for _ in range(drains)])
    if cost.dropped:
        sys.exit("the kernel dropped datagrams")
    return cost


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5, help="pairs for each load (default 5)")
    arguments.add_argument("--drains", type=int, default=3, help="backlogs for each process (default 3)")
    arguments.add_argument("--only", default="", help="only loads with this in their name")
    arguments.add_argument("--add", action="store_true", help="the sink splits statsd lines and adds their numbers")
    arguments.add_argument("--daemon", default=ROOT / "target/release/tallyd", help="the binary")
    given = arguments.parse_args()
    print("| load | sink s/M | tallyd s/M | ratio | tallyd user s/M | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        for load, (options, datagrams, per) in LOADS.items():
            if given.only not in load:
                continue
            protocol = "json" if "JSON" in load else "statsd"
            config = folder / "tallyd.yaml"
            config.write_text(CONFIG.format(protocol=protocol, port=DAEMON_PORT))
            sink = [folder / "sink", "--listen", f"127.0.0.1:{SINK_PORT}"]
            if given.add:
                sink.append("--add")
            daemon = [given.daemon, "run", "--config", config]
            work = (folder / "loadgen", options, datagrams, given.drains)
            pairs = []
            for _ in range(given.rounds):
                floor = measure(sink, SINK_PORT, *work)
                cost = measure(daemon, DAEMON_PORT, *work)
                millions = cost.datagrams * per / 1e6
                figures = (floor.total, cost.total, cost.user)
                pairs.append([*(seconds / millions for seconds in figures), cost.total / floor.total, cost.peak])
            floor, used, user, ratio, peak = (statistics.median(column) for column in zip(*pairs))
            print(f"| {load} | {floor:.3f} | {used:.3f} | {ratio:.2f} | {user:.3f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
