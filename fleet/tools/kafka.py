"""Kafka brokers, topics and their records."""

import os
import subprocess
import time

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from processes import Process, free_port, say, wait_until

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
SCRIPT = os.path.join(ROOT, "tests/servers/kafka.sh")
LIBS = os.environ.get("KAFKA_LIBS", os.path.join(ROOT, "target/servers/kafka/libs"))


class OneBroker:
    """The broker of tallyd's tests."""

    def __init__(self, folder):
        self.folder = folder
        out = subprocess.run([SCRIPT, "start", folder], check=True, capture_output=True, text=True).stdout
        self.address = out.strip().removeprefix("KAFKA_BROKER=")
        self.replication = 1

    def stop(self):
        subprocess.run([SCRIPT, "stop", self.folder], check=True, capture_output=True)


class ThreeBrokers:
    """Three brokers, each of which may be killed: everything is replicated three times."""

    replication = 3

    def __init__(self, folder):
        self.ports = [(free_port(), free_port()) for _ in range(3)]
        self.address = ",".join(f"127.0.0.1:{broker}" for broker, _ in self.ports)
        self.brokers = [self._broker(folder, n) for n in range(3)]
        try:
            for broker in self.brokers:
                broker.start()
            wait_until("the brokers", lambda: len(self._metadata().brokers) == 3, 180)
        except BaseException:
            self.stop()
            raise
        say(f"three brokers at {self.address}")

    def _metadata(self):
        try:
            return AdminClient({"bootstrap.servers": self.address, "log_level": 0}).list_topics(timeout=5)
        except Exception:
            class Nothing:
                brokers = ()
            return Nothing

    def _broker(self, folder, n):
        home = os.path.join(folder, f"broker{n + 1}")
        os.makedirs(home)
        config = os.path.join(home, "server.properties")
        with open(config, "w") as out:
            out.write(self._properties(home, n))
        java = ["java", "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-cp", os.path.join(LIBS, "*")]
        subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "--cluster-id=MkU3OEVBNTcwNTJENDM2Qg", "--config", config],
            check=True, capture_output=True,
        )
        return Process(f"broker {n + 1}", [*java, "kafka.Kafka", config], os.path.join(home, "broker.log"))

    def _properties(self, home, n):
        broker, controller = self.ports[n]
        voters = ",".join(f"{i + 1}@127.0.0.1:{port}" for i, (_, port) in enumerate(self.ports))
        return f"""process.roles=broker,controller
node.id={n + 1}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
log.dirs={home}/data
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=3
group.initial.rebalance.delay.ms=0
"""

    def stop(self):
        for broker in self.brokers:
            broker.stop()


def create_topics(brokers, topics, partitions):
    """`topics` is a mapping of a name to its settings."""
    admin = AdminClient({"bootstrap.servers": brokers.address})
    new = [
        NewTopic(name, num_partitions=partitions, replication_factor=brokers.replication, config=config)
        for name, config in topics.items()
    ]
    for created in admin.create_topics(new).values():
        created.result(60)


class Reader:
    """Reads all committed records of a topic, from its beginning on."""

    def __init__(self, brokers, topic):
        self.consumer = Consumer({
            "bootstrap.servers": brokers.address, "group.id": f"reader-{os.getpid()}-{topic}",
            "isolation.level": "read_committed", "enable.auto.commit": False, "auto.offset.reset": "earliest",
        })
        metadata = self.consumer.list_topics(topic, timeout=30)
        self.consumer.assign([TopicPartition(topic, each, 0) for each in metadata.topics[topic].partitions])

    def read(self, seconds):
        """Yields the records of the next seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for record in self.consumer.consume(500, timeout=0.2):
                if record.error() is None:
                    yield record

    def stop(self):
        self.consumer.close()
