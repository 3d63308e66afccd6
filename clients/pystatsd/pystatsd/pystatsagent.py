"""pystatsd's agent, which sends with tallyd's client."""

from __future__ import annotations

import os
from typing import Any, Optional

import tallyd

from .pystats_config import PyStatConfig


class PystatAgent(tallyd.PystatAgent):
    """Sends traces and gauges to the daemon of this host, as pystatsd's class of this name did.

    The address is the argument, ``$TALLYD_ADDRESS``, that of ``/etc/pystatsd/pystatsd.conf``, or
    127.0.0.1:5090, in this order. The daemon adds the tags in the file.
    """

    def __init__(self, address: Optional[str] = None, **options: Any) -> None:
        self.cfg = PyStatConfig()
        # The client itself reads the variable.
        if address is None and not os.environ.get("TALLYD_ADDRESS"):
            address = self.cfg.address()
        super().__init__(address, **options)
