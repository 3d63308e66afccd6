#!/usr/bin/env python3
"""Measures how the cost of a line and of a flush grows with one parameter at a time, and marks steps.

Cost of a line: user CPU time by the backlog method (drain.py), after a warm-up with the same series and without
a flush. Datagrams have ten lines, so that the kernel's part is small. Cost of a flush: the CPU time of a window
that contains all series, from the moment at which all lines are recorded until the points are delivered.

    cargo build --release && benches/udp/curves.py

A cost is the least of several rounds. A step is a cost of more than 1.5 times that of the previous point.
Needs gcc and root (for a receive buffer of a gigabyte). All curves take half an hour.
"""

import argparse
import contextlib
import math
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Callable, NamedTuple

from drain import CORE, capacity, drain, is_empty, running, send, total, warm_up
from processes import CpuClock, wait_until_quiet
from receiver import ROOT, build, free_port, wait_until

STEP = 1.5
BUFFERED_BYTES = 1_000_000_000
LINES_OF_A_BACKLOG = 1_000_000
CONFIG = """
interval: {interval}s
restart_state: {{ enabled: false }}
listeners: [{listeners}]
admin: {{ listen: none }}
aggregation: {{ max_series: 1100000, max_series_per_metric: 1100000, max_series_bytes: 2GiB }}
forwarders: {{ file: [{forwarders}] }}
"""
COUNTERS, MIX = ["--mix", "100,0,0,0"], ["--mix", "80,10,10,0"]


class Point(NamedTuple):
    """The lines that are sent, and the daemon that receives them."""

    protocol: str  # of the generator
    options: list = []
    series: int = 1000
    lines: int = 10  # in a datagram
    listeners: int = 1
    forwarders: int = 1
    cores: str = CORE


class Curve(NamedTuple):
    title: str
    unit: str
    measure: Callable
    values: tuple
    point: Callable  # from a value to a point


class Bench(NamedTuple):
    daemon: pathlib.Path
    folder: pathlib.Path
    lines: int  # for each point; user time is sampled, so fewer lines give rougher figures
    window: int  # seconds, where a flush is measured

    @property
    def generator(self):
        return self.folder / "loadgen"


@contextlib.contextmanager
def started(bench, point, interval):
    """A running daemon for a point. Yields its process and its ports."""
    protocol = "json" if point.protocol == "json" else "statsd"
    ports = [free_port() for _ in range(point.listeners)]
    listeners = (f'{{ protocol: {protocol}, address: "127.0.0.1:{port}" }}' for port in ports)
    forwarders = (f"{{ name: out{n}, path: /dev/null }}" for n in range(point.forwarders))
    config = bench.folder / "tallyd.yaml"
    config.write_text(
        CONFIG.format(
            interval=interval, listeners=", ".join(listeners), forwarders=", ".join(forwarders)
        )
    )
    with running([bench.daemon, "run", "--config", config], ports, point.cores) as process:
        yield process, ports


def generator_options(point):
    shape = ["--format", point.protocol, "--series", str(point.series), "--per-datagram", str(point.lines)]
    return [*shape, *point.options]


def bytes_of_a_datagram(bench, point):
    """The mean size of the datagrams of a point."""
    command = [bench.generator, *generator_options(point), "--ring", "1000", "--dump"]
    return len(subprocess.run(command, check=True, capture_output=True).stdout) / 1000


