#!/usr/bin/env python3
"""Merges the sketches of the last minutes: consumer.py BROKERS TOPIC [MINUTES [TAG…]]

TOPIC has results of the fleet job, or records of tallyd. With tags, series that differ only in other tags are merged.
"""

import base64
import json
import math
import os
import sys

from confluent_kafka import Consumer, TopicPartition
from datasketches import hll_sketch, hll_union

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../sketches"))
from merge_sketches import LG_REGISTERS, Timer  # noqa: E402


def p99(timer):
    """By nearest rank, as in tallyd. The library's own rule selects another sample, which matters if there are few."""
    rank = math.ceil(0.99 * timer.count - 1e-9)
    return timer.percentile(100 * min((rank - 0.75) / max(timer.count - 1, 1), 1))


brokers, topic, minutes, tags = sys.argv[1], sys.argv[2], float((sys.argv + ["5"])[3]), sys.argv[4:]
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "unused", "enable.auto.commit": False,
                     "enable.partition.eof": True, "isolation.level": "read_committed"})
waiting = set(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
consumer.assign([TopicPartition(topic, partition, 0) for partition in waiting])
records = {}
while waiting:
    record = consumer.poll(60)
    if record is None:
        sys.exit("no answer of the brokers for a minute")
    if record.error() is None:  # A later record with the same key and headers is a repeat or a correction.
        records[record.key(), tuple(record.headers() or ())] = json.loads(record.value())
    elif record.error().code() == -191:  # The end of a partition. Others are repeated by the library until they pass.
        waiting.discard(record.partition())
newest, merged = max((record["timestamp"] for record in records.values()), default=0), {}
for record in records.values():  # The job's longer windows contain the shorter ones.
    if "sketch" in record and record["interval"] <= 10 and record["timestamp"] > newest - minutes * 60_000:
        data, kept = base64.b64decode(record["sketch"]), tags or record["tags"]
        series = (record["name"], *sorted(tag for tag in record["tags"].items() if tag[0] in kept))
        if record["type"] == "set":
            merged.setdefault(series, hll_union(LG_REGISTERS)).update(hll_sketch.deserialize(data))
        elif merged.setdefault(series, timer := Timer(data)) is not timer:
            merged[series].merge(timer)
for series, sketch in sorted(merged.items(), key=str):
    print(*series, f"p99 {p99(sketch):.3f}" if isinstance(sketch, Timer) else round(sketch.get_estimate()))
