"""Measures one load on one daemon: its CPU time, the lines that were lost, its peak memory."""

import contextlib
import math
import os
import re
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from daemons import Run
from drain import CORE, Cost, capacity, drain, dropped, is_empty, running, send, total, warm_up
from loads import generator_options
from processes import CpuClock
from receiver import free_port, peak_memory, wait_until

HOUR = 3600
SENDER_CORE = "1" if os.cpu_count() > 1 else CORE


class Scale(NamedTuple):
    """The size of a measurement."""

    share: float  # of the datagrams of a backlog
    drains: int  # backlogs in one process
    rate: int  # lines a second of a paced load
    interval: int  # seconds of a window of a paced load


class Result(NamedTuple):
    user: float  # CPU seconds per million lines
    total: float
    dropped: float  # share of the lines sent that the kernel dropped
    missing: float  # share of the lines received that the daemon did not count; nan if it reports no count
    peak: float  # MiB


@contextlib.contextmanager
def started(daemon, load, interval, folder):
    """A running daemon. Yields its process and its run."""
    ports = free_port(), free_port(socket.SOCK_STREAM)
    run = Run(Path(folder), *ports, interval, load.dialect, backlog=not load.paced)
    with open(run.folder / "log", "wb") as log:
        with running(daemon.command(run), [run.port], output=log, folder=folder) as process:
            yield process, run


def result(daemon, run, cost, sent, lines):
    """The figures of a run whose daemon has stopped. `sent`: datagrams, including those of the warm-up."""
    counted = daemon.counted(run)
    missing = math.nan if counted is None else 1 - counted / ((sent - cost.dropped) * lines)
    millions = cost.datagrams * lines / 1e6
    return Result(cost.user / millions, cost.total / millions, cost.dropped / sent, missing, cost.peak)


def backlog(daemon, load, scale, generator, folder):
    """Backlogs: the daemon at full speed, without a flush."""
    count = int(load.datagrams * scale.share * daemon.share)
    drains = max(1, round(scale.drains * daemon.share))
    options = generator_options(load)
    with started(daemon, load, HOUR, folder) as (process, run):
        room = capacity(process, [run.port])
        count = min(count, room)
        # Every series once: the generator uses them in turn.
        warm = max(load.series // load.lines, 1000)
        warm_up(process, [run.port], generator, options, warm, room)
        cost = total([drain(process, [run.port], generator, options, count) for _ in range(drains)])
        daemon.before_stop(run)
    return result(daemon, run, cost, warm + count * drains, load.lines)


def request_pages(url, interval, stop):
    """Requests a page each interval, like a scraping server."""
    while not stop.wait(interval):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=interval).read()


@contextlib.contextmanager
def scraping(daemon, run):
    if not daemon.scraped:
        yield
        return
    stop = threading.Event()
    url = f"http://127.0.0.1:{run.admin}{daemon.scraped}"
    thread = threading.Thread(target=request_pages, args=(url, run.interval, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def paced(daemon, load, scale, generator, folder):
    """A constant rate over the ends of windows, with the buffers and queues that the daemon has by default."""
    rate = scale.rate // load.lines
    count = int(rate * scale.interval * 2.5)  # always two ends of windows
    with started(daemon, load, scale.interval, folder) as (process, run), scraping(daemon, run):
        clock = CpuClock(process.pid)
        said = send(generator, run.port, count, [*generator_options(load), "--rate", str(rate)], SENDER_CORE)
        if slipped := int(re.search(r" slipped=(\d+)", said).group(1)):
            print(f"the generator was {slipped} datagrams behind its schedule", file=sys.stderr, flush=True)
        wait_until("the rest", lambda: is_empty([run.port]))
        time.sleep(scale.interval * 1.5)  # The last window ends.
        used, lost = clock.read(), dropped([run.port])
        cost = Cost(count - lost, lost, used.user, used.total, peak_memory(process.pid))
        daemon.before_stop(run)
    return result(daemon, run, cost, count, load.lines)


def measure(daemon, load, scale, generator):
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        return (paced if load.paced else backlog)(daemon, load, scale, generator, folder)
