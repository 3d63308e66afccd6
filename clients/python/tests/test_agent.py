"""Tests the messages that are sent, and that no error reaches the program."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import hmac
import json
import logging
import os
import socket
import struct
import sys
import tempfile
import threading
import time
import unittest
from typing import Any, Dict, List, Tuple
from unittest import mock

from tallyd import Agent, PystatAgent, _agent, _packet


class Listener:
    """A listening socket and the messages that it received."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(30)
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]

    def datagram(self) -> bytes:
        return self.socket.recv(65536)

    def messages(self, count: int) -> List[Dict[str, Any]]:
        messages: List[Dict[str, Any]] = []
        while len(messages) < count:
            messages += map(json.loads, filter(None, self.datagram().split(b"\n")))
        return messages

    def message(self) -> Dict[str, Any]:
        return self.messages(1)[0]


class WithListener(unittest.TestCase):
    def setUp(self) -> None:
        self.listener = Listener()
        self.addCleanup(self.listener.socket.close)
        self.agent = self.connected()

    def connected(self, **options: Any) -> Agent:
        agent = Agent(self.listener.address, **{"strict": True, **options})
        self.addCleanup(agent.close)
        return agent


class Messages(WithListener):
    def arrives(self, **expected: Any) -> None:
        self.assertEqual(self.listener.message(), expected)

    def test_each_type_is_one_message_with_its_tags(self) -> None:
        tags = {"stage": "login"}
        self.agent.counter("logins", tags=tags)
        self.arrives(metric_name="logins", metric_type="counter", count=1, stage="login")
        self.agent.counter("logins", -2.5, tags)
        self.arrives(metric_name="logins", metric_type="counter", count=-2.5, stage="login")
        self.agent.gauge("depth", -17, tags)
        self.arrives(metric_name="depth", metric_type="gauge", value=-17, stage="login")
        self.agent.timer("latency", 12.75, tags)
        self.arrives(metric_name="latency", metric_type="timer", value=12.75, stage="login")
        self.agent.set("callers", "+4930", tags)
        self.arrives(metric_name="callers", metric_type="set", value="+4930", stage="login")
        self.agent.trace("signup", tags)
        self.arrives(metric_name="signup", metric_type="trace", stage="login")
        self.assertEqual((self.agent.sent, self.agent.dropped), (6, 0))

    def test_a_gauge_changes_by_a_number_with_a_sign(self) -> None:
        for change, text in [(4, "+4"), (-4, "-4"), (0.5, "+0.5")]:
            self.agent.gauge("depth", change, delta=True)
            self.assertEqual(self.listener.message()["value"], text)

    def test_numbers_of_any_type_are_numbers(self) -> None:
        for value, sent in [
            (decimal.Decimal("1.5"), 1.5),
            ("43", 43),
            (True, 1),
            (2**63, 2**63),
            (datetime.timedelta(seconds=2), 2000),
        ]:
            self.agent.timer("latency", value)
            self.assertEqual(self.listener.message()["value"], sent)

    def test_a_tag_may_be_called_like_a_key_of_the_message(self) -> None:
        self.agent.counter("m", tags={"count": 5, "value": "x", "stage": "a"})
        self.arrives(
            metric_name="m",
            metric_type="counter",
            count=1,
            stage="a",
            tags={"count": 5, "value": "x"},
        )

    def test_tags_are_text_numbers_or_truth_and_all_else_goes_as_text(self) -> None:
        tags: Dict[Any, Any] = {"a": 1.5, "b": False, "c": None, "d": [1, 2], "e": float("nan"), 6: "x"}
        self.agent.trace("m", tags)
        self.arrives(
            metric_name="m",
            metric_type="trace",
            **{"a": 1.5, "b": False, "c": None, "d": "[1, 2]", "e": "nan", "6": "x"},
        )

    def test_other_alphabets_and_line_breaks_stay_in_one_line(self) -> None:
        self.agent.trace("Größe", {"city": "Köln\n\U0001f600"})
        datagram = self.listener.datagram()
        self.assertNotIn(b"\n", datagram)
        self.assertEqual(json.loads(datagram)["city"], "Köln\n\U0001f600")

    def test_an_agents_prefix_and_tags_are_in_each_message_and_the_calls_tags_win(self) -> None:
        agent = self.connected(prefix="shop.", tags={"env": "test", "stage": "any"})
        agent.counter("logins", tags={"stage": "login"})
        self.arrives(
            metric_name="shop.logins", metric_type="counter", count=1, env="test", stage="login"
        )
        agent.trace("signup")
        self.arrives(metric_name="shop.signup", metric_type="trace", env="test", stage="any")

    def test_of_sampled_calls_only_some_are_sent_and_say_for_how_many(self) -> None:
        with mock.patch("random.random", side_effect=[0.05, 0.5, 0.05]):
            self.agent.counter("m", 2, sample_rate=0.1)
            self.agent.counter("m", 2, sample_rate=0.1)
            self.agent.timer("m", 2, sample_rate=0.1)
        sent = self.listener.messages(2)
        self.assertEqual([one["sample_rate"] for one in sent], [0.1, 0.1])
        self.assertEqual(self.agent.sent, 2)


