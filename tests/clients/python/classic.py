"""Sends with `statsd`, the classic Python client: classic.py PREFIX WAY PLACE...

WAY PLACE is one of: udp HOST PORT, tcp HOST PORT, unix PATH.
"""

import itertools
import random
import sys
from datetime import timedelta

import statsd

# Deterministic sampling: of ten calls in a row, a rate of 0.1 selects one and 0.2 two.
tenths = itertools.cycle([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95])
random.random = lambda: next(tenths)


def connect(prefix, way, *place):
    if way == "unix":
        return statsd.UnixSocketStatsClient(place[0], prefix=prefix)
    host, port = place
    is_v6 = ":" in host
    if way == "tcp":
        return statsd.TCPStatsClient(host, int(port), prefix=prefix, ipv6=is_v6)
    return statsd.StatsClient(host, int(port), prefix=prefix, ipv6=is_v6)


client = connect(*sys.argv[1:])

client.incr("hits")
client.incr("hits", 4)
client.decr("hits", 2)
client.incr("bytes", 1.5)
for _ in range(100):
    client.incr("sampled", rate=0.1)

client.gauge("depth", 17)
client.gauge("depth", 3, delta=True)
client.gauge("depth", -8, delta=True)
# Twice, to check that it sets the value: this client sends a negative gauge as 0 and a decrement.
client.gauge("temperature", -4)
client.gauge("temperature", -4)

for member in ["anna", "bert", "anna", "sip:carl@example.net"]:
    client.set("users", member)

client.timing("query", 320)
client.timing("query", 0.5)
client.timing("query", timedelta(seconds=1.5))
for _ in range(20):
    client.timing("sampled_query", 10, rate=0.2)
with client.timer("block"):
    pass

# Several datagrams of up to 512 bytes, with several lines each.
with client.pipeline() as pipe:
    for count in range(100):
        pipe.incr("piped", count)

client.close()
