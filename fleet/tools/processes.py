"""Processes that are started, killed and always ended with the program."""

import os
import random
import signal
import socket
import subprocess
import sys
import time

# Added to the niceness of this program.
NICE = os.environ.get("FLEET_NICE", "5")


def say(text):
    print(f"fleet: {text}", file=sys.stderr, flush=True)


def free_port():
    """Returns a port below those of outgoing connections, so that a server that is started again finds it free."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(what, condition, seconds=120):
    """Returns the first result of `condition` that is true."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.2)


class Process:
    """A command whose output goes to a file."""

    def __init__(self, name, command, log, env=None):
        self.name, self.command, self.log = name, command, log
        self.env = {**os.environ, **(env or {})}
        self.child = None

    def start(self):
        with open(self.log, "ab") as out:
            # A session of its own: Ctrl-C in the terminal ends this program, which then ends the others.
            self.child = subprocess.Popen(
                ["nice", "-n", NICE, *self.command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env, start_new_session=True,
            )
        return self

    def runs(self):
        return self.child is not None and self.child.poll() is None

    def kill(self):
        say(f"kill -9 {self.name} (pid {self.child.pid})")
        self.child.kill()
        self.child.wait()

    def stop(self, seconds=20):
        if not self.runs():
            return
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def tail(self, lines=30):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-lines:])


class Everything:
    """Ends everything in reverse order, however the program ends."""

    def __init__(self):
        self.stops = []

    def add(self, part):
        self.stops.append(part.stop)
        return part

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        return self

    def __exit__(self, *_):
        for stop in reversed(self.stops):
            try:
                stop()
            except Exception as error:  # The others have to be ended too.
                say(f"cannot be stopped: {error}")
