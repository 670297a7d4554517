"""Processes of ours: whether a pid still is the process that it was."""

from __future__ import annotations

from pathlib import Path


def start_time(pid: int) -> int:
    """Start of a process in clock ticks since boot; -1 when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in "ZX" else int(fields[19])
