"""The host's lock: sessions that measure at the same time disturb each other, so one does.

The kernel releases it when its holder exits. Sessions in another mount namespace, with another
/run, hold another lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from results import ownership
from results.errors import HostUnfit
from results.ownership import Owner, run_directory
from runners.system.process_record import is_gone, own_record, records

_NAME = "lock"
_MEASURING = "measuring.json"
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Measurer:
    """A process that measures on this host."""

    pid: int  # in its own PID namespace
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command})"


UNKNOWN = Measurer(0, "unknown")
_inside: list[bool] = []  # not empty while this process is in a block of `host_lock`


@contextmanager
def host_lock(
    waiting: Callable[[str], object], *, share: bool = False, timeout_s: float | None = None
) -> Iterator[None]:
    """Hold the host's lock inside the block; wait for it until its holder ends.

    `waiting` is told for whom. With `share` another session may hold it: `others_measuring` names
    it then. A process that is in such a block already does not wait for itself. Raises HostUnfit
    after `timeout_s`, and without root.
    """
    if _inside:
        yield
        return
    lock = _open()
    try:
        if not _acquire(lock, waiting, 0.0 if share else timeout_s) and not share:
            raise HostUnfit(
                f"another session still measures on this host: {_holder()}: wait for its end, or "
                "end it"
            )
        _inside.append(True)
        with _measuring():
            yield
    finally:
        _inside.clear()
        os.close(lock)


def _open() -> int:
    try:
        path = run_directory() / _NAME
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostUnfit(
            f"cannot lock {lock_path()} ({error.strerror}): run as root, with a writable /run"
        ) from error


def lock_path() -> Path:
    return ownership.RUN / _NAME


def _acquire(lock: int, waiting: Callable[[str], object], timeout_s: float | None) -> bool:
    """Take the lock; False if another process still holds it after `timeout_s`."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    told = None
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, _me().encode(), 0)
            return True
        if end is not None and time.monotonic() >= end:
            return False
        if (holder := _holder()) != told and holder != UNKNOWN:
            waiting(f"waiting for {holder}, which measures on this host: --share does not wait")
            told = holder
        time.sleep(_POLL_S)


def holder() -> Measurer | None:
    """Who holds the lock now; None if nobody does, or without access to it."""
    try:
        lock = os.open(lock_path(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder()
    finally:
        os.close(lock)
    return None


def _holder() -> Measurer:
    return _read(lock_path()) or UNKNOWN


def others_measuring() -> tuple[Measurer, ...]:
    """The other processes that measure on this host now."""
    found = [
        _read(path)
        for path in sorted(records().glob(f"*/{_MEASURING}"))
        if path.parent != own_record() and not is_gone(path.parent.name)
    ]
    return tuple(measurer for measurer in found if measurer is not None)


@contextmanager
def _measuring() -> Iterator[None]:
    """Tell other sessions that this process measures."""
    path = own_record() / _MEASURING
    path.write_text(_me())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _me() -> str:
    command = " ".join(["pausebench", *sys.argv[1:]])
    return json.dumps({"pid": Owner.me().pid, "command": command[:200]})


def _read(path: Path) -> Measurer | None:
    try:
        said = json.loads(path.read_text())
        return Measurer(int(said["pid"]), str(said["command"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_seen_by_the_host() -> bool:
    """Whether sessions in the host's own mount namespace use the same lock; True if unknown."""
    with suppress(OSError):
        ours, theirs = ownership.RUN.stat(), Path(f"/proc/1/root{ownership.RUN}").stat()
        return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
    # Init may not let us look, or there may be no such directory yet. kthreadd is in the
    # namespace that init started in.
    for pid in (1, 2):
        with suppress(OSError):
            return Path(f"/proc/{pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
    return True
