"""Compares the fleet's results with the samples that were sent."""

import math
from collections import defaultdict

from hosts import SETS

PERCENTILES = [50, 90, 95, 99]


class Sent:
    """What all hosts sent, by (window, tags of the group)."""

    def __init__(self, loads, interval):
        self.samples, self.members = defaultdict(list), defaultdict(set)
        for load in loads:
            for key, samples in load.samples.items():
                for group in groups(key, interval):
                    self.samples[group] += samples
                    for name in SETS:
                        self.members[(name, *group)] |= load.members[(name, *key)]


def groups(key, interval):
    """Yields the groups that samples of a window of a host count in."""
    window, environment, service = key
    window = math.ceil(window / interval) * interval
    yield window, (("service", service),)
    yield window, (("environment", environment), ("service", service))


def nearest_rank(samples, percent):
    return sorted(samples)[max(math.ceil(percent / 100 * len(samples) - 1e-9), 1) - 1]


class Comparison:
    """The largest deviations, and everything that is wrong."""

    def __init__(self):
        self.wrong, self.compared = [], 0
        self.worst = {"percentile": 0.0, "set": 0.0}
        self.totals = defaultdict(float)

    def windows(self, results, loads, interval):
        sent = Sent(loads, interval)
        for (window, tags), samples in sent.samples.items():
            members = {name: sent.members[(name, window, tags)] for name in SETS}
            self.group(results, interval, window, dict(tags), samples, members)

    def group(self, results, interval, window, tags, samples, members):
        def result(name, kind):
            found = dict(results.of(name, kind, interval, tags)).get(window)
            if found is None:
                self.wrong.append(f"{name} ({kind}) {tags} {interval} s {window}: no result")
                return None
            self.compared += 1
            return found["fields"]

        for name, kind in (("rpc.requests", "counter"), ("rpc.routes", "trace"), ("rpc.time", "timer")):
            fields = result(name, kind)
            if fields is not None:
                self.totals[(interval, "environment" in tags, kind)] += fields["count"]
                self.exact(f"count of {name} {tags} {interval} s {window}", len(samples), fields["count"])
                if kind == "timer":
                    self.timer(f"{name} {tags} {interval} s {window}", samples, fields)
        for name in SETS:
            fields = result(name, "set")
            if fields is not None:
                self.near("set", f"{name} {tags} {interval} s {window}", len(members[name]), fields["count"], 0.02)

    def timer(self, what, samples, fields):
        self.exact(f"min of {what}", min(samples), fields["min"])
        self.exact(f"max of {what}", max(samples), fields["max"])
        # Each host rounds its sum once.
        if abs(fields["sum"] - math.fsum(samples)) > 1e-12 * math.fsum(samples):
            self.wrong.append(f"sum of {what}: {fields['sum']} instead of {math.fsum(samples)}")
        for percent in PERCENTILES:
            exact = nearest_rank(samples, percent)
            self.near("percentile", f"p{percent} of {what}", exact, fields[f"p{percent}"], 0.01)

    def exact(self, what, expected, actual):
        if expected != actual:
            self.wrong.append(f"{what}: {actual} instead of {expected}")

    def near(self, kind, what, expected, actual, allowed):
        deviation = abs(actual - expected) / expected
        self.worst[kind] = max(self.worst[kind], deviation)
        if not deviation <= allowed:
            self.wrong.append(f"{what}: {actual} instead of {expected}, {deviation:.2%} off")

    def consumer(self, printed, loads):
        """Compares the output of examples/fleet/consumer.py, which merges all windows."""
        samples, members = defaultdict(list), defaultdict(set)
        for load in loads:
            for (_, _, service), sent in load.samples.items():
                samples[service] += sent
            for (name, _, _, service), sent in load.members.items():
                members[(name, service)] |= sent
        for service in samples:
            series = f"('service', '{service}')"
            line = next((line for line in printed if line.startswith(f"rpc.time {series} p99 ")), "p99 nan")
            self.near("percentile", f"consumer.py: {line}", nearest_rank(samples[service], 99), float(line.split()[-1]), 0.01)
            for name in SETS:
                line = next((line for line in printed if line.startswith(f"{name} {series} ")), "nan")
                self.near("set", f"consumer.py: {line}", len(members[(name, service)]), float(line.split()[-1]), 0.02)
            self.compared += 1 + len(SETS)
