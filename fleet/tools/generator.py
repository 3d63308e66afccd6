"""The program that generates the records of many hosts."""

import json
import os
import subprocess


class Generator:
    """`interval` is tallyd's, in seconds."""

    def __init__(self, brokers, topic, hosts, interval):
        self.arguments = [brokers.address, topic, str(hosts), str(interval)]

    def past(self, windows):
        """Writes windows of the past; returns the program's summary."""
        return self._run(str(windows))

    def live(self, windows):
        """Writes each window when it ends."""
        return self._run(str(windows), "live")

    def _run(self, *more):
        # Flink's libraries contain the logger that Kafka's client needs.
        path = os.environ["GENERATOR"] + ":" + os.path.join(os.environ["FLINK_HOME"], "lib/*")
        command = ["java", "-Xmx1g", "-XX:+UseSerialGC", "-cp", path, "tallyd.fleet.bench.Generate", *self.arguments, *more]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def disk_mb(folder):
    """The size of the topic `metrics` in the folder of a broker."""
    sizes = [os.path.getsize(os.path.join(where, name)) for where, _, names in os.walk(folder) for name in names
             if name.endswith(".log") and "/metrics-" in where]
    return round(sum(sizes) / 1e6)
