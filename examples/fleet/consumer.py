#!/usr/bin/env python3
"""Merges the fleet's results of the last minutes: consumer.py BROKERS TOPIC [MINUTES]"""

import base64
import json
import os
import sys

from confluent_kafka import Consumer
from datasketches import hll_sketch, hll_union

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../sketches"))
from merge_sketches import LG_REGISTERS, Timer  # noqa: E402

brokers, topic, minutes = sys.argv[1], sys.argv[2], float((sys.argv + ["5"])[3])
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "fleet-consumer", "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, "enable.partition.eof": True})
consumer.subscribe([topic])
results, ended = {}, set()
while not ended or len(ended) < len(consumer.assignment()):
    record = consumer.poll(60)
    if record is None:
        sys.exit("no answer of the brokers for a minute")
    if record.error():
        ended.add(record.partition())
    else:
        results[record.key()] = json.loads(record.value())  # A later record is a correction.
newest = max(result["timestamp"] for result in results.values())
merged = {}
for result in results.values():
    if result["interval"] == 10 and result["timestamp"] > newest - minutes * 60_000 and "sketch" in result:
        data, series = base64.b64decode(result["sketch"]), (result["name"], *sorted(result["tags"].items()))
        if result["type"] == "timer":
            merged[series].merge(Timer(data)) if series in merged else merged.update({series: Timer(data)})
        else:
            merged.setdefault(series, hll_union(LG_REGISTERS)).update(hll_sketch.deserialize(data))
for series, sketch in sorted(merged.items(), key=str):
    print(*series, f"p99 {sketch.percentile(99):.3f}" if isinstance(sketch, Timer) else round(sketch.get_estimate()))
