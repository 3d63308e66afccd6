#!/usr/bin/env python3
"""Prints doubles and the indexes of their buckets, which crates/model/src/timer/bucket.rs must agree with.

Index i is the smallest whole number with value <= 2^(i/64): the index of a Prometheus native histogram
of schema 6, and one more than that of an OpenTelemetry exponential histogram of scale 6. It is computed
here in whole numbers, without rounding.
"""

import random
import struct
from fractions import Fraction

BUCKETS_PER_OCTAVE = 64


def value_of(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def bits_of(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def index(value):
    exact = Fraction(value)
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    # 2^(exponent-1) < value < 2^(exponent+1)
    low, high = (exponent - 1) * BUCKETS_PER_OCTAVE, (exponent + 1) * BUCKETS_PER_OCTAVE
    power = exact**BUCKETS_PER_OCTAVE
    while low + 1 < high:
        middle = (low + high) // 2
        if power <= Fraction(2) ** middle:
            high = middle
        else:
            low = middle
    return high


def last_of_bucket(bucket):
    """The bits of the largest double in a bucket."""
    near = bits_of(2.0 ** (bucket / BUCKETS_PER_OCTAVE))
    return max(bits for bits in range(near - 4, near + 5) if index(value_of(bits)) <= bucket)


def main():
    random.seed(6)
    smallest, smallest_normal, largest = 1, 1 << 52, (0x7FF << 52) - 1
    chosen = {smallest, 2, 3, smallest_normal - 1, smallest_normal, smallest_normal + 1, largest}
    for octave in (-1000, -1, 0, 1, 500):
        for bucket in range(BUCKETS_PER_OCTAVE + 1):
            last = last_of_bucket(octave * BUCKETS_PER_OCTAVE + bucket)
            chosen |= {last, last + 1}
    chosen |= {random.randrange(smallest, largest) for _ in range(300)}
    print("# The bits of a double, and the index of its bucket: tests/clients/sketches/bucket_indexes.py")
    for bits in sorted(chosen):
        print(f"{bits:016x} {index(value_of(bits))}")


if __name__ == "__main__":
    main()
