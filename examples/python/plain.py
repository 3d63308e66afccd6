"""Metrics using only the standard library: copy `Metrics` into your program.

    TALLYD_ADDRESS=127.0.0.1:5090 python3 plain.py

`shop.py` does the same with the module of clients/python, which has more features.
"""

import json
import os
import socket
import time


class Metrics:
    """Sends messages to tallyd. Never blocks, and never raises once it is created."""

    # The payload of an Ethernet frame. A longer datagram is fragmented, and is lost if any
    # fragment is lost.
    MAX_DATAGRAM = 1432

    def __init__(self, address="127.0.0.1:5090"):
        host, _, port = address.rpartition(":")
        # Resolved once, here: to resolve the name with each message would make each one wait.
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        # `localhost` may be ::1 first, but tallyd does not listen there by default.
        family, _, _, _, self.place = min(found, key=lambda one: one[0] != socket.AF_INET)
        # Not connected: otherwise the first message after a restart of the daemon would be lost.
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    def counter(self, name, count=1, **tags):
        self.send([message(name, "counter", tags, count=count)])

    def gauge(self, name, value, **tags):
        """Sets a level; text with a sign, "+4" or "-4", changes it."""
        self.send([message(name, "gauge", tags, value=value)])

    def timer(self, name, value, **tags):
        self.send([message(name, "timer", tags, value=value)])

    def set(self, name, member, **tags):
        self.send([message(name, "set", tags, value=member)])

    def trace(self, name, **tags):
        self.send([message(name, "trace", tags)])

    def send(self, messages):
        """Sends messages, as many to a datagram as fit."""
        datagram = b""
        for one in messages:
            try:
                line = json.dumps(one).encode()  # contains no line break
            except (TypeError, ValueError):
                continue  # a value without a JSON representation
            if datagram and len(datagram) + 1 + len(line) > self.MAX_DATAGRAM:
                self._out(datagram)
                datagram = b""
            datagram += b"\n" + line if datagram else line
        self._out(datagram)

    def _out(self, datagram):
        try:
            self.socket.sendto(datagram, self.place)
        except OSError:
            pass  # no room, or too long: metrics are not worth a failure


def message(name, kind, tags, **fields):
    """A message. Tags go into `tags`, where they may be called like a key of the message."""
    return {"metric_name": name, "metric_type": kind, "tags": tags, **fields}


def main():
    metrics = Metrics(os.environ.get("TALLYD_ADDRESS", "127.0.0.1:5090"))

    metrics.counter("shop.orders", payment="card")
    metrics.counter("shop.orders", 2, payment="card")
    metrics.gauge("shop.carts", 17)
    metrics.gauge("shop.carts", "-2")
    for customer in ["anna", "bert", "anna"]:
        metrics.set("shop.customers", customer)
    metrics.trace("shop.signup", step="confirm", browser="firefox")

    began = time.perf_counter()
    # … the measured code …
    metrics.timer("shop.checkout", (time.perf_counter() - began) * 1000, payment="card")

    # Many at once: a few datagrams instead of a hundred.
    tags = {"product": 'Käse "alt"'}
    metrics.send(message("shop.items", "counter", tags, count=count) for count in range(100))


if __name__ == "__main__":
    main()
