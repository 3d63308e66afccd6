"""Where messages go."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple, Tuple

DEFAULT_PORT = 5090
DEFAULT = f"127.0.0.1:{DEFAULT_PORT}"


class Address(NamedTuple):
    """What a socket is made for, and where it sends to."""

    family: int
    place: Any


def resolve(text: str) -> Address:
    """Reads ``HOST:PORT``, ``udp://HOST:PORT`` or ``unix_datagram:///PATH`` and looks up the name.

    Raises ValueError for anything else, and OSError for a name that cannot be looked up.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "udp", text
    if scheme == "unix_datagram":
        if not rest.startswith("/"):
            raise ValueError(f"a socket's path starts with `/`: {text!r}")
        return Address(socket.AF_UNIX, rest)
    if scheme != "udp":
        raise ValueError(f"neither udp:// nor unix_datagram://: {text!r}")
    host, port = _split(rest)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    # `localhost` is ::1 first on many hosts, and tallyd is on 127.0.0.1 unless it was told otherwise.
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    return Address(family, place)


def _split(text: str) -> Tuple[str, int]:
    """Takes ``HOST``, ``HOST:PORT`` and ``[IPV6]:PORT`` apart."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"no [ADDRESS]:PORT: {text!r}")
        port = rest[1:]
    elif text.count(":") > 1:  # a bare IPv6 address
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not host:
        raise ValueError(f"no host: {text!r}")
    if port and not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"no port: {text!r}")
    return host, int(port or DEFAULT_PORT)
