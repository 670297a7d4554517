"""Records as values that JSON has."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any


def json_value(value: Any) -> Any:
    """A record as an object, tuples as lists: the value that its JSON text is read back as."""
    if is_dataclass(value) and not isinstance(value, type):
        return json_value(asdict(value))
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return value
