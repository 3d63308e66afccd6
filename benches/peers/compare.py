#!/usr/bin/env python3
"""Compares tallyd with other statsd daemons: CPU time, loss and memory under the same loads.

    cargo build --release && benches/peers/compare.py

Installs the peers below target/ first, runs all daemons in turn, several rounds, and prints a table for each
load. README.md describes the method. Needs gcc, root (for large receive buffers), two cores, and the tools that
the peers need (install.py).
"""

import argparse
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benches/udp"))

from daemons import PEERS, Sink, peer  # noqa: E402
from install import install  # noqa: E402
from loads import LOADS  # noqa: E402
from measure import Scale, measure  # noqa: E402
from receiver import build  # noqa: E402
from table import table  # noqa: E402


def names(known):
    """A type of argparse: names separated by commas."""

    def parse(text):
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return chosen

    return parse


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), help=f"default {','.join(PEERS)}")
    parser.add_argument("--loads", type=names(LOADS), default=list(LOADS), help=f"default {','.join(LOADS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each daemon is measured (default 5)")
    parser.add_argument("--rate", type=int, default=60_000, help="lines a second of the load with flushes (default 60000)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything works")
    parser.add_argument("--daemon", type=pathlib.Path, default=ROOT / "target/release/tallyd", help="the binary of tallyd")
    return parser.parse_args()


def scale_of(given):
    if given.quick:
        return Scale(share=0.004, drains=1, rate=min(given.rate, 5_000), interval=1)
    return Scale(share=1, drains=4, rate=given.rate, interval=4)


def available(wanted, tallyd):
    """The sink and the installed daemons. Leaves out a peer that cannot be installed."""
    if "tallyd" in wanted and not tallyd.exists():
        sys.exit(f"{tallyd} is missing: run `cargo build --release`, or set --daemon")
    return [peer(name, tallyd.resolve()) for name in wanted if name == "tallyd" or install(name)]


def attempt(daemon, load, scale, generator):
    """Measures a daemon. A daemon that fails does not end the run."""
    try:
        return measure(daemon, load, scale, generator)
    except (Exception, SystemExit) as error:  # noqa: BLE001
        print(f"{daemon.name} failed: {error!r}", file=sys.stderr, flush=True)
        return None


def run(daemons, loads, rounds, scale, generator):
    """Measures all daemons in turn. Returns their results by load, daemon and round."""
    takers = {load: [daemon for daemon in daemons if LOADS[load].dialect in daemon.dialects] for load in loads}
    results = {load: {daemon.name: {} for daemon in takers[load]} for load in loads}
    for round_ in range(rounds):
        for load in loads:
            for daemon in takers[load]:
                if figures := attempt(daemon, LOADS[load], scale, generator):
                    results[load][daemon.name][round_] = figures
                    print(f"round {round_ + 1}, {load}, {daemon.name}: {figures}", file=sys.stderr, flush=True)
    return results


def main():
    given = arguments()
    rounds, scale = (1 if given.quick else given.rounds), scale_of(given)
    daemons = available(given.peers, given.daemon)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        daemons.insert(0, Sink(folder / "sink"))
        results = run(daemons, given.loads, rounds, scale, folder / "loadgen")
    for load in given.loads:
        print(table(LOADS[load].title, results[load]), flush=True)
    if not all(rounds for by_daemon in results.values() for rounds in by_daemon.values()):
        sys.exit("some daemons could not be measured")


if __name__ == "__main__":
    main()
