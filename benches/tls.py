#!/usr/bin/env python3
"""Measures the CPU time of the daemon for lines over TCP and over TLS, and for connections with and without a handshake.

One client sends lines as fast as the daemon reads them, in blocks of 64 KiB, or with a write (over TLS: a record) for
each line. Then clients with certificates connect, send one line and close. The figures are the time on a CPU of all
threads of the daemon.

    cargo build --release && benches/tls.py

Needs the command `openssl`.
"""

import argparse
import json
import pathlib
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINE = b"page.views:1|c|#stage:login,host:web-1,region:eu-west\n"

CONFIG = """
interval: 10m
bind_port: 0
listeners:
  - {{ protocol: statsd, transport: tcp, address: "127.0.0.1:0" }}
  - protocol: statsd
    transport: tcp
    address: "127.0.0.1:0"
    tls: {{ cert_file: {folder}/server.pem, key_file: {folder}/server.key, client_ca_file: {folder}/ca.pem }}
admin: {{ listen: "127.0.0.1:{admin}" }}
state_dir: {folder}
forwarders: {{ file: {{ path: /dev/null }} }}
"""


def certificates(folder):
    """Creates an authority, and certificates for the server and the client."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ["server", "client"]:
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        extension = pathlib.Path(folder, "extension")
        extension.write_text("subjectAltName = DNS:localhost\n")
        openssl(
            *["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"],
            *["-days", "2", "-extfile", "extension", "-out", f"{name}.pem"],
        )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    """A running daemon."""

    def __init__(self, binary, folder):
        self.admin = free_port()
        config = pathlib.Path(folder, "config.yaml")
        config.write_text(CONFIG.format(folder=folder, admin=self.admin))
        self.process = subprocess.Popen([binary, "run", "--config", config], stderr=subprocess.DEVNULL)
        while True:
            try:
                listeners = [one["listener"] for one in self.status()["listeners"]]
                break
            except OSError:
                time.sleep(0.05)
        self.ports = [int(label.rsplit(":", 1)[1]) for label in listeners if label.startswith("statsd/tcp ")]

    def status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/api/v1/status") as reply:
            return json.load(reply)

    def wait(self, aggregated):
        while self.status()["ledger"]["aggregated"] < aggregated:
            time.sleep(0.02)

    def cpu(self):
        """Seconds on a CPU and, of these, in user mode as the kernel samples it."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        on_cpu = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return on_cpu, int(fields[11]) / 100

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def connect(port, context):
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw if context is None else context.wrap_socket(raw, server_hostname="localhost")


def send(port, context, lines, a_write):
    """Sends lines over one connection."""
    block = LINE * a_write
    with connect(port, context) as connection:
        for _ in range(lines // a_write):
            connection.sendall(block)


def open_and_close(port, context, number):
    """Sends a line over each of some connections."""
    for _ in range(number):
        with connect(port, context) as connection:
            connection.sendall(LINE)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--binary", default=ROOT / "target/release/tallyd")
    arguments.add_argument("--lines", type=int, default=2_000_000)
    arguments.add_argument("--connections", type=int, default=1_000)
    options = arguments.parse_args()
    in_block = (64 << 10) // len(LINE)
    with tempfile.TemporaryDirectory() as folder:
        certificates(folder)
        context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
        context.load_cert_chain(f"{folder}/client.pem", f"{folder}/client.key")
        daemon = Daemon(options.binary, folder)
        try:
            plain, tls = zip(daemon.ports, [None, context])
            sent = 0

            def measure(name, unit, number, work):
                nonlocal sent
                before, user_before = daemon.cpu()
                work()
                sent += number
                daemon.wait(sent)
                after, user_after = daemon.cpu()
                scale = unit / number
                print(f"{name}: CPU {(after - before) * scale:.3f} s, user {(user_after - user_before) * scale:.3f} s")

            print(f"for a million lines of {len(LINE)} bytes:")
            for a_write, words in [(in_block, "64 KiB a write"), (1, "a line a write")]:
                lines = options.lines // a_write * a_write
                for name, (port, tls_context) in [("TCP", plain), ("TLS", tls)]:
                    measure(f"{name}, {words}", 1e6, lines, lambda: send(port, tls_context, lines, a_write))
            print("for a thousand connections of one line:")
            for name, (port, tls_context) in [("TCP", plain), ("TLS", tls)]:
                number = options.connections
                measure(name, 1e3, number, lambda: open_and_close(port, tls_context, number))
        finally:
            daemon.stop()


if __name__ == "__main__":
    main()