class Timing(WithListener):
    def measured(self) -> float:
        message = self.listener.message()
        self.assertEqual((message["metric_type"], message["stage"]), ("timer", "login"))
        return float(message["value"])

    def clock(self, *seconds: float) -> Any:
        return mock.patch("time.perf_counter", side_effect=seconds)

    def test_a_block_is_measured_in_milliseconds(self) -> None:
        with self.clock(1, 1.25), self.agent.timer("m", tags={"stage": "login"}):
            pass
        self.assertEqual(self.measured(), 250)

    def test_a_block_that_raises_is_measured_too_and_still_raises(self) -> None:
        with self.clock(1, 2), self.assertRaises(KeyError):
            with self.agent.timer("m", tags={"stage": "login"}):
                raise KeyError
        self.assertEqual(self.measured(), 1000)

    def test_each_call_of_a_function_is_measured_also_within_itself(self) -> None:
        @self.agent.timer("m", tags={"stage": "login"})
        def countdown(left: int) -> str:
            """Counts."""
            return "done" if left == 0 else countdown(left - 1)

        self.assertEqual(countdown.__doc__, "Counts.")
        with self.clock(1, 2, 3, 9):
            self.assertEqual(countdown(1), "done")
        self.assertEqual([self.measured(), self.measured()], [1000, 8000])

    def test_a_coroutine_is_measured_until_its_end(self) -> None:
        @self.agent.timer("m", tags={"stage": "login"})
        async def job() -> str:
            await asyncio.sleep(0.05)
            return "done"

        self.assertEqual(asyncio.run(job()), "done")
        self.assertGreaterEqual(self.measured(), 50)


class Batches(WithListener):
    def test_a_batch_is_one_datagram_at_the_end_of_its_block(self) -> None:
        with self.agent.batch() as batch:
            for number in range(5):
                batch.gauge("depth", number, {"queue": str(number)})
            self.assertEqual(self.agent.sent, 0)
        lines = self.listener.datagram().split(b"\n")
        self.assertEqual([json.loads(line)["value"] for line in lines], list(range(5)))
        self.assertEqual(self.agent.sent, 5)

    def test_no_datagram_is_longer_than_it_may_be_and_nothing_is_left_out(self) -> None:
        for limit in range(60, 240, 7):
            agent = self.connected(max_datagram=limit)
            with agent.batch() as batch:
                for number in range(40):
                    batch.counter("m", number)
            values: List[int] = []
            while len(values) < 40:
                datagram = self.listener.datagram()
                self.assertLessEqual(len(datagram), limit)
                values += [json.loads(line)["count"] for line in datagram.split(b"\n")]
            self.assertEqual(values, list(range(40)))

    def test_a_message_longer_than_a_datagram_goes_alone(self) -> None:
        with self.connected(max_datagram=100).batch() as batch:
            batch.counter("small")
            batch.counter("m", tags={"x": "y" * 200})
            batch.counter("small")
        sizes = [len(self.listener.datagram()) for _ in range(3)]
        self.assertTrue(sizes[0] == sizes[2] < 100 < 200 < sizes[1], sizes)

    def test_what_was_recorded_before_an_exception_is_sent(self) -> None:
        with self.assertRaises(KeyError), self.agent.batch() as batch:
            batch.counter("m")
            raise KeyError
        self.assertEqual(self.listener.message()["metric_name"], "m")


