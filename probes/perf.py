"""perf_event_open counters of QEMU processes: software events and, with a PMU, hardware events.

They cover the time from the hold to the resumed guest and check the per-phase counters of the BPF
programs independently.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from .syscalls import syscall

_TYPE_HARDWARE, _TYPE_SOFTWARE = 0, 1
# perf event → (type, config), from uapi linux/perf_event.h
EVENTS: dict[str, tuple[int, int]] = {
    "task-clock": (_TYPE_SOFTWARE, 1),
    "page-faults": (_TYPE_SOFTWARE, 2),
    "context-switches": (_TYPE_SOFTWARE, 3),
    "cpu-migrations": (_TYPE_SOFTWARE, 4),
    "cycles": (_TYPE_HARDWARE, 0),
    "instructions": (_TYPE_HARDWARE, 1),
    "cache-misses": (_TYPE_HARDWARE, 3),
}
_INHERIT = 1 << 1
_FLAG_CLOEXEC = 8
_ATTR_BYTES = 128


class EventAttributes(ctypes.Structure):
    """The head of struct perf_event_attr; the rest stays 0."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * (_ATTR_BYTES - 72)),
    ]


def open_event(name: str, tid: int) -> int:
    """File descriptor of a counter for `name` in thread `tid` and in threads it starts later.

    Raises OSError: ENOENT without a PMU, EACCES or EPERM without permission.
    """
    kind, config = EVENTS[name]
    attr = EventAttributes(type=kind, size=_ATTR_BYTES, config=config, flags=_INHERIT)
    return syscall("perf_event_open", ctypes.byref(attr), tid, -1, -1, _FLAG_CLOEXEC)


class ProcessCounters:
    """Counters of one process from construction to `read`; unsupported events are omitted."""

    def __init__(self, pid: int, events: Iterable[str] = tuple(EVENTS)) -> None:
        self._fds: dict[str, list[int]] = {}
        refused: set[str] = set()
        for task in Path(f"/proc/{pid}/task").iterdir():
            for name in events:
                if name in refused:
                    continue
                try:
                    self._fds.setdefault(name, []).append(open_event(name, int(task.name)))
                except ProcessLookupError:
                    continue  # the thread has just exited
                except OSError:
                    refused.add(name)
        for name in refused:
            for fd in self._fds.pop(name, []):
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def read(self) -> dict[str, int]:
        """Event → count over all threads; task-clock in ns."""
        return {
            name: sum(int.from_bytes(os.read(fd, 8), "little") for fd in fds)
            for name, fds in self._fds.items()
        }

    def close(self) -> None:
        for fds in self._fds.values():
            for fd in fds:
                with suppress(OSError):
                    os.close(fd)
        self._fds = {}
