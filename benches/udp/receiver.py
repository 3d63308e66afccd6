"""Shared code of the measurements: builds the generator and the sink, and inspects receivers."""

import pathlib
import re
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def build(folder):
    """Compiles the generator and the sink."""
    for name in ("loadgen", "sink"):
        source, program = HERE / f"{name}.c", folder / name
        subprocess.run(["gcc", "-O2", "-o", program, source, "-lm"], check=True)


def free_port(kind=socket.SOCK_DGRAM):
    """Returns a port of 127.0.0.1 that no socket of this kind uses."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def socket_of(port):
    """Returns (bytes waiting, datagrams dropped) of the UDP socket on a port, or None without one."""
    for line in pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}"):
            return int(fields[4].split(":")[1], 16), int(fields[-1])
    return None


def wait_until(what, holds, seconds=30):
    """Waits until a condition holds; exits if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.001)


def peak_memory(pid):
    """Returns the peak resident memory of a process, in MiB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def cpu_seconds(pid):
    """Returns the CPU time of all threads of a process, to the nanosecond."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
