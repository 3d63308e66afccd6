"""Sends with `datadog`, the DogStatsD client: dogstatsd.py MODE PREFIX WAY PLACE...

MODE is plain (a datagram for each call), buffered, aggregated or telemetry. WAY PLACE is one of:
udp HOST PORT, unix URL (unix://, unixgram:// or unixstream:// and a path).
"""

import itertools
import sys

from datadog.dogstatsd import DogStatsd, base

# Deterministic sampling: of ten calls in a row, a rate of 0.1 selects one and 0.2 two.
tenths = itertools.cycle([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95])
base.random = lambda: next(tenths)


def connect(mode, prefix, way, *place):
    where = {"socket_path": place[0]} if way == "unix" else {"host": place[0], "port": int(place[1])}
    return DogStatsd(
        **where,
        namespace=prefix,
        constant_tags=["env:stage", "urgent"],
        # Each line carries these two values, as in a container.
        container_id="ci-4a1b",
        cardinality="low",
        disable_buffering=mode != "buffered",
        disable_aggregation=mode != "aggregated",
        # Only the flush at the end sends.
        flush_interval=3600,
        disable_telemetry=mode != "telemetry",
        # Sends telemetry with every datagram.
        telemetry_min_flush_interval=-1,
        # A full Unix socket makes the sender wait, but by default this client drops instead.
        socket_timeout=None,
    )


def send_all(client):
    client.increment("hits")
    client.increment("hits", 4, tags=["stage:login", "url:http://example.net/a"])
    client.decrement("hits", 2)
    client.count("bytes", 1.5)
    for _ in range(100):
        client.increment("sampled", sample_rate=0.1)

    client.gauge("depth", 17)
    client.gauge("depth", 12)

    for member in ["anna", "bert", "anna", "sip:carl@example.net"]:
        client.set("users", member)

    client.timing("query", 320)
    client.timing("query", 0.5)
    for _ in range(20):
        client.timing("sampled_query", 10, sample_rate=0.2)
    for value in range(1, 11):
        client.histogram("size", value)
        client.distribution("spread", value * 0.5)
    with client.timed("block"):
        pass

    client.count_with_timestamp("late", 3, timestamp=1490114074)
    client.gauge_with_timestamp("late", 9, timestamp=1490114074)

    client.event("deployed", "first line\nsecond line", alert_type="info", tags=["stage:login"])
    client.service_check("db", DogStatsd.WARNING, message="slow\nand full", hostname="a")


mode = sys.argv[1]
client = connect(*sys.argv[1:])
if mode == "telemetry":
    client.increment("hits")
else:
    send_all(client)
client.stop()
