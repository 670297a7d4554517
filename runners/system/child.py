"""Processes of ours: told apart from others by pid and start, tied to this one, and ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from results.errors import HostUnfit


def start_time(pid: int) -> int:
    """Start of a process in clock ticks since boot; -1 when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in "ZX" else int(fields[19])


def still_runs(pid: int, started: int) -> bool:
    """Whether `pid` is the process that started then: a pid may have been taken by another."""
    return 0 <= started == start_time(pid)


def owner_name() -> str:
    """`pausebench-PID-START`: names this process as the owner of what it may leave when killed."""
    return f"pausebench-{os.getpid()}-{start_time(os.getpid())}"


def dying_with_us(argv: Sequence[str]) -> list[str]:
    """argv of a child that the kernel kills when this process ends, however that happens.

    setpriv becomes the program by exec, so that the signal is the program's own; a preexec_fn
    would fork this process with all that BPF holds. Raises HostUnfit without setpriv.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise HostUnfit("`setpriv` is missing: apt-get install util-linux")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv]


def kill_group(process: subprocess.Popen[Any]) -> None:
    """End a process that leads a group, and all that it has started in that group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
