"""Sends metrics to tallyd.

>>> from tallyd import Agent
>>> metrics = Agent()
>>> metrics.counter("user.logins", tags={"stage": "login"})
>>> with metrics.timer("user.latency", tags={"stage": "login"}):
...     pass

No call blocks on the network, and none raises: the agent counts a message that cannot be sent, and logs
such errors at most once a minute.
"""

from ._agent import Agent, Batch, PystatAgent, Timer

__all__ = ["Agent", "Batch", "PystatAgent", "Timer"]
__version__ = "0.2.0"
