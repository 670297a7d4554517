"""Error messages in QEMU's log."""

from __future__ import annotations

import re

_ERROR = re.compile(r"^[\w.-]+: (?!.*warning: )(.+)$", re.MULTILINE)


def error_messages(log: str) -> list[str]:
    """QEMU's `NAME: message` lines in order, without the name and except warnings."""
    return _ERROR.findall(log)


def last_message(log: str) -> str:
    """The last error message, else the last line that is not a warning; empty without any."""
    found = error_messages(log)
    lines = [line for line in log.splitlines() if line.strip() and "warning: " not in line]
    return (found or lines or [""])[-1]


def of_side(log: str, side: str) -> str:
    """The part of a run's log that one QEMU wrote; each part begins with `old: ` or `new: `."""
    parts = re.split(r"^(old|new): ", log, flags=re.MULTILINE)
    sides = zip(parts[1::2], parts[2::2], strict=True)
    return "".join(text for name, text in sides if name == side)
