"""Encodes a message for tallyd: a JSON object on one line."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any, Dict, Mapping, Optional

Tags = Optional[Mapping[str, Any]]

# Keys with a fixed meaning in a message. A tag with one of these names goes into `tags`.
_RESERVED = frozenset(
    ("metric_name", "metric_type", "value", "count", "sample_rate", "tags", "timestamp")
)


# Created once: `json.dumps` with options creates an encoder with each call.
_to_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def encode(name: str, kind: str, tags: Mapping[str, Any], fields: Mapping[str, Any]) -> bytes:
    """Encodes a message. Raises ValueError or TypeError for values that tallyd would reject."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name of a metric must be a non-empty string, not {name!r}")
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
    """Converts the value of a tag: a value that is not a JSON scalar becomes text."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)


def number(value: Any) -> float:
    """Returns a value of any numeric type, such as Decimal and NumPy's types, as a finite number.

    A timedelta becomes milliseconds. Raises ValueError or TypeError for other values.
    """
    if isinstance(value, datetime.timedelta):
        return value / datetime.timedelta(milliseconds=1)
    converted = value if type(value) is int else float(value)
    if not math.isfinite(converted):
        raise ValueError(f"not a finite number: {value!r}")
    return converted