def user_time_of_lines(bench, point):
    """Returns user CPU seconds per million lines."""
    options = generator_options(point)
    fitting = BUFFERED_BYTES / (2 * bytes_of_a_datagram(bench, point) + 500)
    with started(bench, point, 3600) as (process, ports):
        room = min(capacity(process, ports), int(fitting))
        warm_up(process, ports, bench.generator, options, math.ceil(point.series / point.lines), room)
        datagrams = min(bench.lines // point.lines, LINES_OF_A_BACKLOG // point.lines, room)
        drains = math.ceil(bench.lines / point.lines / datagrams / len(ports))
        cost = total([drain(process, ports, bench.generator, options, datagrams) for _ in range(drains)])
    return cost.user / (cost.datagrams * point.lines / 1e6)


def sleep_until_window(seconds):
    """Sleeps until just after the end of a window: windows end at multiples of their length."""
    time.sleep(seconds - time.time() % seconds + 0.1)


def cpu_time_of_a_flush(bench, point):
    """Returns CPU seconds per million series. The previous window has the same series."""
    datagrams = math.ceil(point.series / point.lines)
    with started(bench, point, bench.window) as (process, ports):
        room = capacity(process, ports)
        pace = ["--rate", "20000"] if datagrams > room else []
        for _ in range(2):
            sleep_until_window(bench.window)
            wait_until_quiet(process.pid)
            send(bench.generator, ports[0], datagrams, [*generator_options(point), *pace])
            wait_until("the lines", lambda: is_empty(ports))
            wait_until_quiet(process.pid)
        clock = CpuClock(process.pid)
        sleep_until_window(bench.window)
        wait_until_quiet(process.pid)
        return clock.read().total / (point.series / 1e6)


def padded(size):
    """A JSON message with four tags, and a fifth that makes it longer."""
    return Point("json", [*MIX, *(["--pad", str(size)] if size else [])], lines=4)


LINES, FLUSH = "user s per million lines", "CPU s per million series"
CURVES = {
    "series": Curve(
        "Series, statsd lines with a name for each series", LINES, user_time_of_lines,
        (1_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000), lambda n: Point("statsd", COUNTERS, n),
    ),
    "series-json": Curve(
        "Series, JSON messages with four tags", LINES, user_time_of_lines,
        (1_000, 10_000, 50_000, 100_000, 150_000, 250_000, 500_000, 1_000_000), lambda n: Point("json", COUNTERS, n),
    ),
    "tags": Curve(
        "Tags, DogStatsD lines", LINES, user_time_of_lines,
        (0, 2, 4, 6, 8, 10, 15, 20), lambda n: Point("dogstatsd", [*MIX, "--tags", str(n)]),
    ),
    "tags-json": Curve(
        "Tags, JSON messages", LINES, user_time_of_lines,
        (0, 2, 4, 6, 8, 10, 15, 20), lambda n: Point("json", [*MIX, "--tags", str(n)]),
    ),
    "size": Curve(
        "Bytes added to a JSON message of about 130", LINES, user_time_of_lines,
        (0, 64, 128, 256, 384, 512, 768, 1024), padded,
    ),
    "lines": Curve(
        "Lines in a datagram, statsd", LINES, user_time_of_lines,
        (1, 2, 5, 10, 20, 40), lambda n: Point("statsd", MIX, lines=n),
    ),
    "listeners": Curve(
        "Listeners, statsd, on two cores", LINES, user_time_of_lines,
        (1, 2), lambda n: Point("statsd", MIX, listeners=n, cores="0,1"),
    ),
    "flush": Curve(
        "Flush of counters with a name each (statsd) to a file", FLUSH, cpu_time_of_a_flush,
        (10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000), lambda n: Point("statsd", COUNTERS, n),
    ),
    "flush-tags": Curve(
        "Flush of counters with 8 names and four tags (DogStatsD) to a file", FLUSH, cpu_time_of_a_flush,
        (10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000), lambda n: Point("dogstatsd", COUNTERS, n),
    ),
    "forwarders": Curve(
        "Forwarders: flush of 100,000 counters to 1 to 8 files", FLUSH, cpu_time_of_a_flush,
        (1, 2, 3, 4, 6, 8), lambda n: Point("statsd", COUNTERS, 100_000, forwarders=n),
    ),
}  # fmt: skip


def measure(bench, curves, rounds):
    """Returns the cost of each point of each curve: the least of all rounds, because other load only adds to it."""
    costs = {name: dict.fromkeys(CURVES[name].values, math.inf) for name in curves}
    for round_ in range(rounds):
        for name in curves:
            curve = CURVES[name]
            for value in curve.values:
                cost = curve.measure(bench, curve.point(value))
                print(f"round {round_ + 1}, {name}, {value}: {cost:.4f}", file=sys.stderr, flush=True)
                costs[name][value] = min(costs[name][value], cost)
    return costs


def line(curve, costs):
    """The points of a curve, with the ratio to the previous point where it is a step. Returns (line, steps)."""
    cells, previous, steps = [], None, 0
    for value, cost in costs.items():
        ratio = cost / previous if previous else 0
        steps += ratio > STEP
        cells.append(f"{value:,}: {cost:.3f}" + (f" **({ratio:.1f}×)**" if ratio > STEP else ""))
        previous = cost
    return f"| {curve.title} | {curve.unit} | {' · '.join(cells)} |", steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", default=",".join(CURVES), help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=2, help="default 2")
    parser.add_argument("--quick", action="store_true", help="a short round of the smallest points, to see that everything works")
    parser.add_argument("--daemon", type=pathlib.Path, default=ROOT / "target/release/tallyd", help="the binary")
    given = parser.parse_args()
    curves = given.curves.split(",")
    if unknown := set(curves) - set(CURVES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if given.quick:
        for name in curves:
            CURVES[name] = CURVES[name]._replace(values=CURVES[name].values[:2])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        lines, window = (10_000, 1) if given.quick else (5_000_000, 5)
        bench = Bench(given.daemon.resolve(), folder, lines, window)
        costs = measure(bench, curves, 1 if given.quick else given.rounds)
    print("| grows | cost | points |\n| --- | --- | --- |")
    lines = [line(CURVES[name], costs[name]) for name in curves]
    print("\n".join(text for text, _ in lines))
    print(f"\nsteps above {STEP}: {sum(steps for _, steps in lines)}")


if __name__ == "__main__":
    main()
