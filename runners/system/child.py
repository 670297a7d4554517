"""Child processes: identified by pid and start time, tied to our lifetime, and killed."""

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
    """Start time of a process in clock ticks since boot; -1 when it has exited or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in "ZX" else int(fields[19])


def still_runs(pid: int, started: int) -> bool:
    """Whether `pid` is still the process that started at `started`: pids are reused."""
    return 0 <= started == start_time(pid)


def owner_name() -> str:
    """`pausebench-PID-START`: marks this process as the owner of what it may leave when killed."""
    return f"pausebench-{os.getpid()}-{start_time(os.getpid())}"


def die_with_parent(argv: Sequence[str]) -> list[str]:
    """Wrap argv so that the kernel kills the child when this process exits for any reason.

    setpriv sets the parent death signal and executes the program in its place; a preexec_fn would
    fork this process with all its BPF memory. Raises HostUnfit without setpriv.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise HostUnfit("`setpriv` is missing: apt-get install util-linux")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv]


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill a process group by its leader."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
