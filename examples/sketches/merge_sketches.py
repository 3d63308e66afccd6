#!/usr/bin/env python3
"""Merges the sketches of all hosts and windows, by metric.

Reads tallyd's Kafka records from standard input, one per line, and prints a JSON object per metric.
Needs the packages datasketches and ddsketch.
"""

import base64
import json
import struct
import sys

from datasketches import hll_sketch, hll_union
from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import DenseStore

PERCENTILES = [50, 90, 95, 99]
# The size of tallyd's sketches: a smaller union is less accurate.
LG_REGISTERS = 16

# The first byte of each part of a timer's sketch.
COUNT, SUM, MIN, MAX = 0xA0, 0x84, 0x88, 0x8C
MAPPING, ZEROS = 0x02, 0x04
# The lowest two bits of a part with buckets are its sign, the others say how the buckets are written.
POSITIVE, NEGATIVE = 1, 3
INDEXES_AND_COUNTS, INDEXES, COUNTS = 1, 2, 3


class Reader:
    """Reads the binary form of Datadog's DDSketch libraries, which the one for Python does not read."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def double(self):
        self.at += 8
        return struct.unpack_from("<d", self.data, self.at - 8)[0]

    def whole(self):
        number, shift = 0, 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def count(self):
        """A float: the bits that differ from those of 1, rotated, the highest seven first."""
        bits, free = 0, 64
        while free > 8:
            byte = self.byte()
            free -= 7
            bits |= (byte & 0x7F) << free
            if byte < 0x80:
                break
        else:
            bits |= self.byte()
        bits = (bits >> 6 | bits << 58) & (2**64 - 1)
        bits += struct.unpack("<Q", struct.pack("<d", 1.0))[0]
        return struct.unpack("<d", struct.pack("<Q", bits))[0] - 1.0

    def signed(self):
        number = self.whole()
        return number >> 1 if number % 2 == 0 else -(number + 1 >> 1)

    def buckets(self, form):
        """tallyd writes indexes and counts; other libraries also write the counts of adjacent buckets alone."""
        store, index, step = DenseStore(), 0, 0
        length = self.whole()
        if form == COUNTS:
            index, step = self.signed(), self.signed()
            index -= step
        for _ in range(length):
            index += step if form == COUNTS else self.signed()
            # The library for Python numbers buckets by their upper bounds.
            store.add(index + 1, 1.0 if form == INDEXES else self.count())
        return store


class Timer:
    def __init__(self, data):
        reader, numbers = Reader(data), {}
        stores = {POSITIVE: DenseStore(), NEGATIVE: DenseStore()}
        while reader.at < len(data):
            part = reader.byte()
            if part in (SUM, MIN, MAX):
                numbers[part] = reader.double()
            elif part in (COUNT, ZEROS):
                numbers[part] = reader.count()
            elif part & 3 in stores and part >> 2 in (INDEXES_AND_COUNTS, INDEXES, COUNTS):
                stores[part & 3] = reader.buckets(part >> 2)
            elif part == MAPPING:
                mapping = LogarithmicMapping.from_gamma_offset(reader.double(), reader.double())
            else:
                raise ValueError(f"unknown part {part:#x}")
        self.count, self.sum = numbers[COUNT], numbers[SUM]
        self.min, self.max = numbers[MIN], numbers[MAX]
        self.sketch = BaseDDSketch(
            mapping, stores[POSITIVE], stores[NEGATIVE], numbers.get(ZEROS, 0.0)
        )

    def merge(self, other):
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.sketch.merge(other.sketch)

    def percentile(self, percent):
        value = self.sketch.get_quantile_value(percent / 100)
        return min(max(value, self.min), self.max)


def main():
    timers, sets = {}, {}
    for line in sys.stdin:
        record = json.loads(line)
        if "sketch" not in record:
            continue
        name, data = record["name"], base64.b64decode(record["sketch"])
        if record["type"] == "set":
            sets.setdefault(name, hll_union(LG_REGISTERS)).update(hll_sketch.deserialize(data))
        elif name in timers:
            timers[name].merge(Timer(data))
        else:
            timers[name] = Timer(data)
    for name, timer in sorted(timers.items()):
        merged = {"name": name, "type": "timer", "count": timer.count, "sum": timer.sum}
        merged.update(min=timer.min, max=timer.max)
        merged.update({f"p{percent}": timer.percentile(percent) for percent in PERCENTILES})
        print(json.dumps(merged))
    for name, union in sorted(sets.items()):
        print(json.dumps({"name": name, "type": "set", "count": union.get_estimate()}))


if __name__ == "__main__":
    main()
