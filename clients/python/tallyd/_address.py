"""The address of the daemon."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, List, NamedTuple, Tuple

DEFAULT_PORT = 5090
DEFAULT = f"127.0.0.1:{DEFAULT_PORT}"


class Address(NamedTuple):
    """The family of a socket, and the address that it sends to."""

    family: int
    place: Any


def may_change(text: str) -> bool:
    """Returns whether a later resolution may have another result: only a name's address changes."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "udp":
        return False
    host, _ = _split(rest if separator else text)
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False


def resolve(text: str) -> Address:
    """Reads ``HOST:PORT``, ``udp://HOST:PORT`` or ``unix_datagram:///PATH`` and resolves the name.

    Of several addresses, it returns the first one that does not refuse datagrams.

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
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    addresses = [Address(family, place) for family, _, _, _, place in found]
    return _first_that_accepts(addresses)


def _first_that_accepts(addresses: List[Address]) -> Address:
    """Returns the first address that does not refuse datagrams, or the first one if all do."""
    if len(addresses) > 1:
        for address in addresses:
            if not _refuses(address):
                return address
    return addresses[0]


def _refuses(address: Address) -> bool:
    """Returns whether this host knows that no process listens at the address.

    It sends an empty datagram, which daemons ignore. A refusal on the same host has arrived when the
    call returns.
    """
    try:
        with socket.socket(address.family, socket.SOCK_DGRAM) as probe:
            probe.connect(address.place)
            probe.send(b"")
            return probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    except OSError:
        return True


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
