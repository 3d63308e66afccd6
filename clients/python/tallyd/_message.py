"""One message as tallyd reads it: a JSON object on one line."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any, Dict, Mapping, Optional

Tags = Optional[Mapping[str, Any]]

# Keys that have a meaning of their own in a message. A tag that is called so goes into `tags`.
_RESERVED = frozenset(
    ("metric_name", "metric_type", "value", "count", "sample_rate", "tags", "timestamp")
)


# Made once: `json.dumps` with options makes one with each call.
_to_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def encode(name: str, kind: str, tags: Mapping[str, Any], fields: Mapping[str, Any]) -> bytes:
    """Makes a message of it. Raises ValueError or TypeError for what tallyd would reject."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name of a metric is a string that is not empty, not {name!r}")
    message: Dict[str, Any] = {"metric_name": name, "metric_type": kind}
    nested: Dict[str, Any] = {}
    for key, value in tags.items():
        key = str(key)
        (nested if key in _RESERVED else message)[key] = _tag(value)
    if nested:
        message["tags"] = nested
    message.update(fields)
    return _to_json(message).encode("ascii")


def _tag(value: Any) -> Any:
    """The value of a tag: what JSON has no scalar for goes as its text."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)


def number(value: Any) -> float:
    """A number that is finite, whatever type it comes in: Decimal and NumPy's own are fine."""
    if isinstance(value, datetime.timedelta):
        return value / datetime.timedelta(milliseconds=1)
    converted = value if type(value) is int else float(value)
    if not math.isfinite(converted):
        raise ValueError(f"no finite number: {value!r}")
    return converted
