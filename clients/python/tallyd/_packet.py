"""Several datagrams in one packet, which the kernel divides again (UDP_SEGMENT of Linux)."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from typing import Any, List, Sequence

# The socket module has no names for these.
_SOL_UDP = 17
_UDP_SEGMENT = 103

# The maximum number of datagrams into which the kernel divides a packet, and the maximum size of a packet.
_MAX_DATAGRAMS = 64
_MAX_BYTES = 65507

# Errors due to an old kernel, a device without checksums, or datagrams that the route would fragment.
_REFUSALS = (errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EMSGSIZE)


def is_supported(out: socket.socket) -> bool:
    """Returns whether the kernel divides packets of this socket, instead of sending one large datagram."""
    if sys.platform != "linux" or out.family == socket.AF_UNIX:
        return False
    try:
        out.getsockopt(_SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return True


def is_refusal(error: OSError) -> bool:
    """Returns whether the system refuses all packets, and not only this one."""
    return error.errno in _REFUSALS


def capacity(size: int) -> int:
    """Returns the maximum number of datagrams of this size in a packet."""
    return min(_MAX_DATAGRAMS, _MAX_BYTES // max(size, 1))


def padded(datagrams: Sequence[bytes], size: int) -> List[bytes]:
    """Fills up all datagrams but the last to ``size`` bytes, with newlines, which the daemon ignores.

    All datagrams of a packet have one size, except the last, which may be shorter.
    """
    return [datagram.ljust(size, b"\n") for datagram in datagrams[:-1]] + [datagrams[-1]]


def send(out: socket.socket, datagrams: Sequence[bytes], size: int, place: Any) -> None:
    """Sends datagrams as one packet. All have ``size`` bytes, except the last, which may be shorter."""
    option = (_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", size))
    out.sendmsg([b"".join(datagrams)], [option], 0, place)
