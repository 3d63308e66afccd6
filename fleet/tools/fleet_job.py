"""The job's configuration for the demo and the check, and its results."""

import json
import os

from kafka import Reader

INPUT, OUTPUT, REJECTED = "metrics", "metrics.fleet", "metrics.fleet.rejected"
# The broker's time of arrival is a better reference than the clocks of hosts.
TOPICS = {
    INPUT: {"message.timestamp.type": "LogAppendTime"},
    OUTPUT: {"cleanup.policy": "compact"},
    REJECTED: {},
}


def write_config(folder, brokers, percentiles="50, 90, 95, 99", windows="10s, 1m"):
    path = os.path.join(folder, "fleet.yaml")
    with open(path, "w") as out:
        out.write(f"""kafka: {{brokers: "{brokers.address}"}}
input: {{topic: {INPUT}}}
output: {{topic: {OUTPUT}, rejected_topic: {REJECTED}}}
windows: [{windows}]
percentiles: [{percentiles}]
groups:
  - {{match: "rpc.*", by: [[service], [environment, service]]}}
time: {{delay: 2s, grace: 30m, correct_every: 1s}}
checkpoints: {{interval: 2s}}
""")
    return path


class Results(Reader):
    """The latest result of each key, as a consumer sees them; `versions` counts the results of a key."""

    def __init__(self, brokers, topic=OUTPUT):
        super().__init__(brokers, topic)
        self.by_key, self.versions = {}, {}

    def update(self, seconds):
        for record in self.read(seconds):
            key = record.key().decode()
            self.by_key[key] = json.loads(record.value())
            self.versions[key] = self.versions.get(key, 0) + 1

    def of(self, name, kind, interval, tags):
        """Yields the windows and results of one group."""
        for result in self.by_key.values():
            if (result["name"], result["type"], result["interval"], result["tags"]) == (name, kind, interval, tags):
                yield result["timestamp"] // 1000, result


class Inputs(Reader):
    """The records of tallyd, without repeats."""

    def __init__(self, brokers):
        super().__init__(brokers, INPUT)
        self.by_identity, self.repeats = {}, 0

    def update(self, seconds):
        for record in self.read(seconds):
            headers, content = {name: value.decode() for name, value in record.headers()}, json.loads(record.value())
            series = (content["name"], *sorted(content["tags"].items()))
            identity = (headers["tallyd.instance"], headers["tallyd.window"], headers["tallyd.kind"], series)
            self.repeats += identity in self.by_identity
            self.by_identity[identity] = content
