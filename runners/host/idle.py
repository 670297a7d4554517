"""Whether the host is quiet enough to measure on, and the lock that keeps a second job away."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from results.errors import HostUnfit

LOCK_NAME = "pausebench-nightly.lock"
_SAMPLE_SECONDS = 2.0
_SAMPLES = 3
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the host's CPUs were, in percent of all of them, and with what."""

    busy_percent: float
    steal_percent: float
    busiest: tuple[str, ...]

    def describe(self) -> str:
        """`busy 43 % (qemu-system-x86 12345 91 %)`."""
        by = f" ({', '.join(self.busiest)})" if self.busiest else ""
        stolen = f", steal {self.steal_percent:.0f} %" if self.steal_percent >= 1 else ""
        return f"CPUs busy {self.busy_percent:.0f} %{stolen}{by}"


def measure_load(seconds: float = _SAMPLE_SECONDS) -> Load:
    """Look at the host for `seconds`; our own process counts as the idle it is."""
    processes = {}
    for process in psutil.process_iter(["name"]):
        try:
            process.cpu_percent()
        except psutil.Error:
            continue
        processes[process.pid] = process
    times = psutil.cpu_times_percent(interval=seconds)
    shares = []
    for process in processes.values():
        try:
            share = process.cpu_percent()
        except psutil.Error:
            continue
        if share >= 5.0 and process.pid != os.getpid():
            shares.append((share, f"{process.info['name']} {process.pid} {share:.0f} %"))
    named = tuple(text for _, text in sorted(shares, reverse=True)[:_MOST_NAMED])
    steal = float(getattr(times, "steal", 0.0))
    idle = float(times.idle) + float(getattr(times, "iowait", 0.0))
    return Load(max(0.0, 100.0 - idle), steal, named)


def wait_until_idle(
    busy_percent: float,
    wait_seconds: float,
    progress: Callable[[str], None],
    look: Callable[[], Load] = measure_load,
    clock: Callable[[], float] = time.monotonic,
) -> Load | None:
    """Wait for several quiet looks in a row. None when it is quiet, else the last load seen."""
    deadline = clock() + wait_seconds
    quiet = 0
    told = False
    while True:
        load = look()
        quiet = quiet + 1 if load.busy_percent <= busy_percent else 0
        if quiet >= _SAMPLES:
            return None
        if quiet == 0:
            if clock() >= deadline:
                return load
            if not told:
                progress(f"waiting for a quiet host: {load.describe()}, wanted {busy_percent:g} %")
                told = True


@contextmanager
def host_lock(directory: Path | None = None) -> Iterator[None]:
    """Held by one nightly job of the host at a time; the kernel lets go of it with the process.

    Raises HostUnfit when another holds it, and names that process.
    """
    place = directory or _lock_directory()
    path = place / LOCK_NAME
    try:
        # Anybody may make files there: neither a link elsewhere nor a FIFO is followed.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        raise HostUnfit(f"cannot lock {path}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise HostUnfit(
                f"another nightly job measures on this host (process {holder}, lock {path}): "
                "wait for it or end it"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _lock_directory() -> Path:
    run = Path("/run/lock")
    return run if run.is_dir() and os.access(run, os.W_OK) else Path(tempfile.gettempdir())
