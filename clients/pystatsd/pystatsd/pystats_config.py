"""The configuration file, which pystatsd's agent and daemon shared and which tallyd reads too."""

from __future__ import annotations

import logging
import os
from typing import Any, Dict, Optional

_log = logging.getLogger("tallyd")


class PyStatConfig:
    """The parsed file: ``parsedyaml`` is ``None`` if it does not exist or cannot be read.

    Reading needs PyYAML (``pip install pystatsd[config]``). Values with ``${…}``, which only the daemon
    expands, stay as they are.
    """

    def __init__(self, config_file: str = "/etc/pystatsd/pystatsd.conf") -> None:
        self.cfg_file = config_file
        self.parsedyaml: Optional[Dict[str, Any]] = _parse(config_file)

    def address(self) -> Optional[str]:
        """Returns the address at which the daemon listens, or ``None`` if the file names none."""
        if self.parsedyaml is None:
            return None
        host = str(self.parsedyaml.get("bind_address", "127.0.0.1"))
        port = self.parsedyaml.get("bind_port", 5090)
        # A daemon that listens on all addresses is reached over loopback.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(host, host)
        if not isinstance(port, int) or not 0 < port < 65536 or not host or "$" in host:
            _log.warning("%s names no address of the daemon: %s, %s", self.cfg_file, host, port)
            return None
        return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _parse(path: str) -> Optional[Dict[str, Any]]:
    if not os.path.exists(path):
        return None
    try:
        import yaml
    except ImportError:
        _log.warning("PyYAML is not installed, so %s is not read", path)
        return None
    try:
        with open(path, encoding="utf-8") as file:
            parsed = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        _log.warning("cannot read %s: %s", path, error)
        return None
    return parsed if isinstance(parsed, dict) else None
