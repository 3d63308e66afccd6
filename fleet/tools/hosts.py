"""Three tallyd processes, each as if on a host of its own, and the load on them."""

import json
import math
import os
import random
import socket
import threading
import time
import urllib.request

from processes import Process, free_port, wait_until

ENVIRONMENTS = ["prod", "prod", "stage"]
# The job does not need the key of a record.
KEYS = ["series", "name", "none"]
SERVICES = ["login", "search"]
SETS = ["rpc.callers", "rpc.objects"]
OBJECTS = 20
# Messages for each request.
MESSAGES = 4 + OBJECTS
# Seconds without load before the end of a window.
PAUSE = 4


class Host:
    """A tallyd that writes records with sketches."""

    def __init__(self, folder, n, brokers, topic, interval=10):
        self.name = f"host{n + 1}"
        self.environment, self.key = ENVIRONMENTS[n], KEYS[n]
        self.folder = os.path.join(folder, self.name)
        os.makedirs(os.path.join(self.folder, "state"))
        self.port, self.admin = free_port(), free_port()
        config = os.path.join(self.folder, "tallyd.yaml")
        with open(config, "w") as out:
            out.write(self._config(brokers, topic, interval))
        self.process = Process(
            self.name, [os.environ["TALLYD"], "run", "--config", config], os.path.join(self.folder, "tallyd.log"))

    def _config(self, brokers, topic, interval):
        return f"""bind_address: 127.0.0.1
bind_port: {self.port}
interval: {interval}s
state_dir: {self.folder}/state
admin: {{listen: "127.0.0.1:{self.admin}"}}
agent: {{tags: {{environment: {self.environment}, host: {self.name}}}}}
aggregation: {{set_seed: "the same on all hosts of the fleet"}}
forwarders:
  kafka:
    kafka_broker: "{brokers.address}"
    kafka_topic: {topic}
    key: {self.key}
    format: json
    sketches: true
    delivery: {{timeout: 10s, retry: {{initial: 250ms, max: 2s}}, spool: {{max_bytes: 64MiB, write: always}}}}
"""

    def start(self):
        self.process.start()
        wait_until(self.name, self._ready)
        return self

    def _ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=2) as reply:
                return reply.status == 200
        except OSError:
            return False

    def ledger(self):
        """Returns the ledger of samples, and that of the points of Kafka."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/api/v1/status", timeout=5) as reply:
            status = json.load(reply)
        return status["ledger"], status["forwarders"]["kafka"]

    def settled(self):
        """Returns the number of flushed points, if each is delivered or on disk.

        Those that a restarted tallyd found on disk count too.
        """
        _, kafka = self.ledger()
        known = kafka["flushed"] + kafka["recovered"]
        return kafka["flushed"] if kafka["delivered"] + kafka["spooled"] == known else None

    def stop(self):
        self.process.stop()


class Load(threading.Thread):
    """Sends requests of two services to a host, and keeps every sample in memory to compare with.

    It pauses at the ends of windows, so that the window of each sample is known even if tallyd is slow to read it.
    """

    def __init__(self, host, seed, per_second=100, interval=10):
        super().__init__(daemon=True)
        self.host, self.random, self.per_second, self.interval = host, random.Random(seed), per_second, interval
        self.ended, self.pause = threading.Event(), threading.Event()
        # (window, environment, service) -> latencies, (set, window, environment, service) -> members
        self.samples, self.members = {}, {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", host.port))
        # Each host is slower than the one before, so that the fleet's percentiles are those of none of them.
        self.slowness = 1 + seed

    def run(self):
        step = 0.05
        following = time.monotonic()
        while not self.ended.is_set():
            now = time.time()
            if 1 <= now % self.interval <= self.interval - PAUSE and not self.pause.is_set():
                window = (int(now) // self.interval + 1) * self.interval
                for _ in range(round(self.per_second * step)):
                    self.request(window)
            following = max(following + step, time.monotonic() - 1)
            time.sleep(max(0, following - time.monotonic()))

    def request(self, window):
        service = self.random.choice(SERVICES)
        latency = round(self.random.lognormvariate(math.log(20 * self.slowness), 0.8), 3)
        caller = f"user{self.random.randrange(20_000)}"
        messages = [
            {"metric_name": "rpc.requests", "metric_type": "counter"},
            {"metric_name": "rpc.time", "metric_type": "timer", "value": latency},
            {"metric_name": "rpc.callers", "metric_type": "set", "value": caller},
            {"metric_name": "rpc.routes", "metric_type": "trace"},
        ]
        # So many members that tallyd sends an estimating sketch instead of a list.
        objects = [self.random.randrange(1_000_000) for _ in range(OBJECTS)]
        messages += [{"metric_name": "rpc.objects", "metric_type": "set", "value": f"o{n}"} for n in objects]
        datagram = "\n".join(json.dumps({**message, "service": service}) for message in messages)
        self.socket.send(datagram.encode())
        key = (window, self.host.environment, service)
        self.samples.setdefault(key, []).append(latency)
        self.members.setdefault(("rpc.callers", *key), set()).add(caller)
        self.members.setdefault(("rpc.objects", *key), set()).update(objects)

    def requests(self):
        return sum(len(samples) for samples in self.samples.values())

    def stop(self):
        self.ended.set()
        if self.is_alive():
            self.join()
