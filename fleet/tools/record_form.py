"""Compares the form of generated records with those that a real tallyd wrote to a real broker."""

import base64
import json
import os
import re
import shutil
import socket
import tempfile
import time

import jsonschema

from generator import Generator
from hosts import Host
from kafka import ROOT, OneBroker, Reader, create_topics
from processes import wait_until

MESSAGES = [
    {"metric_name": "rpc.requests", "metric_type": "counter", "value": 7},
    {"metric_name": "connections.open", "metric_type": "gauge", "value": 12},
    {"metric_name": "rpc.time", "metric_type": "timer", "value": 20.125},
    {"metric_name": "rpc.callers", "metric_type": "set", "value": "user1"},
    {"metric_name": "rpc.routes", "metric_type": "trace"},
]
KINDS = {"counter", "gauge", "timer", "set", "trace"}


def compare(everything):
    """Returns the exit status."""
    folder = tempfile.mkdtemp(prefix="tallyd-form.")
    everything.stops.insert(0, lambda: shutil.rmtree(folder, ignore_errors=True))
    brokers = everything.add(OneBroker(os.path.join(folder, "kafka")))
    create_topics(brokers, {"real": {}, "generated": {}}, partitions=2)
    Generator(brokers, "generated", 3, 10).past(2)
    real, generated = forms(real_records(everything, folder, brokers)), forms(read(brokers, "generated", 6_000))
    wrong = [f"{kind}: generated {sorted(map(str, generated.get(kind, [])))}, by tallyd {sorted(map(str, real.get(kind, [])))}"
             for kind in sorted(KINDS) if generated.get(kind) != real.get(kind) or not real.get(kind)]
    print("\n".join(wrong) or f"the records of all {len(real)} kinds have the form of tallyd's")
    return 1 if wrong else 0


def real_records(everything, folder, brokers):
    host = everything.add(Host(folder, 0, brokers, "real", interval=1)).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for message in MESSAGES:
            text = json.dumps({**message, "service": "s1", "method": "m1"})
            sender.sendto(text.encode(), ("127.0.0.1", host.port))
    wait_until("the delivery", lambda: (host.settled() or 0) >= len(MESSAGES))
    return read(brokers, "real", len(MESSAGES))


def read(brokers, topic, number):
    reader, records, deadline = Reader(brokers, topic), [], time.monotonic() + 60
    while len(records) < number and time.monotonic() < deadline:
        records += reader.read(0.5)
    reader.stop()
    return records


def forms(records):
    """The different forms of each kind's records, each as its parts with the values left out."""
    with open(os.path.join(ROOT, "docs/record.schema.json")) as file:
        schema = jsonschema.Draft202012Validator(json.load(file))
    found = {}
    for record in records:
        value = json.loads(record.value())
        schema.validate(value)
        if value["name"] != "bench.end":
            found.setdefault(value["type"], set()).add(form(record, value))
    return found


def form(record, value):
    headers = {name: text.decode() for name, text in record.headers()}
    assert headers["tallyd.window"] == str(value["timestamp"]) == str(record.timestamp()[1]), headers
    assert headers["tallyd.kind"] == value["type"], headers
    key = ",".join([value["name"], *(f"{tag}={text}" for tag, text in value["tags"].items())])
    assert record.key().decode() == key, record.key()
    # tallyd writes no spaces, and whole numbers without a point.
    assert json.dumps(value, separators=(",", ":")).replace(".0,", ",") and " " not in record.value().decode()
    assert not re.search(r"\d\.0[,}]", record.value().decode()), record.value()
    sketch = base64.b64decode(value["sketch"]) if "sketch" in value else b""
    instance = "hex" if re.fullmatch("[0-9a-f]{16}", headers["tallyd.instance"]) else headers["tallyd.instance"]
    return (tuple(headers), instance, tuple(value), tuple(value["tags"]), tuple(value["fields"]), sketch_form(value, sketch))


def sketch_form(value, sketch):
    """The first byte of a timer's sketch; version, family and size of a set's."""
    return {"timer": sketch[:1], "set": sketch[1:4]}.get(value["type"], b"")
