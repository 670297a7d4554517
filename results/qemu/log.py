"""What a QEMU complained of in its log."""

from __future__ import annotations

import re

_COMPLAINT = re.compile(r"^[\w.-]+: (?!.*warning: )(.+)$", re.MULTILINE)


def complaints(log: str) -> list[str]:
    """QEMU's own `NAME: message` lines in their order, without the name; warnings are none."""
    return _COMPLAINT.findall(log)


def last_words(log: str) -> str:
    """The last complaint, or where there is none the last line that is no warning; may be empty."""
    found = complaints(log)
    lines = [line for line in log.splitlines() if line.strip() and "warning: " not in line]
    return (found or lines or [""])[-1]


def of_side(log: str, side: str) -> str:
    """One QEMU's part of a run's log, in which each begins with `old: ` or `new: `."""
    parts = re.split(r"^(old|new): ", log, flags=re.MULTILINE)
    sides = zip(parts[1::2], parts[2::2], strict=True)
    return "".join(text for name, text in sides if name == side)
