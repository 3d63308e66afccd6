"""The backlog method: the CPU time that a receiver needs for datagrams that already wait in its socket.

The receiver is stopped (SIGSTOP), its socket is filled, and then it continues and is measured until the
socket is empty and the receiver has nothing left to do. So it runs at full speed, without waiting.

The sender runs on the receiver's core. The kernel frees the memory of a packet on the core that allocated it;
with the sender on another core, it has to interrupt that core every few packets, which in a virtual machine
is a quarter of the cost of a receiver that only discards.
"""

import contextlib
import os
import signal
import subprocess
from typing import NamedTuple

from processes import CpuClock, enlarge_buffer, wait_until_quiet
from receiver import peak_memory, socket_of, wait_until

CORE = "0"
BUFFER = 1_000_000_000
# For smaller buffers. A datagram of up to 1.5 kB occupies less than this.
BUFFER_PER_DATAGRAM = 4096
# As many datagrams as any measurement sends.
MANY = 2_000_000


class Cost(NamedTuple):
    """The cost of some datagrams."""

    datagrams: int  # read by the receiver
    dropped: int  # by the kernel
    user: float  # CPU seconds
    total: float
    peak: float  # MiB


@contextlib.contextmanager
def running(command, ports, cores=CORE, output=subprocess.DEVNULL, folder=None):
    """A receiver on these cores that has bound its ports; ended on exit."""
    pinned = ["taskset", "-c", cores, *(str(part) for part in command)]
    process = subprocess.Popen(pinned, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder)
    try:
        wait_until(f"{command[0]}", lambda: all(socket_of(port) for port in ports), 60)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def send(generator, port, count, options, core=CORE):
    """Sends datagrams to a port. Returns the generator's report."""
    command = ["taskset", "-c", core, generator, "--dest", f"127.0.0.1:{port}", "--count", str(count), *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def dropped(ports):
    return sum(socket_of(port)[1] for port in ports)


def is_empty(ports):
    return not any(socket_of(port)[0] for port in ports)


def capacity(process, ports):
    """Enlarges the receive buffers. Returns how many datagrams fit into each."""
    granted = min(enlarge_buffer(process.pid, port, BUFFER) for port in ports)
    # Without root, it is the few megabytes that net.core.rmem_max allows.
    return MANY if granted >= BUFFER else granted // BUFFER_PER_DATAGRAM


def warm_up(process, ports, generator, options, datagrams, room):
    """Sends datagrams before the measurement, so that the receiver knows the series and has its memory."""
    pace = ["--rate", "20000"] if datagrams > room else []
    for port in ports:
        send(generator, port, datagrams, [*options, *pace])
    wait_until("the warm-up", lambda: is_empty(ports), 300)
    wait_until_quiet(process.pid)


def drain(process, ports, generator, options, datagrams):
    """Fills the socket of each port with datagrams, and measures the receiver until it has processed them."""
    before = dropped(ports)
    process.send_signal(signal.SIGSTOP)
    for port in ports:
        send(generator, port, datagrams, options)
    clock = CpuClock(process.pid)
    process.send_signal(signal.SIGCONT)
    wait_until("the backlog", lambda: is_empty(ports), 300)
    wait_until_quiet(process.pid)
    used, lost = clock.read(), dropped(ports) - before
    return Cost(datagrams * len(ports) - lost, lost, used.user, used.total, peak_memory(process.pid))


def total(costs):
    """The sum of several drains of one receiver."""
    return Cost(*(sum(column) for column in list(zip(*costs))[:4]), max(cost.peak for cost in costs))
