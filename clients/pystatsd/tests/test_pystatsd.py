"""Tests of the old import path. Run them with ``python -m unittest`` and tallyd's client in the path."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import tempfile
import unittest
from typing import Any, Dict
from unittest import mock

from pystatsd import pystats_config
from pystatsd.pystats_config import PyStatConfig
from pystatsd.pystatsagent import PystatAgent

has_yaml = importlib.util.find_spec("yaml") is not None


class WithDaemon(unittest.TestCase):
    """Has a socket in place of a daemon, whose address is in the environment."""

    def setUp(self) -> None:
        self.daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.daemon.close)
        self.daemon.bind(("127.0.0.1", 0))
        self.daemon.settimeout(10)
        self.port = self.daemon.getsockname()[1]

    def received(self) -> Dict[str, Any]:
        message: Dict[str, Any] = json.loads(self.daemon.recv(65536))
        return message


class Messages(WithDaemon):
    def setUp(self) -> None:
        super().setUp()
        address = {"TALLYD_ADDRESS": f"127.0.0.1:{self.port}"}
        environment = mock.patch.dict(os.environ, address)
        environment.start()
        self.addCleanup(environment.stop)
        self.agent = PystatAgent()
        self.addCleanup(self.agent.close)

    def test_a_trace_has_the_members_that_pystatsd_sent(self) -> None:
        info = {"stage": "form", "port": 5060}
        self.agent.trace("user.signup", info)
        self.assertEqual(
            self.received(),
            {
                "metric_name": "user.signup",
                "metric_type": "trace",
                "host": socket.gethostname(),
                "stage": "form",
                "port": 5060,
            },
        )
        self.assertEqual(info, {"stage": "form", "port": 5060}, "the caller's dictionary stays")

    def test_a_gauge_has_the_old_spelling(self) -> None:
        self.agent.guage("broker.latency", 43, {"stage": "form"})
        message = self.received()
        self.assertEqual((message["metric_type"], message["value"]), ("guage", 43))


class Address(WithDaemon):
    def config(self, text: str) -> PyStatConfig:
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(text)
            file.flush()
            return PyStatConfig(file.name)

    @unittest.skipUnless(has_yaml, "needs PyYAML")
    def test_the_address_is_that_of_the_daemon_in_the_file(self) -> None:
        for text, address in [
            ('bind_address: "192.0.2.7"\nbind_port: 5091\n', "192.0.2.7:5091"),
            ("debug_mode: False\n", "127.0.0.1:5090"),
            ('bind_address: "0.0.0.0"\n', "127.0.0.1:5090"),
            ('bind_address: "::"\n', "[::1]:5090"),
        ]:
            self.assertEqual(self.config(text).address(), address, text)

    @unittest.skipUnless(has_yaml, "needs PyYAML")
    def test_a_file_without_an_address_is_reported_and_the_default_applies(self) -> None:
        for text in ["bind_port: ${PORT:-5090}\n", "bind_port: 0\n", "bind_address: ${HOST}\n"]:
            with self.assertLogs("tallyd", "WARNING"):
                self.assertIsNone(self.config(text).address(), text)
        with self.assertLogs("tallyd", "WARNING"):
            self.assertIsNone(self.config("a: [").address())

    def test_a_missing_file_is_no_error(self) -> None:
        config = PyStatConfig("/nonexistent/pystatsd.conf")
        self.assertIsNone(config.parsedyaml)
        self.assertIsNone(config.address())

    @unittest.skipUnless(has_yaml, "needs PyYAML")
    def test_an_agent_sends_to_the_address_in_the_file(self) -> None:
        config = self.config(f"bind_port: {self.port}\n")
        with mock.patch.dict(os.environ), mock.patch.object(
            pystats_config, "_parse", lambda path: config.parsedyaml
        ):
            os.environ.pop("TALLYD_ADDRESS", None)
            agent = PystatAgent()
        self.addCleanup(agent.close)
        agent.trace("m", {})
        self.assertEqual(self.received()["metric_name"], "m")


if __name__ == "__main__":
    unittest.main()
