"""The address of the daemon."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple, Tuple

DEFAULT_PORT = 5090
DEFAULT = f"127.0.0.1:{DEFAULT_PORT}"


class Address(NamedTuple):
    """The family of a socket, and the address that it sends to."""

    family: int
    place: Any


def resolve(text: str) -> Address:
    """Reads ``HOST:PORT``, ``udp://HOST:PORT`` or ``unix_datagram:///PATH`` and resolves the name.

    Raises ValueError for anything else, and OSError for a name that cannot be resolved.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "udp", text
    if scheme == "unix_datagram":
        if not rest.startswith("/"):
            raise ValueError(f"the path of a socket must start with `/`: {text!r}")
        return Address(socket.AF_UNIX, rest)
    if scheme != "udp":
        raise ValueError(f"the scheme must be udp:// or unix_datagram://: {text!r}")
    host, port = _split(rest)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    # `localhost` is ::1 first on many hosts, but tallyd listens on 127.0.0.1 by default.
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    return Address(family, place)


def _split(text: str) -> Tuple[str, int]:
    """Splits ``HOST``, ``HOST:PORT`` and ``[IPV6]:PORT``."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"not an [ADDRESS]:PORT: {text!r}")
        port = rest[1:]
    elif text.count(":") > 1:  # a bare IPv6 address
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not host:
        raise ValueError(f"missing host: {text!r}")
    if port and not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"not a port number: {text!r}")
    return host, int(port or DEFAULT_PORT)
