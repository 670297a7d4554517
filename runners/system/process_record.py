"""The record of this process on the host, by which the next session cleans up after it."""

from __future__ import annotations

import functools
import json
import os
import signal
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from results import ownership
from results.ownership import (
    Owner,
    abandoned_directories,
    is_abandoned,
    pid_namespace,
    private_directory_until_exit,
    run_directory,
    start_time,
    still_runs,
)

_PROCESSES = "processes"


def records() -> Path:
    """Where root's processes have their records; those of other users are temporary files."""
    return ownership.RUN / _PROCESSES if os.geteuid() == 0 else Path(tempfile.gettempdir())


@functools.cache
def own_record() -> Path:
    """The record of this process: a private directory, removed when it exits. Raises OSError."""
    return private_directory_until_exit(run_directory(_PROCESSES) if os.geteuid() == 0 else None)


def abandoned_records() -> list[Path]:
    """The records of processes that were killed."""
    return abandoned_directories(records())


def is_gone(name: str) -> bool:
    """Whether the process whose record has this name is proven to have exited.

    Without its record, which may be in another mount namespace, only its pid can prove that.
    """
    record = records() / name
    if record.is_dir():
        return is_abandoned(record)
    owner = Owner.of_name(name)
    return owner is not None and owner.runs() is False


# --- children -------------------------------------------------------------------------------


_children: dict[int, int] = {}  # pid → start time
_CHILDREN = "children.json"
_recording = threading.Lock()


def record_child(pid: int) -> None:
    """Add a child to the record of this process, in place of those that have ended."""
    with _recording:
        for ended in [p for p, started in _children.items() if not still_runs(p, started)]:
            del _children[ended]
        _children[pid] = start_time(pid)
        with suppress(OSError):  # the parent death signal does not depend on the record
            part = own_record() / f".{_CHILDREN}"
            part.write_text(json.dumps(list(_children.items())))
            part.replace(own_record() / _CHILDREN)


def orphans(record: Path) -> list[tuple[int, int]]:
    """Children of a killed process that still run, as (pid, start time)."""
    owner = Owner.of_name(record.name)
    if owner is None or owner.namespace != pid_namespace():  # its pids are not ours
        return []
    try:
        children = json.loads((record / _CHILDREN).read_text())
        return [(int(pid), int(started)) for pid, started in children if still_runs(pid, started)]
    except (OSError, ValueError, TypeError):
        return []


def end_orphans(record: Path) -> int:
    """Kill the children of a killed process that still run; returns how many."""
    ended = 0
    for pid, started in orphans(record):
        with suppress(OSError):
            process = os.pidfd_open(pid)
            try:
                if still_runs(pid, started):  # the descriptor is of no later process of that pid
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    ended += 1
            finally:
                os.close(process)
    return ended