@unittest.skipUnless(sys.platform == "linux", "UDP_SEGMENT is an option of Linux")
class Packets(WithListener):
    """A batch whose datagrams are handed to the kernel together."""

    def counts(self, agent: Agent, expected: int, limit: int = 200) -> List[int]:
        """Sends counters in a batch; returns the counts that arrive."""
        with agent.batch() as batch:
            for number in range(expected):
                batch.counter("m", number, {"x": "y" * (number % 50)})
        counts: List[int] = []
        while len(counts) < expected:
            datagram = self.listener.datagram()
            self.assertLessEqual(len(datagram), limit)
            counts += [json.loads(line)["count"] for line in datagram.split(b"\n") if line]
        return counts

    def calls(self) -> Any:
        return mock.patch.object(_packet, "send", wraps=_packet.send)

    def test_datagrams_are_sent_together_and_arrive_one_by_one(self) -> None:
        agent = self.connected(max_datagram=200, gso=True)
        with self.calls() as send:
            self.assertEqual(self.counts(agent, 300), list(range(300)))
        self.assertGreater(send.call_count, 1)
        self.assertLess(send.call_count, 10)
        self.assertEqual((agent.sent, agent.dropped, agent.gso), (300, 0, True))

    def test_a_packet_is_no_larger_than_udp_carries(self) -> None:
        for size in [1, 1023, 1432, 32000, 40000, 65507]:
            capacity = _packet.capacity(size)
            self.assertTrue(1 <= capacity <= 64 and capacity * size <= 65507, size)
        agent = self.connected(max_datagram=8000, gso=True)
        self.assertEqual(self.counts(agent, 2000, 8000), list(range(2000)))

    def test_a_message_longer_than_a_datagram_arrives_whole(self) -> None:
        agent = self.connected(max_datagram=100, gso=True)
        with agent.batch() as batch:
            batch.counter("a")
            batch.counter("b", tags={"x": "y" * 200})
            batch.counter("c")
            batch.counter("d", tags={"x": "y" * 200})
        names = [message["metric_name"] for message in self.listener.messages(4)]
        self.assertEqual(names, ["a", "b", "c", "d"])

    def test_a_flush_sends_the_datagrams_that_wait(self) -> None:
        batch = self.connected(max_datagram=100, gso=True).batch()
        for number in range(5):
            batch.counter("m", number)
        batch.flush()
        self.assertEqual([one["count"] for one in self.listener.messages(5)], list(range(5)))

    def test_where_the_kernel_refuses_packets_each_datagram_is_sent(self) -> None:
        agent = self.connected(max_datagram=200, gso=True)
        assert agent._socket is not None
        # The kernel divides no packets for a socket without checksums (SO_NO_CHECK).
        agent._socket.setsockopt(socket.SOL_SOCKET, 11, 1)
        self.assertEqual(self.counts(agent, 300), list(range(300)))
        self.assertEqual((agent.sent, agent.dropped, agent.gso), (300, 0, False))

    def test_where_there_are_no_packets_each_datagram_is_sent(self) -> None:
        with mock.patch("sys.platform", "darwin"), self.calls() as send:
            agent = self.connected(max_datagram=200, gso=True)
            self.assertEqual(self.counts(agent, 100), list(range(100)))
        send.assert_not_called()

    def test_the_messages_of_a_packet_that_is_not_sent_are_dropped(self) -> None:
        agent = Agent(self.listener.address, max_datagram=100, gso=True)
        batch = agent.batch()
        for _ in range(5):
            batch.counter("m")
        agent.close()
        with self.assertLogs("tallyd", logging.WARNING):
            batch.flush()
        self.assertEqual((agent.sent, agent.dropped), (0, 5))

    def test_a_unix_socket_gets_each_datagram(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
                listener.bind(path)
                agent = Agent(f"unix_datagram://{path}", max_datagram=60, gso=True, strict=True)
                with agent, agent.batch() as batch:
                    batch.counter("a")
                    batch.counter("b")
                names = [json.loads(listener.recv(1000))["metric_name"] for _ in range(2)]
                self.assertEqual(names, ["a", "b"])


class Harmlessness(WithListener):
    """Metrics never stop a program."""

    def setUp(self) -> None:
        super().setUp()
        logging.getLogger("tallyd").addFilter(self.keep)
        self.addCleanup(logging.getLogger("tallyd").removeFilter, self.keep)
        self.logged: List[str] = []

    def keep(self, record: logging.LogRecord) -> bool:
        self.logged.append(record.getMessage())
        return False

    def test_what_cannot_be_a_message_is_counted_and_told_of_once_a_minute(self) -> None:
        class Awkward:
            def __str__(self) -> str:
                raise RuntimeError("no text")

            def __float__(self) -> float:
                raise RuntimeError("no number")

        agent = self.connected(strict=False)
        agent.gauge("m", float("nan"))
        agent.gauge("m", None)
        agent.gauge("m", "many")
        agent.gauge("m", Awkward())
        agent.set("m", None)
        agent.trace("m", {"a": Awkward()})
        agent.trace("m", ["no", "mapping"])  # type: ignore[arg-type]
        agent.trace("")
        agent.trace(None)  # type: ignore[arg-type]
        agent.counter("m", sample_rate=0)
        agent.counter("m", sample_rate=float("nan"))
        with agent.batch() as batch:
            batch.gauge("m", float("inf"))
        self.assertEqual((agent.sent, agent.dropped), (0, 12))
        self.assertEqual(len(self.logged), 1, self.logged)
        agent.counter("good")
        self.assertEqual(self.listener.message()["metric_name"], "good")

    def test_a_message_too_long_for_udp_is_counted(self) -> None:
        agent = self.connected(strict=False)
        agent.trace("m", {"x": "y" * 70000})
        self.assertEqual(agent.dropped, 1)
        self.assertIsInstance(agent.last_error, OSError)

    def test_strict_raises_what_would_be_counted(self) -> None:
        with self.assertRaises(ValueError):
            self.agent.gauge("m", float("nan"))
        unknown = mock.patch("socket.getaddrinfo", side_effect=socket.gaierror("not known"))
        with unknown, self.assertRaises(OSError):
            Agent("metrics.example", strict=True)

    def test_where_nobody_listens_nothing_happens_and_later_ones_arrive(self) -> None:
        address = self.listener.socket.getsockname()
        self.listener.socket.close()
        for number in range(10):
            self.agent.counter("lost", number)
        self.assertEqual(self.agent.dropped, 0)
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(again.close)
        again.bind(address)
        again.settimeout(30)
        self.agent.counter("first")
        self.assertIn(b'"first"', again.recv(65536))

    def test_a_name_that_cannot_be_looked_up_is_asked_for_again_beside_the_program(self) -> None:
        known = {"metrics.example": False}
        looked_up = threading.Event()

        def look_up(host: str, port: int, **kind: Any) -> Any:
            looked_up.set()
            if not known[host]:
                raise socket.gaierror("not known")
            return [(socket.AF_INET, 2, 17, "", self.listener.socket.getsockname())]

        with mock.patch("socket.getaddrinfo", look_up), mock.patch("time.monotonic") as clock:
            clock.return_value = 1000.0
            agent = Agent("metrics.example")
            self.addCleanup(agent.close)
            looked_up.clear()
            agent.counter("lost")
            self.assertFalse(looked_up.is_set(), "not with every message")
            known["metrics.example"] = True
            clock.return_value += _agent._LOOK_UP_AGAIN_S
            agent.counter("lost")
            self.assertTrue(looked_up.wait(30))
            while agent.sent == 0:
                agent.counter("arrives")
        self.assertEqual(self.listener.message()["metric_name"], "arrives")

    @unittest.skipUnless(socket.has_ipv6, "no IPv6")
    def test_of_several_addresses_the_one_at_which_a_daemon_listens_is_used(self) -> None:
        listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(("::1", 0))
        listener.settimeout(30)
        port = listener.getsockname()[1]
        refusing = (socket.AF_INET, 2, 17, "", ("127.0.0.1", port))
        accepting = (socket.AF_INET6, 2, 17, "", ("::1", port, 0, 0))
        for found in ([refusing, accepting], [accepting, refusing]):
            with mock.patch("socket.getaddrinfo", return_value=found):
                with Agent("metrics.example", strict=True) as agent:
                    agent.counter("m")
            datagrams = [listener.recv(65536), listener.recv(65536)]
            self.assertEqual(datagrams[0], b"", "it asked whether a daemon listens there")
            self.assertIn(b'"m"', datagrams[1])

    def test_a_name_is_resolved_again_beside_the_program_and_a_failure_keeps_the_address(self) -> None:
        moved = Listener()
        self.addCleanup(moved.socket.close)
        names: List[Any] = [self.listener.socket.getsockname(), None, moved.socket.getsockname()]
        resolved = threading.Semaphore(0)

        def look_up(host: str, port: int, **kind: Any) -> Any:
            place = names.pop(0)
            resolved.release()
            if place is None:
                raise socket.gaierror("not known")
            return [(socket.AF_INET, 2, 17, "", place)]

        with mock.patch("socket.getaddrinfo", look_up), mock.patch("time.monotonic") as clock:
            clock.return_value = 1000.0
            agent = Agent("metrics.example", strict=True)
            self.addCleanup(agent.close)
            agent.counter("first")
            clock.return_value += _agent._ADDRESS_MAX_AGE_S
            agent.counter("second")
            for _ in range(2):
                self.assertTrue(resolved.acquire(timeout=30))
            self.assertEqual(self.listener.messages(2)[1]["metric_name"], "second")
            clock.return_value += _agent._ADDRESS_MAX_AGE_S
            agent.counter("third")
            self.assertTrue(resolved.acquire(timeout=30))
            while agent._place != moved.socket.getsockname():
                pass
            agent.counter("fourth")
        self.assertEqual(moved.message()["metric_name"], "fourth")

    def test_an_address_is_not_resolved_again(self) -> None:
        for address in ["127.0.0.1:1", "udp://[::1]:1", "[fe80::1%lo]:1", "unix_datagram:///x"]:
            with Agent(address) as agent:
                self.assertFalse(agent._may_change, address)
        with Agent("localhost") as agent:
            self.assertTrue(agent._may_change)

    def test_a_wrong_address_is_told_of_and_does_no_harm(self) -> None:
        for wrong in ["tcp://127.0.0.1:1", "127.0.0.1:port", "[::1", ":1", "unix_datagram://x"]:
            agent = Agent(wrong)
            agent.counter("m")
            self.assertEqual(agent.dropped, 1, wrong)
            agent.close()
        self.assertEqual(len(self.logged), 5)
        self.assertIn("tcp://127.0.0.1:1", self.logged[0])

    def test_a_closed_agent_drops_and_counts(self) -> None:
        agent = self.connected(strict=False)
        agent.close()
        agent.close()
        agent.counter("m")
        self.assertEqual((agent.sent, agent.dropped), (0, 1))

    def test_a_full_socket_never_blocks(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "s")
        full = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(full.close)
        full.bind(path)
        agent = Agent("unix_datagram://" + path)
        self.addCleanup(agent.close)
        while agent.dropped == 0:
            agent.counter("m")
        self.assertIsInstance(agent.last_error, BlockingIOError)
        # After the socket is read, the next message arrives.
        full.recv(65536)
        before = agent.sent
        agent.counter("m")
        self.assertEqual(agent.sent, before + 1)

    def test_threads_share_an_agent_and_a_batch(self) -> None:
        batch = self.agent.batch()

        def work(thread: int) -> None:
            for number in range(100):
                self.agent.counter("alone", tags={"thread": thread, "number": number})
                batch.counter("together", tags={"thread": thread, "number": number})

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        batch.flush()
        self.assertEqual(self.agent.sent, 800)
        seen = {
            (one["metric_name"], one["thread"], one["number"])
            for one in self.listener.messages(800)
        }
        self.assertEqual(len(seen), 800)


class Addresses(WithListener):
    def test_the_environment_names_the_daemon(self) -> None:
        with mock.patch.dict(os.environ, {"TALLYD_ADDRESS": self.listener.address}):
            with Agent(strict=True) as agent:
                agent.counter("m")
        self.assertEqual(self.listener.message()["metric_name"], "m")
        with mock.patch.dict(os.environ):
            os.environ.pop("TALLYD_ADDRESS", None)
            with Agent(strict=True) as agent:
                self.assertEqual(agent.address, "127.0.0.1:5090")

    def test_localhost_is_the_address_that_tallyd_listens_on_by_default(self) -> None:
        port = self.listener.address.split(":")[1]
        for host in ["localhost", "udp://localhost"]:
            with Agent(f"{host}:{port}", strict=True) as agent:
                agent.counter("m")
            self.assertEqual(self.listener.message()["metric_name"], "m")

    @unittest.skipUnless(socket.has_ipv6, "no IPv6")
    def test_ipv6_is_in_brackets(self) -> None:
        listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(("::1", 0))
        listener.settimeout(30)
        with Agent(f"[::1]:{listener.getsockname()[1]}", strict=True) as agent:
            agent.counter("m")
        self.assertIn(b'"m"', listener.recv(65536))


class Pystatsd(WithListener):
    def setUp(self) -> None:
        super().setUp()
        self.old = PystatAgent(self.listener.address, strict=True)
        self.addCleanup(self.old.close)
        self.host = socket.gethostname()

    def test_the_old_calls_make_the_old_messages(self) -> None:
        info = {"stage": "login"}
        self.old.trace("user.signup", info)
        self.old.guage("user.latency", "43", info)
        self.old.trace(metric_name="user.signup", trace_info={"host": "other"})
        trace, gauge, renamed = self.listener.messages(3)
        self.assertEqual(
            trace,
            {"metric_name": "user.signup", "metric_type": "trace", "stage": "login", "host": self.host},
        )
        self.assertEqual(
            gauge,
            {
                "metric_name": "user.latency",
                "metric_type": "guage",
                "value": 43,
                "stage": "login",
                "host": self.host,
            },
        )
        self.assertEqual(renamed["host"], self.host)
        self.assertEqual(info, {"stage": "login"}, "it stays the caller's")

    def test_the_new_calls_are_there_too(self) -> None:
        self.old.counter("m", tags={"a": "b"})
        self.old.gauge("m", 1)
        self.old.timer("m", 2)
        types = [one["metric_type"] for one in self.listener.messages(3)]
        self.assertEqual(types, ["counter", "gauge", "timer"])


class Signed(WithListener):
    SECRET = "0123456789abcdef"

    def parts(self) -> Tuple[int, int, bytes]:
        """The time, number and messages of the next datagram, whose signature is right."""
        datagram = self.listener.datagram()
        signature, signed = datagram[:32], datagram[32:]
        expected = hmac.new(self.SECRET.encode(), signed, "sha256").digest()
        self.assertEqual(signature, expected)
        seconds, number = struct.unpack("<QI", signed[:12])
        self.assertLess(abs(seconds - time.time()), 30)
        return seconds, number, signed[12:]

    def test_each_datagram_is_signed_and_numbered(self) -> None:
        agent = self.connected(secret=self.SECRET)
        numbers = []
        for count in range(3):
            agent.counter("a", count)
            _, number, messages = self.parts()
            self.assertEqual(json.loads(messages)["count"], count)
            numbers.append(number)
        self.assertEqual([(number - numbers[0]) % (1 << 32) for number in numbers], [0, 1, 2])

    def test_the_numbers_wrap_around(self) -> None:
        agent = self.connected(secret=self.SECRET)
        agent.counter("a")
        self.parts()
        assert agent._signer is not None
        agent._signer._next = (1 << 32) - 1
        agent.counter("a")
        agent.counter("a")
        self.assertEqual([self.parts()[1] for _ in range(2)], [(1 << 32) - 1, 0])

    def test_two_agents_and_two_processes_do_not_use_the_same_numbers(self) -> None:
        agents = [self.connected(secret=self.SECRET) for _ in range(2)]
        for agent in agents:
            agent.counter("a")
        with mock.patch("os.getpid", return_value=-1):
            agents[0].counter("a")
        numbers = [self.parts()[1] for _ in range(3)]
        # Random numbers, which almost never are this close.
        distances = [(b - a) % (1 << 32) for a in numbers for b in numbers if a is not b]
        self.assertTrue(all(distance > 1 for distance in distances), numbers)

    def test_a_batch_leaves_room_for_the_signature(self) -> None:
        for gso in (False, True):
            agent = self.connected(secret=self.SECRET, max_datagram=300, gso=gso)
            with agent.batch() as batch:
                for number in range(50):
                    batch.gauge("depth", number)
            seen: List[int] = []
            while len(seen) < 50:
                _, _, messages = self.parts()
                self.assertLessEqual(len(messages) + 44, 300)
                seen += [json.loads(one)["value"] for one in messages.split(b"\n") if one]
            self.assertEqual(seen, list(range(50)))

    def test_a_short_secret_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            Agent(self.listener.address, secret="fifteen letters")


if __name__ == "__main__":
    unittest.main()
