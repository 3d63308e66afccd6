"""The agent, with which a program sends metrics."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import random
import socket
import threading
import time
from types import TracebackType
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar, overload

from . import _address, _packet, _signature
from ._message import Tags, encode, number

_log = logging.getLogger("tallyd")

# An Ethernet frame minus the headers of IPv6 and UDP, and some room for tunnels. A larger datagram is
# fragmented on the way, and is lost if any fragment is lost.
_MAX_DATAGRAM = 1432

# The pause before a failed name resolution is retried.
_LOOK_UP_AGAIN_S = 30.0
# The time after which a name is resolved again, because its address may have changed.
_ADDRESS_MAX_AGE_S = 60.0
_LOG_AGAIN_S = 60.0

_F = TypeVar("_F", bound=Callable[..., Any])
_M = TypeVar("_M", bound="_Metrics")


class _Metrics:
    """A method for each type of metric. None blocks, and none raises unless ``strict`` is set."""

    def _record(self, name: str, kind: str, tags: Tags, **fields: Any) -> None:
        raise NotImplementedError

    def counter(
        self, name: str, count: float = 1, tags: Tags = None, *, sample_rate: float = 1
    ) -> None:
        """Adds ``count``, which may be negative or fractional.

        With a ``sample_rate`` of 0.1 one call in ten is sent, and counts ten times.
        """
        self._sampled(name, "counter", tags, sample_rate, count=count)

    def gauge(self, name: str, value: Any, tags: Tags = None, *, delta: bool = False) -> None:
        """Sets a level; with ``delta``, changes it by ``value``."""
        if delta:
            self._record(name, "gauge", tags, change=value)
        else:
            self._record(name, "gauge", tags, value=value)

    def set(self, name: str, member: Any, tags: Tags = None) -> None:
        """Records a member: tallyd counts the distinct members."""
        self._record(name, "set", tags, member=member)

    def trace(self, name: str, tags: Tags = None) -> None:
        """Records an occurrence: tallyd counts how often exactly these tags occurred."""
        self._record(name, "trace", tags)

    @overload
    def timer(
        self, name: str, value: None = None, tags: Tags = None, *, sample_rate: float = 1
    ) -> Timer: ...

    @overload
    def timer(
        self, name: str, value: Any, tags: Tags = None, *, sample_rate: float = 1
    ) -> None: ...

    def timer(
        self, name: str, value: Any = None, tags: Tags = None, *, sample_rate: float = 1
    ) -> Optional[Timer]:
        """Records a duration: a number, by convention in milliseconds, or a timedelta.

        Without a value, returns a :class:`Timer`, which measures in milliseconds::

            with metrics.timer("db.query", tags={"table": "users"}):
                ...

            @metrics.timer("job")
            def job(): ...
        """
        if value is None:
            return Timer(self, name, tags, sample_rate)
        self._sampled(name, "timer", tags, sample_rate, value=value)
        return None

    def _sampled(self, name: str, kind: str, tags: Tags, rate: float, **fields: Any) -> None:
        if rate == 1:
            self._record(name, kind, tags, **fields)
        elif not 0 < rate < 1 or random.random() < rate:  # an invalid rate is reported, not hidden
            self._record(name, kind, tags, sample_rate=rate, **fields)


class Timer:
    """Measures a block or each call of a function, including ``async`` functions.

    A block that ends with an exception is measured as well.
    """

    def __init__(self, metrics: _Metrics, name: str, tags: Tags, sample_rate: float) -> None:
        self._metrics = metrics
        self._name = name
        self._tags = tags
        self._sample_rate = sample_rate
        # A stack, because a block may be entered again before it is left.
        self._began: List[float] = []

    def __enter__(self) -> Timer:
        self._began.append(time.perf_counter())
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        took = (time.perf_counter() - self._began.pop()) * 1000
        self._metrics.timer(self._name, took, self._tags, sample_rate=self._sample_rate)

    def _again(self) -> Timer:
        """Returns a separate timer for one call: calls may overlap, in threads and tasks."""
        return Timer(self._metrics, self._name, self._tags, self._sample_rate)

    def __call__(self, function: _F) -> _F:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def measured_coroutine(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return measured_coroutine  # type: ignore[return-value]

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return measured  # type: ignore[return-value]


class Agent(_Metrics):
    """Sends each metric as a datagram, at once. Threads may share an agent.

    ``address``
        ``HOST:PORT``, ``udp://HOST:PORT`` or ``unix_datagram:///PATH``; by default the environment
        variable ``TALLYD_ADDRESS``, else ``127.0.0.1:5090``. A name is resolved here, and again
        every minute, in a thread. Of several addresses, the first that accepts datagrams is used.
    ``tags``
        Tags of every message; a call may replace them. Put the host's tags into the daemon's ``agent.tags``.
    ``prefix``
        A prefix for each name.
    ``max_datagram``
        Maximum size of a datagram of several messages, in bytes, see :meth:`batch`.
    ``gso``
        Whether a batch hands many datagrams to the kernel at once, on Linux and over UDP; elsewhere,
        and if the kernel refuses, it sends each when it is full.
    ``secret``
        The ``secret`` of the listener, with which each datagram is signed.
    ``strict``
        Whether to raise errors instead of counting them, for tests.

    ``sent`` and ``dropped`` count messages. A message sent over UDP may still be lost on the way.
    """

    def __init__(
        self,
        address: Optional[str] = None,
        *,
        tags: Tags = None,
        prefix: str = "",
        max_datagram: int = _MAX_DATAGRAM,
        gso: bool = False,
        secret: Optional[str] = None,
        strict: bool = False,
    ) -> None:
        self.address = address or os.environ.get("TALLYD_ADDRESS") or _address.DEFAULT
        self.tags = dict(tags or {})
        self.prefix = prefix
        self.max_datagram = max_datagram
        self.gso = gso
        self._signer = None if secret is None else _signature.Signer(secret)
        self.strict = strict
        self.sent = 0
        self.dropped = 0
        self.last_error: Optional[Exception] = None
        self._lock = threading.Lock()
        self._closed = False
        self._socket: Optional[socket.socket] = None
        self._place: Any = None
        self._look_up_at = time.monotonic() + _LOOK_UP_AGAIN_S
        self._may_change = False
        # A socket that another thread may still be sending with.
        self._previous: Optional[socket.socket] = None
        self._log_at = 0.0
        try:
            self._may_change = _address.may_change(self.address)
            self._open()
        except (OSError, ValueError) as error:
            self._failed(error, 0)

    # ---- Other public methods ------------------------------------------------------------------

    def guage(self, name: str, value: Any, tags: Tags = None) -> None:
        """The same as ``gauge``, in the spelling of pystatsd."""
        self.gauge(name, value, tags)

    def batch(self) -> Batch:
        """Returns a :class:`Batch`, which sends several messages in one datagram::

            with metrics.batch() as batch:
                for queue in queues:
                    batch.gauge("queue.depth", len(queue), {"queue": queue.name})
        """
        return Batch(self)

    def close(self) -> None:
        """Closes the socket. Messages recorded afterwards are dropped."""
        with self._lock:
            self._closed = True
            for out in (self._socket, self._previous):
                if out is not None:
                    out.close()
            self._socket = self._previous = None

    def __enter__(self: _M) -> _M:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    # ---- Sending -------------------------------------------------------------------------------

    def _record(self, name: str, kind: str, tags: Tags, **fields: Any) -> None:
        message = self._encode(name, kind, tags, fields)
        if message is not None:
            self._send(message, 1)

    def _encode(
        self, name: str, kind: str, tags: Tags, fields: Mapping[str, Any]
    ) -> Optional[bytes]:
        """Returns the message; if it cannot be encoded, counts it as dropped and returns None."""
        try:
            all_tags = {**self.tags, **tags} if tags else self.tags
            name = self.prefix + name if self.prefix else name
            return encode(name, kind, all_tags, _checked(fields))
        except Exception as error:  # a value's own methods may raise anything
            self._failed(error, 1)
            return None

    def _send_all(self, datagrams: List[Tuple[bytes, int]]) -> None:
        """Sends datagrams, each with its number of messages, as one packet if the system can."""
        # A single message may be larger than a datagram should be, and does not fit into a packet.
        fits = all(len(datagram) <= self._room() for datagram, _ in datagrams)
        if len(datagrams) > 1 and fits and self._send_packet(datagrams):
            return
        for datagram, messages in datagrams:
            self._send(datagram, messages)

    def _send_packet(self, datagrams: List[Tuple[bytes, int]]) -> bool:
        """Returns whether the datagrams were sent or dropped together."""
        messages = sum(count for _, count in datagrams)
        try:
            out, place = self._out()
            if not _packet.is_supported(out):
                return False
            padded = _packet.padded([one for one, _ in datagrams], self._room())
            _packet.send(out, [self._signed(one) for one in padded], self.max_datagram, place)
        except OSError as error:
            if _packet.is_refusal(error):
                self.gso = False
                return False
            self._failed(error, messages)
        else:
            with self._lock:
                self.sent += messages
        return True

    def _room(self) -> int:
        """Returns the maximum size of the messages of a datagram of several."""
        return self.max_datagram - (_signature.OVERHEAD if self._signer else 0)

    def _signed(self, messages: bytes) -> bytes:
        """Returns the datagram with these messages."""
        return self._signer.sign(messages) if self._signer else messages

    def _out(self) -> Tuple[socket.socket, Any]:
        """Returns the socket and the address to send to."""
        with self._lock:
            if self._socket is None:
                self._look_up_again()
                why = "the agent is closed" if self._closed else "the name is not resolved yet"
                raise OSError(f"{self.address}: {why}")
            if self._may_change:
                self._look_up_again()
            return self._socket, self._place

    def _send(self, datagram: bytes, messages: int) -> None:
        try:
            out, place = self._out()
            # Not connected, on purpose: when no process listens, the kernel reports that to a
            # connected socket by failing the next send, so the first datagram after a restart of
            # the daemon would be lost.
            out.sendto(self._signed(datagram), place)
        except OSError as error:
            self._failed(error, messages)
        else:
            with self._lock:
                self.sent += messages

    def _open(self) -> None:
        family, place = _address.resolve(self.address)
        with self._lock:
            if self._socket is not None and self._socket.family == family:
                self._place = place
                self._look_up_at = time.monotonic() + _ADDRESS_MAX_AGE_S
                return
        out = socket.socket(family, socket.SOCK_DGRAM)
        out.setblocking(False)
        with self._lock:
            if self._closed:
                out.close()
            else:
                if self._previous is not None:
                    self._previous.close()
                self._previous = self._socket
                self._socket, self._place = out, place
                self._look_up_at = time.monotonic() + _ADDRESS_MAX_AGE_S

    def _look_up_again(self) -> None:
        """Resolves the name in a thread if the pause is over: a resolution may take seconds."""
        now = time.monotonic()
        if not self._closed and now >= self._look_up_at:
            self._look_up_at = now + _LOOK_UP_AGAIN_S
            threading.Thread(target=self._try_to_open, name="tallyd", daemon=True).start()

    def _try_to_open(self) -> None:
        try:
            self._open()
        except (OSError, ValueError) as error:
            with self._lock:
                self.last_error = error

    def _failed(self, error: Exception, messages: int) -> None:
        with self._lock:
            self.dropped += messages
            self.last_error = error
            now = time.monotonic()
            is_time = now >= self._log_at
            if is_time:
                self._log_at = now + _LOG_AGAIN_S
        if self.strict:
            raise error
        if is_time:
            _log.warning("cannot send metrics to %s: %s", self.address, error)


class Batch(_Metrics):
    """Sends messages of an agent, several to a datagram: each datagram when it is full, and the last at
    the end of the block; ``flush`` sends the collected messages at once. Threads may share a batch.

    With the agent's ``gso``, full datagrams wait until there are as many as the kernel takes at once.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._messages: List[bytes] = []
        self._bytes = 0
        # Full datagrams, each with its number of messages.
        self._full: List[Tuple[bytes, int]] = []
        self._lock = threading.Lock()

    def _record(self, name: str, kind: str, tags: Tags, **fields: Any) -> None:
        message = self._agent._encode(name, kind, tags, fields)
        if message is None:
            return
        with self._lock:
            if self._bytes + len(message) > self._agent._room():
                self._end_datagram()
            self._messages.append(message)
            self._bytes += len(message) + 1  # includes the newline that ends it

    def flush(self) -> None:
        """Sends the collected messages."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        datagrams = self._full
        if self._messages:
            datagrams.append((b"\n".join(self._messages), len(self._messages)))
        self._messages, self._bytes, self._full = [], 0, []
        self._agent._send_all(datagrams)

    def _end_datagram(self) -> None:
        """Completes a datagram, and sends it unless it waits for others."""
        if not self._agent.gso:
            self._flush()
        elif self._messages:
            self._full.append((b"\n".join(self._messages), len(self._messages)))
            self._messages, self._bytes = [], 0
            if len(self._full) >= _packet.capacity(self._agent.max_datagram):
                self._flush()

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.flush()


class PystatAgent(Agent):
    """A replacement for pystatsd's class of this name: the same calls send the same messages.

    It adds the tag ``host``, as pystatsd's class did. The tags of the configuration file are added by
    the daemon instead, and ``trace_info`` is not modified.
    """

    def __init__(self, address: Optional[str] = None, **options: Any) -> None:
        super().__init__(address, **options)
        self.host = socket.gethostname()
        self.tags["host"] = self.host

    def trace(self, metric_name: str, trace_info: Tags = None) -> None:
        super().trace(metric_name, self._as_it_was(trace_info))

    def guage(self, metric_name: str, value: Any, trace_info: Tags = None) -> None:
        # pystatsd spelled the type like this too, and knows no other spelling.
        self._record(metric_name, "guage", self._as_it_was(trace_info), value=value)

    def _as_it_was(self, trace_info: Tags) -> Tags:
        """Adds the tag ``host``, which replaces the caller's tag of that name, as in pystatsd."""
        return {**(trace_info or {}), "host": self.host}


def _checked(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Validates fields and converts them to those of a message."""
    checked: Dict[str, Any] = {}
    for field, value in fields.items():
        if field == "member":
            if value is None:
                raise ValueError("a member must be a string or a number, not None")
            checked["value"] = value if type(value) in (str, int) else str(value)
        elif field == "change":
            checked["value"] = f"{number(value):+}"
        elif field == "sample_rate" and not 0 < value <= 1:
            raise ValueError(f"a sample rate must be greater than 0 and at most 1, not {value}")
        else:
            checked[field] = number(value)
    return checked
