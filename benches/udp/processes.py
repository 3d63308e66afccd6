"""CPU time of a running process, read from outside, and the receive buffer of its socket."""

import contextlib
import ctypes
import os
import pathlib
import socket
import time
from typing import NamedTuple

from receiver import wait_until

PIDFD_GETFD = 438  # The same number on every architecture; Python has no function for it.
SO_RCVBUFFORCE = 33


class Cpu(NamedTuple):
    """Seconds of CPU time between two readings."""

    user: float
    total: float


class CpuClock:
    """The CPU time of a process and all its threads, since the clock was made.

    The total is exact. The kernel divides it into user and system time by samples, 100 to 1000 a second, so
    the user time of a short measurement is a rough figure.
    """

    def __init__(self, pid):
        self.pid = pid
        self.start = self._now()

    def _now(self):
        # The numbers of the kernel's clocks: all samples, samples in user mode, nanoseconds that it ran.
        return [time.clock_gettime((~self.pid << 3) | kind) for kind in (0, 1, 2)]

    def read(self):
        samples, user, total = (now - then for now, then in zip(self._now(), self.start))
        return Cpu(total * user / samples if samples else 0.0, total)


def wants_cpu(pid):
    """Whether a thread runs or waits for a core."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            if (task / "stat").read_text().rsplit(")", 1)[1].split()[0] in "RD":
                return True
        except FileNotFoundError:
            pass  # The thread has ended.
    return False


def wait_until_quiet(pid, seconds=120):
    """Waits until a process has nothing left to do.

    A process that uses no CPU time may be waiting for a core that other processes use, hence `wants_cpu`.
    """
    clock, last, calm = CpuClock(pid), 0.0, 0

    def holds():
        nonlocal last, calm
        time.sleep(0.04)
        waits, now = wants_cpu(pid), clock.read().total
        calm = calm + 1 if not waits and now - last < 0.0015 else 0
        last = now
        return calm == 3

    wait_until("the end of its work", holds, seconds)


def sockets_of(pid, port):
    """Returns the descriptors that a process has for the UDP socket of a port."""
    inodes = set()
    for line in pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}"):
            inodes.add(f"socket:[{fields[9]}]")
    found = []
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # Closed since; the process may still be starting.
            if os.readlink(entry) in inodes:
                found.append(int(entry.name))
    return found


def enlarge_buffer(pid, port, size):
    """Sets the receive buffer of another process's socket. Returns the size that the kernel granted.

    Not every daemon has an option for it. Without root, net.core.rmem_max limits the size.
    """
    granted = 0
    process = os.pidfd_open(pid)
    try:
        for descriptor in sockets_of(pid, port):
            copy = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, descriptor, 0)
            if copy < 0:
                raise OSError(ctypes.get_errno(), f"cannot reach the socket of process {pid}")
            with socket.socket(fileno=copy) as shared:
                try:
                    shared.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
                except PermissionError:
                    shared.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
                granted = shared.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    finally:
        os.close(process)
    return granted
