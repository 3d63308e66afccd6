"""A realistic load on the tallyd of the demo: load.py STATUS_URL INFLUXDB_PORT [SECONDS]

Simulates the services of a shop, in days of two minutes each: quiet at night, busy at noon. From time to
time a deployment makes requests slow and fail for some seconds. A few messages are malformed, and one
metric has a tag that it should not have. A destination repeatedly goes down and recovers.
"""

import http.server
import json
import math
import os
import random
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../clients/python"))

from tallyd import Agent  # noqa: E402

DAY_S = 120
STEP_S = 0.1
ROUTES = [("/", 9), ("/search", 6), ("/product", 12), ("/cart", 3), ("/checkout", 1)]
GATEWAYS = ["gw1", "gw2", "gw3"]

# Malformed on purpose, each in a different way.
MISTAKES = [
    "{'metric_name': 'shop.orders', 'metric_type': 'counter'}",  # Python's quotes
    '{"metric_name": "shop.orders", "metric_type": "counter", "count": 1,}',
    '{"metric_type": "gauge", "value": 3}',
    '{"metric_name": "queue.depth", "metric_type": "gauge", "value": "many"}',
    '{"metric_name": "queue.depth", "metric_type": "guague", "value": 3}',
    '{"metric_name": "http.requests", "metric_type": "counter", "client": {"ip": "192.0.2.7"}}',
    '{"metric_name": "http.latency", "metric_type": "timer", "value": NaN}',
]


def statuses(url):
    with urllib.request.urlopen(url + "/api/v1/status", timeout=10) as reply:
        return json.load(reply)


def listener(status, begin):
    """Returns the address of the listener whose name starts with `begin`."""
    names = [one["listener"] for one in status["listeners"]]
    return next(name.split(" ", 1)[1] for name in names if name.startswith(begin))


def busyness(now):
    """Returns the load at a time, from 0.2 at night to 1 at noon, with some noise."""
    wave = 0.6 - 0.4 * math.cos(2 * math.pi * now / DAY_S)
    return wave * random.uniform(0.85, 1.15)


def is_deploying(now):
    """Returns true for six seconds out of each forty-five."""
    return now % 45 > 39


class Shop:
    """Sends the metrics of the shop's services, step by step."""

    def __init__(self, json_address, statsd_address, statsd_path):
        self.metrics = Agent(json_address)
        host, port = statsd_address.rsplit(":", 1)
        self.statsd = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM), (host, int(port)))
        self.local = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), statsd_path)
        self.raw = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM), self._pair(json_address))
        self.queue = 20.0
        self.calls = 0
        self.session = 0

    @staticmethod
    def _pair(address):
        host, port = address.rsplit(":", 1)
        return host, int(port)

    def step(self, now):
        busy, slow = busyness(now), is_deploying(now)
        with self.metrics.batch() as batch:
            self.web(batch, busy, slow)
            self.orders(batch, busy, slow)
            self.workers(batch, busy, slow)
        self.calls_of_the_gateways(busy)
        self.mail(busy)
        if random.random() < 0.15:
            self.out(self.raw, random.choice(MISTAKES))

    def web(self, batch, busy, slow):
        for route, share in ROUTES:
            for _ in range(int(busy * share * random.uniform(0.5, 1.5))):
                failed = random.random() < (0.25 if slow else 0.004)
                tags = {"route": route, "status": 503 if failed else 200}
                batch.counter("http.requests", tags=tags)
                took = random.lognormvariate(math.log(35 if route != "/checkout" else 180), 0.5)
                batch.timer("http.latency", took * (6 if slow else 1), {"route": route})
                batch.set("http.visitors", f"192.0.2.{random.randrange(250)}")
        # A session id in a tag: each makes a separate series.
        for _ in range(6):
            self.session += 1
            batch.counter("session.pages", tags={"session": f"s{self.session}"})

    def orders(self, batch, busy, slow):
        if random.random() < busy * (0.1 if slow else 0.6):
            payment = random.choice(["card", "card", "invoice", "wallet"])
            batch.counter("shop.orders", tags={"payment": payment})
            batch.counter("shop.revenue", round(random.lognormvariate(3.5, 0.8), 2))
        for step, share in [("form", 1.0), ("confirm", 0.6), ("done", 0.4)]:
            if random.random() < busy * share * 0.4:
                batch.trace("user.signup", {"step": step})
        if random.random() < busy:
            batch.counter("user.logins", tags={"stage": random.choice(["web", "app"])})

    def workers(self, batch, busy, slow):
        self.queue = max(0.0, self.queue + random.gauss(busy * 4 - (0.5 if slow else 2.6), 2))
        batch.gauge("queue.depth", round(self.queue), {"queue": "mail"})
        for _ in range(2):
            batch.timer("job.run", random.lognormvariate(4, 0.7), {"queue": "mail"})
        batch.gauge("host.load", round(busy * 3 + random.random(), 2))

    def calls_of_the_gateways(self, busy):
        """Sends statsd lines, as Kamailio or any statsd client does."""
        lines = []
        for gateway in GATEWAYS:
            change = random.choice([-1, 1, 1] if self.calls < busy * 40 else [-1, -1, 1])
            self.calls += change
            lines.append(f"sip.calls:{change:+}|g|#gateway:{gateway}")
            lines.append(f"sip.requests,method=INVITE,gateway={gateway}:{1 + int(busy * 3)}|c")
            lines.append(f"sip.setup:{random.lognormvariate(5, 0.4):.1f}|ms|@0.5|#gateway:{gateway}")
        if random.random() < 0.02:
            lines.append("sip.setup:soon|ms")
        self.out(self.statsd, "\n".join(lines))

    def mail(self, busy):
        self.out(self.local, f"mail.sent:{int(busy * 12)}|c\nmail.size:{random.randrange(800, 90000)}|h")

    @staticmethod
    def out(to, text):
        out, place = to
        try:
            out.sendto(text.encode(), place)
        except OSError:
            pass


class InfluxDB(http.server.BaseHTTPRequestHandler):
    """Accepts all writes."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_):
        pass


def comes_and_goes(port):
    """Runs a destination that is up for 25 s and down for 15 s, in turns."""
    while True:
        with http.server.HTTPServer(("127.0.0.1", port), InfluxDB) as server:
            server.timeout = 0.5
            until = time.monotonic() + 25
            while time.monotonic() < until:
                server.handle_request()
        time.sleep(15)


def main():
    url, port = sys.argv[1], int(sys.argv[2])
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else math.inf
    status = statuses(url)
    json_address = listener(status, "json/udp ")
    statsd_address = listener(status, "statsd/udp ")
    shop = Shop(json_address, statsd_address, listener(status, "statsd/unix_datagram "))
    print(f"  send JSON to   {json_address} (UDP), statsd to {statsd_address} (UDP)", flush=True)
    threading.Thread(target=comes_and_goes, args=(port,), daemon=True).start()
    began = time.monotonic()
    step = 0
    while (now := time.monotonic() - began) < seconds:
        shop.step(now + DAY_S / 4)  # starts in the morning
        step += 1
        time.sleep(max(0.0, began + step * STEP_S - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except urllib.error.URLError as error:
        sys.exit(f"load.py: the daemon at {sys.argv[1]} does not answer: {error.reason}")
