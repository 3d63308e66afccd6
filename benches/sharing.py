#!/usr/bin/env python3
"""Finds cache lines that two listeners share, at least one of which writes to them.

    cargo build --release --package benches --bin listeners && benches/sharing.py

Such a line moves between the cores of the two listeners at each access, whether they use the same bytes (true
sharing) or only neighbouring ones (false sharing). `perf c2c` finds them by sampling, but needs hardware
counters, which virtual machines seldom have. This script finds them exactly: the listeners take turns in
one process, valgrind records the address of each access, and marks in the recording separate the turns.
Each listener has its own thread, so its memory comes from where it would in the daemon.

Needs valgrind. Cache lines have 64 bytes, but processors fetch them in pairs: --line 128 shows those too.
"""

import argparse
import collections
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARKS = 129
# Fewer accesses cost nothing: each listener reads 32 batches. Some accesses are those of a thread that wakes up
# before its turn.
FEW = 16


def trace(program, listeners, folder):
    """Runs the listeners in turns. Returns the file with the accesses, and the address of the marks."""
    log = folder / "accesses"
    tool = ["valgrind", "--tool=lackey", "--trace-mem=yes", f"--log-file={log}"]
    turns = [*tool, program, "turns", str(listeners)]
    marks = subprocess.run(turns, check=True, stdout=subprocess.PIPE).stdout
    return log, int(marks, 16)


def accesses(log, marks):
    """Yields listener, address, size and whether it is a write, for each access within a turn."""
    turn = None
    with log.open() as lines:
        for line in lines:
            if line[:3] not in (" L ", " S ", " M "):
                continue
            address, _, size = line[3:].partition(",")
            address = int(address, 16)
            if marks <= address < marks + MARKS:
                mark = address - marks
                turn = None if mark == MARKS - 1 else mark
            elif turn is not None:
                yield turn, address, int(size), line[1] != "L"


def shared_lines(log, marks, length):
    """Returns the number of accesses, the number of lines that several listeners use, and the accesses to
    each of these lines to which a listener writes."""
    lines, total, several, written = collections.defaultdict(collections.Counter), 0, 0, {}
    for listener, address, size, writes in accesses(log, marks):
        total += 1
        for line in {address // length, (address + size - 1) // length}:
            lines[line][listener, address, size, writes] += 1
    for line, used in lines.items():
        accessed, changed = collections.Counter(), collections.Counter()
        for (listener, _, _, writes), count in used.items():
            accessed[listener] += count
            changed[listener] += count if writes else 0
        if sum(count >= FEW for count in accessed.values()) > 1:
            several += 1
            if max(changed.values()) >= FEW:
                written[line] = used
    return total, several, written


def is_true_sharing(used):
    """Returns whether a listener uses bytes that another one writes."""
    for listener, address, size, writes in used:
        for other, start, length, _ in used:
            if writes and other != listener and start < address + size and address < start + length:
                return True
    return False


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--listeners", type=int, default=4, help="number (default 4)")
    arguments.add_argument("--line", type=int, default=64, help="bytes of a line (default 64)")
    arguments.add_argument("--program", default=ROOT / "target/release/listeners")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        log, marks = trace(given.program, given.listeners, pathlib.Path(name))
        total, several, written = shared_lines(log, marks, given.line)
    print(f"{given.listeners} listeners, {total:,} accesses; lines that several use: {several}")
    print(f"lines of these that a listener writes: {len(written)}")
    for line, used in sorted(written.items(), key=lambda one: -sum(one[1].values())):
        kind = "true" if is_true_sharing(used) else "false"
        print(f"  {kind} sharing of {line * given.line:#x}: {sum(used.values()):,} accesses")
        for (listener, address, size, writes), count in sorted(used.items(), key=lambda one: one[0][1]):
            does = "writes" if writes else "reads"
            print(f"    listener {listener} {does} {size} bytes at +{address % given.line}: {count:,}")


if __name__ == "__main__":
    main()
