"""Sends JSON as programs written for pystatsd do: agent.py HOST PORT.

It needs no library, only a dictionary, `json.dumps` and a UDP socket.
"""

import json
import socket
import sys


class Metrics:
    def __init__(self, host, port):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.address = (host, port)

    def send(self, name, metric_type, **keys):
        message = {"metric_name": name, "metric_type": metric_type, **keys}
        self.socket.sendto(json.dumps(message).encode(), self.address)


metrics = Metrics(sys.argv[1], int(sys.argv[2]))

for user in ["anna", "bert", "anna"]:
    metrics.send("user.signup", "trace", stage="form", username=user)
metrics.send("user.signup", "trace", username="anna", stage="form")

metrics.send("user.logins", "counter", count=1, stage="login")
metrics.send("user.logins", "counter", count="4", stage="login")
metrics.send("user.logins", "counter", stage="login", ok=True, code=200, note=None)

# Existing programs use this spelling, and send numbers as text.
metrics.send("broker.connections", "guage", value="43", host="192.0.2.7")
metrics.send("broker.connections", "guage", value=41, host="192.0.2.7")
metrics.send("broker.level", "guage", value=-4)

# json.dumps escapes characters of other alphabets.
metrics.send("user.city", "trace", city="Köln", emoji="\U0001f600")
