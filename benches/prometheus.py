#!/usr/bin/env python3
"""Measures the forms of timers for Prometheus: the bytes of a window, and the cost in a real Prometheus.

    cargo build --release && benches/prometheus.py --prometheus PATH

For each form, one tallyd with a page and remote write, and one Prometheus that scrapes the page. Each timer gets
samples of an exponential distribution (mean 50) in each window. The bytes are those of the page and of the requests
of remote write after the first and after the last window with samples; the cost is what Prometheus reports about
itself.
"""

import argparse
import contextlib
import gzip
import http.server
import json
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).parent.parent
IDLE_WINDOWS = 3
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
FORMS = ("summary", "histogram", "native")
CONFIG = """
interval: {interval}s
state_dir: {folder}/state
listeners: [{{ transport: tcp, protocol: statsd, address: "127.0.0.1:{ports[0]}" }}]
admin: {{ listen: "127.0.0.1:{ports[1]}" }}
aggregation: {{ max_series: 200000, max_series_per_metric: 200000 }}
forwarders:
  prometheus:
    listen: "127.0.0.1:{ports[2]}"
    timers: {form}
    remote_write: {{ url: "http://127.0.0.1:{ports[3]}/" }}
"""
SCRAPES = """
global: {{ scrape_interval: {interval}s, scrape_timeout: {interval}s, scrape_native_histograms: true }}
scrape_configs: [{{ job_name: tallyd, static_configs: [{{ targets: ["127.0.0.1:{port}"] }}] }}]
"""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Sink(http.server.BaseHTTPRequestHandler):
    """Takes the requests of remote write and counts their bytes."""

    protocol_version = "HTTP/1.1"
    received = 0

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        Sink.received += length
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def get(url, accept="*/*"):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read()


def wait_until(condition, what, patience=120):
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            sys.exit(f"no {what} within {patience} s")
        time.sleep(0.05)


@contextlib.contextmanager
def running(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def window(timers, samples, generator):
    """The lines of one window."""
    lines = []
    for timer in range(timers):
        values = ":".join(f"{generator.expovariate(1 / 50):.3f}" for _ in range(samples))
        lines.append(f"api.latency:{values}|ms|#host:web-{timer},stage:checkout,region:eu-west-1\n")
    return "".join(lines).encode()


def sizes(page, interval):
    Sink.received = 0
    # Remote write sends every live series with each window, also if it is idle.
    time.sleep(IDLE_WINDOWS * interval)
    written = Sink.received // IDLE_WINDOWS
    text, protobuf = get(page, "text/plain"), get(page, PROTOBUF)
    has_protobuf = not protobuf.startswith(b"# HELP")
    return {
        "text": len(text),
        "text, gzip": len(gzip.compress(text, 1)),
        "protobuf": len(protobuf) if has_protobuf else 0,
        "protobuf, gzip": len(gzip.compress(protobuf, 1)) if has_protobuf else 0,
        "remote write, snappy": written,
    }


def metrics(url):
    lines = get(url).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def folder_bytes(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def measure(options, form, folder):
    tcp, admin, page, sink, own = free_ports(5)
    ports = (tcp, admin, page, sink)
    (folder / "tallyd.yaml").write_text(
        CONFIG.format(interval=options.interval, folder=folder, form=form, ports=ports)
    )
    (folder / "prometheus.yml").write_text(SCRAPES.format(interval=options.interval, port=page))
    Sink.received = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", sink), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tallyd = [options.tallyd, "run", "--config", folder / "tallyd.yaml"]
    prometheus = [
        options.prometheus,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{own}",
        "--enable-feature=native-histograms",
        "--log.level=error",
    ]
    generator = random.Random(17)
    with running(tallyd), running(prometheus):
        page_url, own_url = f"http://127.0.0.1:{page}/metrics", f"http://127.0.0.1:{own}"
        status_url = f"http://127.0.0.1:{admin}/api/v1/status"
        wait_until(lambda: get(page_url) is not None, "page")
        wait_until(lambda: get(f"{own_url}/-/ready"), "Prometheus")
        before = metrics(f"{own_url}/metrics")
        lines = socket.create_connection(("127.0.0.1", tcp))
        name, reached = "prometheus.remote_write", 0
        found = {}
        for number in range(options.windows):
            lines.sendall(window(options.timers, options.samples, generator))
            reached += options.timers

            def is_delivered(reached=reached):
                status = json.loads(get(status_url))["forwarders"]
                return all(status[each]["delivered"] >= reached for each in ("prometheus", name))

            wait_until(is_delivered, "window")
            if number in (0, options.windows - 1):
                found["first" if number == 0 else "last"] = sizes(page_url, options.interval)
        get(f"{own_url}/debug/pprof/heap?gc=1")
        after = metrics(f"{own_url}/metrics")
        stats = json.loads(get(f"{own_url}/api/v1/status/tsdb"))["data"]["headStats"]
        query = json.loads(get(f"{own_url}/api/v1/query?query=sum_over_time(up[1h])"))
        scrapes = float(query["data"]["result"][0]["value"][1])
        cpu = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
        appended = sum(
            value for key, value in after.items() if key.startswith("prometheus_tsdb_head_samples_appended_total")
        )
        found["cost"] = {
            "series": stats["numSeries"],
            "samples": appended,
            "chunks": stats["chunkCount"],
            "heap, MiB": (after["go_memstats_heap_inuse_bytes"] - before["go_memstats_heap_inuse_bytes"]) / 2**20,
            "disk (WAL and head), MiB": folder_bytes(folder / "data") / 2**20,
            "CPU ms a scrape": cpu * 1000 / max(scrapes, 1),
            "successful scrapes": scrapes,
        }
        lines.close()
    server.shutdown()
    return found


def show(title, results, key, divisor):
    print(f"\n{title}\n\n| | " + " | ".join(results) + " |\n| --- |" + " --- |" * len(results))
    for row in next(iter(results.values()))[key]:
        values = [found[key][row] / divisor for found in results.values()]
        cells = [f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in values]
        print(f"| {row} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tallyd", default=ROOT / "target/release/tallyd")
    parser.add_argument("--prometheus", required=True, help="the program, current or of Debian")
    parser.add_argument("--timers", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=20, help="samples of a timer in a window")
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--interval", type=int, default=5)
    options = parser.parse_args()
    results = {}
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            results[form] = measure(options, form, pathlib.Path(folder))
        print(form, json.dumps(results[form]), file=sys.stderr, flush=True)
    show("Bytes of a timer in the first window", results, "first", options.timers)
    show("Bytes of a timer in the last window", results, "last", options.timers)
    show("Prometheus", results, "cost", 1)


if __name__ == "__main__":
    main()
