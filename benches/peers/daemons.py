"""How to run each daemon, with settings as equal as they can be, and how to read its own count of lines.

Every daemon has the same interval, the percentiles 50, 90, 95 and 99, and writes the points of each window to
a local file. A daemon that cannot write a file has the cheapest output that formats the points, or none. The
README has the list.
"""

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from install import program


class Run(NamedTuple):
    """One run of a daemon."""

    folder: Path
    port: int
    admin: int  # a free TCP port
    interval: int  # seconds
    dialect: str
    backlog: bool  # Inner queues are large enough for all datagrams at once.

    def log(self):
        return (self.folder / "log").read_text(errors="replace")


class Sink:
    """benches/udp/sink.c, which receives and discards."""

    name = "sink"
    dialects = ("statsd", "dogstatsd")
    share = 1  # of the datagrams of a backlog: slower daemons get fewer
    scraped = None  # the path of a page that a server would request each interval

    def __init__(self, path):
        self.path = path

    def command(self, run):
        """Writes the configuration. Returns the command."""
        return [self.path, "--listen", f"127.0.0.1:{run.port}", "--rcvbuf", "212992"]

    def before_stop(self, run):
        """Reads counts that the daemon does not report after its stop."""

    def counted(self, run):
        """Returns the number of lines that the daemon reports as processed, or None if it reports none."""
        return None


class Tallyd(Sink):
    name = "tallyd"

    def command(self, run):
        (run.folder / "tallyd.yaml").write_text(f"""
interval: {run.interval}s
state_dir: {run.folder}/state
listeners: [{{ protocol: statsd, address: "127.0.0.1:{run.port}" }}]
admin: {{ listen: none }}
aggregation: {{ max_series: 200000, max_series_per_metric: 200000 }}
forwarders: {{ file: {{ path: {run.folder}/points }} }}
""")
        return [self.path, "run", "--config", run.folder / "tallyd.yaml"]

    def counted(self, run):
        return int(re.search(r" aggregated=(\d+)", run.log()).group(1))


class Statsd(Sink):
    """The original statsd, for Node.js. Its console backend writes to standard output, which is a file here."""

    name = "statsd"
    dialects = ("statsd",)
    share = 0.25

    def command(self, run):
        settings = {
            "address": "127.0.0.1", "port": run.port, "mgmt_address": "127.0.0.1", "mgmt_port": run.admin,
            "flushInterval": run.interval * 1000, "percentThreshold": [50, 90, 95, 99],
            "backends": ["./backends/console"], "automaticConfigReload": False, "title": False,
        }  # fmt: skip
        (run.folder / "statsd.js").write_text(json.dumps(settings))
        return ["node", self.path, run.folder / "statsd.js"]

    def counted(self, run):
        # Each window, including the last one at the stop, has the counters and then their rates, under the
        # same names.
        windows = (window.split("counter_rates:")[0] for window in run.log().split("Flushing stats"))
        counts = (re.search(r"'statsd.metrics_received': (\d+)", window) for window in windows)
        return sum(int(count.group(1)) for count in counts if count)


class Telegraf(Sink):
    """Telegraf with its statsd input and its file output, and room for all points of a window in its buffer."""

    name = "telegraf"
    share = 0.25

    def command(self, run):
        pending = "allowed_pending_messages = 3000000" if run.backlog else ""
        (run.folder / "telegraf.conf").write_text(f"""
[agent]
interval = "{run.interval}s"
flush_interval = "{run.interval}s"
metric_batch_size = 5000
metric_buffer_limit = 1000000
omit_hostname = true
[[inputs.statsd]]
service_address = "127.0.0.1:{run.port}"
percentiles = [50.0, 90.0, 95.0, 99.0]
datadog_extensions = {"true" if run.dialect == "dogstatsd" else "false"}
{pending}
[[outputs.file]]
files = ["{run.folder}/points"]
data_format = "influx"
""")
        return [self.path, "--config", run.folder / "telegraf.conf"]

    def counted(self, run):
        """Returns the sum of the counters in the output, or None for a backlog, in which no window ends."""
        points = run.folder / "points"
        if run.backlog or not points.exists():
            return None
        return sum(int(value) for value in re.findall(r"metric_type=counter value=(\d+)i", points.read_text()))


class Gostatsd(Sink):
    """gostatsd with the backend that discards points: its backend for standard output logs each point."""

    name = "gostatsd"
    share = 0.25

    def command(self, run):
        settings = {
            "metrics-addr": f"127.0.0.1:{run.port}", "flush-interval": f"{run.interval}s", "backends": "null",
            "percent-threshold": "50 90 95 99", "statser-type": "null", "ignore-host": "true",
        }  # fmt: skip
        return [self.path, *(f"--{name}={value}" for name, value in settings.items())]


class StatsdExporter(Sink):
    """statsd_exporter, which has totals and no windows: a request for its page is the counterpart of a flush."""

    name = "statsd_exporter"
    share = 0.25
    scraped = "/metrics"

    def command(self, run):
        queue = ["--statsd.udp-packet-queue-size=3000000"] if run.backlog else []
        listen = [f"--statsd.listen-udp=127.0.0.1:{run.port}", "--statsd.listen-tcp="]
        return [self.path, *listen, f"--web.listen-address=127.0.0.1:{run.admin}", *queue]

    def before_stop(self, run):
        time.sleep(0.5)  # Its events wait in a queue for up to 0.2 s.
        url = f"http://127.0.0.1:{run.admin}{self.scraped}"
        (run.folder / "page").write_bytes(urllib.request.urlopen(url, timeout=60).read())

    def counted(self, run):
        page = (run.folder / "page").read_text()
        return sum(int(float(count)) for count in re.findall(r"^statsd_exporter_events_total\{.*\} (.+)$", page, re.M))


PEERS = {kind.name: kind for kind in (Tallyd, Statsd, Telegraf, Gostatsd, StatsdExporter)}


def peer(name, tallyd):
    """Returns a daemon that is installed; `tallyd` is the path of the one that this repository builds."""
    return PEERS[name](tallyd if name == "tallyd" else program(name))
