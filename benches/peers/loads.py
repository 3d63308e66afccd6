"""The loads: the same datagrams for every daemon, made by benches/udp/loadgen.c."""

from typing import NamedTuple


class Load(NamedTuple):
    """What the generator sends, and how."""

    title: str
    dialect: str  # "statsd" or "dogstatsd"
    options: list  # of the generator
    lines: int  # in a datagram
    datagrams: int  # in a backlog
    series: int
    paced: bool = False  # at a constant rate, over the ends of windows, instead of as a backlog


MIX = ["--mix", "80,10,10,0"]  # percent of counters, gauges, timers
COUNTERS = ["--mix", "100,0,0,0"]

LOADS = {
    "one": Load("1 line a datagram, 1,000 series", "statsd", MIX, 1, 500_000, 1_000),
    "ten": Load("10 lines a datagram, 1,000 series", "statsd", MIX, 10, 200_000, 1_000),
    "many": Load("1 line a datagram, 100,000 series", "statsd", COUNTERS, 1, 500_000, 100_000),
    "tags": Load("DogStatsD lines with 6 tags, 1 a datagram, 1,000 series", "dogstatsd", [*MIX, "--tags", "6"], 1, 500_000, 1_000),
    "flush": Load("100,000 series at a constant rate, over two flushes", "statsd", COUNTERS, 1, 0, 100_000, paced=True),
}


def generator_options(load):
    """Returns the arguments of the generator, without the destination, the number and the rate."""
    shape = ["--format", load.dialect, "--series", str(load.series), "--per-datagram", str(load.lines)]
    return [*shape, *load.options]
