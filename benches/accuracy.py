#!/usr/bin/env python3
"""Compares percentiles of the samples of several daemons with those that each destination allows.

    cargo build --release && cargo build --release --package benches --bin samples
    tests/clients/install.sh CLIENTS
    CLIENTS/sketches/python/bin/python benches/accuracy.py --clients CLIENTS

The samples of five distributions are sent to 1, 3 and 20 daemons, each of which writes them to a real Kafka,
OpenTelemetry Collector and Prometheus. The script starts these with tests/servers, whose variables select other
programs: TALLYD_TEST_PROMETHEUS_PROGRAM should be a current Prometheus. The percentiles:

    exact       of all samples, by nearest rank
    tallyd      of one daemon: the percentile that it reports; of several: from their merged sketches in Kafka
    java        of the same sketches, merged by sketches-java
    prometheus  histogram_quantile of the sum of the daemons' native histograms, which tallyd writes remotely
    otlp        from the merged exponential histograms in the Collector's file
    averaged    the mean of the daemons' percentiles, which is all that statsd's percentiles allow
    binned      from the sum of statsd's histograms, with the 11 bounds that tallyd has for Prometheus by default

Prints all of them as tab-separated text, and the largest errors as Markdown.
"""

import argparse
import base64
import collections
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples/sketches"))
from merge_sketches import Timer  # noqa: E402

PERCENTILES = (50, 95, 99, 99.9)
METHODS = ("tallyd", "java", "prometheus", "otlp", "averaged", "binned")
CONFIG = """
interval: {interval}s
state_dir: {folder}
shutdown_timeout: 120s
agent: {{ tags: {{ host: host-{number} }} }}
listeners: [{{ transport: tcp, protocol: statsd, address: "127.0.0.1:{tcp}" }}]
admin: {{ listen: "127.0.0.1:{admin}" }}
aggregation: {{ percentiles: [50, 95, 99, 99.9] }}
forwarders:
  kafka: {{ kafka_broker: "{KAFKA_BROKER}", kafka_topic: accuracy, format: json, sketches: true }}
  otlp: {{ endpoint: "{OTELCOL_HTTP}" }}
  prometheus:
    listen: none
    timers: native
    remote_write: {{ url: "{PROMETHEUS_URL}/api/v1/write" }}
"""


@contextlib.contextmanager
def server(name, folder):
    """Starts a server of tests/servers, and yields its variables."""
    script = ROOT / f"tests/servers/{name}.sh"
    started = subprocess.run([script, "start", folder], stdout=subprocess.PIPE, text=True, check=True)
    try:
        yield dict(line.split("=", 1) for line in started.stdout.splitlines())
    finally:
        subprocess.run([script, "stop", folder], check=True)


def get(url):
    with urllib.request.urlopen(url, timeout=60) as reply:
        return json.load(reply)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until(holds, what, seconds=600):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.1)


