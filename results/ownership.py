"""Who owns what a process leaves on the host: a lock says who lives, the name says who it was.

A private directory is locked by an open descriptor of its owner, which the kernel closes when the
owner exits for any reason. Its name holds the owner's pid, start time and PID namespace. Only what
is proven to have no living owner is ever removed.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# Of root alone; on a tmpfs, so that it is empty after a boot.
RUN = Path("/run/pausebench")
# PROC_PID_INIT_INO in Linux's include/linux/proc_ns.h: the inode of the host's own namespace.
HOST_PID_NAMESPACE = 0xEFFFFFFC
_NAME = re.compile(r"pausebench-(\d+)-(\d+)-([0-9a-f]+)-\w+")
_UNCLAIMED = "pausebench-new-"


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


def pid_namespace() -> int:
    """The inode of this process's PID namespace."""
    return Path("/proc/self/ns/pid").stat().st_ino


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that owns something on the host."""

    pid: int
    started: int
    namespace: int

    @classmethod
    def of_name(cls, name: str) -> Owner | None:
        """The owner in the name of a private directory; None for any other name."""
        match = _NAME.fullmatch(name)
        return cls(int(match[1]), int(match[2]), int(match[3], 16)) if match else None

    @classmethod
    def me(cls) -> Owner:
        # The pid in /proc differs from getpid() when /proc is of another PID namespace.
        pid = int(Path("/proc/self").readlink().name)
        return cls(pid, start_time(pid), pid_namespace())

    def runs(self) -> bool | None:
        """Whether the process runs; None for one of another PID namespace, where pids differ."""
        return still_runs(self.pid, self.started) if self.namespace == pid_namespace() else None


def run_directory(name: str = "") -> Path:
    """A directory below RUN, made with the mode 0700 if it is missing. Raises OSError."""
    RUN.mkdir(mode=0o700, exist_ok=True)
    (directory := RUN / name).mkdir(mode=0o700, exist_ok=True)
    return directory


def claim_directory(parent: Path) -> tuple[Path, int]:
    """Make a private directory in `parent` and lock it; returns its path and the locked descriptor.

    It gets its name once it is locked: one with such a name and without a lock has lost its owner.
    """
    unclaimed = Path(tempfile.mkdtemp(prefix=_UNCLAIMED, dir=parent))
    lock = os.open(unclaimed, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    me, suffix = Owner.me(), unclaimed.name.removeprefix(_UNCLAIMED)
    claimed = parent / f"pausebench-{me.pid}-{me.started}-{me.namespace:x}-{suffix}"
    return unclaimed.rename(claimed), lock


@contextmanager
def private_directory() -> Iterator[Path]:
    """A private temporary directory, removed at the end of the block."""
    directory, lock = claim_directory(Path(tempfile.gettempdir()))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def private_directory_until_exit(parent: Path | None = None) -> Path:
    """A private directory in `parent`, or a temporary one, that is removed when this process exits.

    Its lock is held until then.
    """
    directory, _ = claim_directory(parent or Path(tempfile.gettempdir()))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def is_abandoned(directory: Path) -> bool:
    """Whether a private directory is proven to have lost its owner: its lock is free.

    False for what is no private directory of this user, and while its owner's pid is in use.
    """
    owner = Owner.of_name(directory.name)
    if owner is None or owner.runs():
        return False
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(lock).st_uid == os.getuid()
    except OSError:
        return False
    finally:
        os.close(lock)


def abandoned_directories(parent: Path) -> list[Path]:
    """The private directories in `parent` whose owners are gone."""
    with suppress(OSError):
        return [d for d in sorted(parent.glob("pausebench-*")) if is_abandoned(d)]
    return []
