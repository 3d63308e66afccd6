"""Signed datagrams, for a listener with a ``secret``."""

from __future__ import annotations

import hmac
import os
import random
import struct
import threading
import time

# Bytes that a signature adds to a datagram: the HMAC, the time and the number.
OVERHEAD = 32 + 8 + 4

# The daemon refuses shorter ones.
_SECRET_MIN = 16


class Signer:
    """Signs the datagrams of one agent, and numbers them, so that the daemon notices lost ones."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()
        if len(self._key) < _SECRET_MIN:
            raise ValueError(f"a secret must have at least {_SECRET_MIN} bytes")
        self._lock = threading.Lock()
        self._process = 0
        self._next = 0

    def sign(self, messages: bytes) -> bytes:
        """Returns the datagram with these messages."""
        signed = struct.pack("<QI", int(time.time()), self._number()) + messages
        return hmac.digest(self._key, signed, "sha256") + signed

    def _number(self) -> int:
        with self._lock:
            # Numbers begin anywhere, also after a fork: two processes that send the same message with
            # the same number within a second would send the same datagram, which is accepted once.
            if self._process != os.getpid():
                self._process = os.getpid()
                self._next = random.SystemRandom().getrandbits(32)
            number = self._next
            self._next = (number + 1) % (1 << 32)
        return number