class Daemon:
    """A daemon whose only window ends when it is stopped."""

    def __init__(self, tallyd, folder, number, servers):
        self.tcp, self.admin = free_port(), free_port()
        folder.mkdir()
        # No window ends during the next 20 minutes.
        interval = next(length for length in range(3600, 0, -60) if length - time.time() % length > 1200)
        values = dict(interval=interval, folder=folder, number=number, tcp=self.tcp, admin=self.admin)
        (folder / "tallyd.yaml").write_text(CONFIG.format(**values, **servers))
        self.log = folder / "log"
        with open(self.log, "w") as log:
            command = [tallyd, "run", "--config", folder / "tallyd.yaml"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: " listening " in self.log.read_text(), f"start of a daemon ({self.log})")

    def received(self):
        return get(f"http://127.0.0.1:{self.admin}/api/v1/status")["ledger"]["aggregated"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(300) != 0:
            sys.exit(f"a daemon failed:\n{self.log.read_text()}")


def deliver(given, folder, number, servers):
    """Delivers the samples of a number of daemons, and returns the lines of the sender."""
    daemons = []
    try:
        for each in range(number):
            daemons.append(Daemon(given.tallyd, folder / f"{number}-{each}", each, servers))
        addresses = [f"127.0.0.1:{daemon.tcp}" for daemon in daemons]
        command = [given.samples, ",".join(map(str, given.sizes)), *addresses]
        sent = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        timers = [json.loads(line) for line in sent.splitlines()]
        expected = sum(timer["samples"] for timer in timers)
        wait_until(lambda: sum(daemon.received() for daemon in daemons) == expected, "the samples")
        for daemon in daemons:
            daemon.stop()
    finally:
        for daemon in daemons:
            daemon.process.kill()
    return timers


class Buckets:
    """Counts by bucket of an exponential histogram: bucket i covers the values above base^i, up to base^(i+1)."""

    def __init__(self, scale):
        self.scale, self.zeros, self.counts = scale, 0, collections.Counter()

    def add(self, scale, counts):
        if scale < self.scale:
            coarser = collections.Counter()
            for index, count in self.counts.items():
                coarser[index >> self.scale - scale] += count
            self.scale, self.counts = scale, coarser
        for index, count in counts:
            self.counts[index >> scale - self.scale] += count

    def count(self):
        return self.zeros + sum(self.counts.values())

    def percentile(self, percent):
        """The value with the smallest relative distance from all values of the bucket with the nearest rank."""
        needed = -(-self.count() * round(percent * 10) // 1000)
        base, seen = 2 ** 2**-self.scale, self.zeros
        for index, count in sorted(self.counts.items()):
            seen += count
            if seen >= needed:
                return 2 * base**index * base / (1 + base)
        return 0.0


def from_kafka(servers, records):
    """The percentiles from the sketches of all daemons: ours, and those of sketches-java."""
    script = ROOT / "tests/servers/kafka.sh"
    consume = [script, "consume", servers["KAFKA_BROKER"], "accuracy", str(records)]
    # It gives up after this time without a record, also while it connects on a busy machine.
    patient = os.environ | {"KAFKA_IDLE_MS": "180000"}
    lines = subprocess.run(consume, stdout=subprocess.PIPE, text=True, check=True, env=patient).stdout.splitlines()
    lines = [line.split("\t", 1)[1] for line in lines]
    ours, reported = {}, {}
    for record in map(json.loads, lines):
        name = record["name"]
        sketch = Timer(base64.b64decode(record["sketch"]))
        store = sketch.sketch._store
        # That library numbers a bucket by its upper bound.
        counts = ((store.offset + place - 1, round(count)) for place, count in enumerate(store.bins) if count)
        buckets = ours.setdefault(name, Buckets(6))
        buckets.add(6, counts)
        reported[name] = [record["fields"][f"p{percent}".replace(".", "_")] for percent in PERCENTILES]
    return lines, ours, reported


def by_java(given, lines):
    libraries = pathlib.Path(given.clients) / "sketches/libs/*"
    program = ROOT / "examples/sketches/MergeSketches.java"
    command = ["java", "-cp", libraries, program, *map(str, PERCENTILES)]
    merged = subprocess.run(command, input="\n".join(lines), stdout=subprocess.PIPE, text=True, check=True)
    objects = map(json.loads, merged.stdout.splitlines())
    return {each["name"]: (each["count"], [each[f"p{percent}"] for percent in PERCENTILES]) for each in objects}


def from_collector(servers):
    merged = {}
    for line in pathlib.Path(servers["OTELCOL_FILE"]).read_text().splitlines():
        for resource in json.loads(line)["resourceMetrics"]:
            for metric in (metric for scope in resource["scopeMetrics"] for metric in scope["metrics"]):
                buckets = merged.setdefault(metric["name"], Buckets(6))
                for point in metric["exponentialHistogram"]["dataPoints"]:
                    counts = map(int, point["positive"]["bucketCounts"])
                    buckets.add(point.get("scale", 0), enumerate(counts, point["positive"].get("offset", 0)))
                    buckets.zeros += int(point.get("zeroCount", 0))
    return merged


def from_prometheus(servers):
    """The percentiles by timer, and the counts."""
    timers = 'label_replace({__name__=~".+_n.+_d.+"}, "timer", "$1", "__name__", "(.+)")'
    summed = f"sum by (timer) ({timers})"

    def query(expression):
        url = f"{servers['PROMETHEUS_URL']}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        return {row["metric"]["timer"]: float(row["value"][1]) for row in get(url)["data"]["result"]}

    counts = query(f"histogram_count({summed})")
    columns = [query(f"histogram_quantile({percent / 100:.6g}, {summed})") for percent in PERCENTILES]
    return {timer: (count, [column[timer] for column in columns]) for timer, count in counts.items()}


def read_back(given, servers, rounds):
    """All percentiles: by timer, then by method."""
    records = sum(number * len(timers) for number, timers in rounds)
    lines, sketches, reported = from_kafka(servers, records)
    java, collector, prometheus = by_java(given, lines), from_collector(servers), from_prometheus(servers)
    found = {}
    for number, timer in ((number, timer) for number, timers in rounds for timer in timers):
        name = timer["timer"]
        counts = (sketches[name].count(), java[name][0], collector[name].count(), prometheus[name][0])
        if set(counts) != {timer["samples"]}:
            sys.exit(f"{name}: {counts} samples, and not {timer['samples']}")
        merged = [sketches[name].percentile(percent) for percent in PERCENTILES]
        found[name] = dict(
            exact=timer["exact"],
            tallyd=reported[name] if number == 1 else merged,
            java=java[name][1],
            prometheus=prometheus[name][1],
            otlp=[collector[name].percentile(percent) for percent in PERCENTILES],
            averaged=timer["averaged"],
            binned=timer["binned"],
        )
    return found


def error(value, exact):
    return 100 * (value - exact) / exact


def show_all(found):
    print("distribution\tsamples\tdaemons\tpercentile\texact\t" + "\t".join(f"{each}\terror %" for each in METHODS))
    for name, values in found.items():
        distribution, samples, daemons = name.replace("_n", "_").replace("_d", "_").split("_")
        for place, percent in enumerate(PERCENTILES):
            exact = values["exact"][place]
            cells = [f"{values[each][place]:.7g}\t{error(values[each][place], exact):.3f}" for each in METHODS]
            print(f"{distribution}\t{samples}\t{daemons}\t{percent}\t{exact}\t" + "\t".join(cells))


def show_largest(found):
    """The largest errors of a distribution, over all sizes and numbers of daemons."""
    print("\n| distribution | percentile | " + " | ".join(METHODS) + " |\n| --- | --- |" + " --- |" * len(METHODS))
    names = dict.fromkeys(name.split("_")[0] for name in found)
    for distribution in names:
        of_it = [values for name, values in found.items() if name.startswith(f"{distribution}_")]
        for place, percent in enumerate(PERCENTILES):
            largest = (
                max((error(each[method][place], each["exact"][place]) for each in of_it), key=abs)
                for method in METHODS
            )
            print(f"| {distribution} | p{percent} | " + " | ".join(f"{each:.2f} %" for each in largest) + " |")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tallyd", default=ROOT / "target/release/tallyd")
    arguments.add_argument("--samples", default=ROOT / "target/release/samples")
    arguments.add_argument("--clients", required=True, help="the folder of tests/clients/install.sh")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[10**power for power in range(3, 8)])
    arguments.add_argument("--daemons", type=int, nargs="+", default=[1, 3, 20])
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder, servers = pathlib.Path(name), {}
        for each in ("kafka", "otelcol", "prometheus"):
            servers |= running.enter_context(server(each, folder / each))
        topic = [ROOT / "tests/servers/kafka.sh", "topic", servers["KAFKA_BROKER"], "accuracy", "1"]
        subprocess.run(topic, stdout=sys.stderr, check=True)
        rounds = [(number, deliver(given, folder, number, servers)) for number in given.daemons]
        found = read_back(given, servers, rounds)
    show_all(found)
    show_largest(found)


if __name__ == "__main__":
    main()
