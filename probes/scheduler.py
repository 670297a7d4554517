"""What the scheduler does with both QEMUs in the blackout. Loaded once per session."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, Self

from results.errors import HostUnfit
from results.records.scheduler import Kind, SchedulerEvent, Scheduling, WatchedThread

from .bpf_program import SkippedCalls, compile_program

_RING_PAGES = 256  # 1 MiB: 14,500 records; a transfer on an idle host writes some 200
_KINDS: tuple[Kind, ...] = ("switch", "wake", "fork")
_NAME_BYTES = 16


class _Record(ctypes.Structure):
    _fields_ = [
        ("ns", ctypes.c_uint64),
        ("kind", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("tid", ctypes.c_uint32),
        ("other", ctypes.c_uint32),
        ("state", ctypes.c_int32),
        ("call", ctypes.c_int32),
        ("args", ctypes.c_uint64 * 2),
        ("name", ctypes.c_char * _NAME_BYTES),
    ]


class SchedulerProbe:
    """Records the threads of chosen processes between `open` and `close`; a context manager.

    It needs Linux 5.15 on x86-64. Where it cannot be loaded, `missing` holds the reason and every
    recording is empty: a blackout can be measured without knowing its causes.
    """

    def __init__(self) -> None:
        self.missing = ""
        self._bpf: Any = None
        self._records: list[SchedulerEvent] = []
        self._threads: dict[int, WatchedThread] = {}
        self._since_ns = 0
        self._lost_before = 0
        self._skipped = SkippedCalls(())
        self._skipped_before = 0
        self._windows = 0

    def __enter__(self) -> Self:
        with resources.as_file(resources.files(__package__).joinpath("bpf")) as path:
            cpus = os.sysconf("SC_NPROCESSORS_CONF")
            flags = (f"-DRING_PAGES={_RING_PAGES}", f"-DCPUS={cpus}")
            try:
                self._bpf = compile_program(path / "scheduling.bpf.c", flags)
            except HostUnfit as error:
                self.missing = str(error)
                return self
        self._bpf["records"].open_ring_buffer(self._receive)
        self._skipped = SkippedCalls(self.program_fds())
        return self

    def __exit__(self, *exc: object) -> None:
        self._skipped.close()
        if self._bpf is not None:
            self._bpf.cleanup()

    def open(self, pids: Iterable[int]) -> None:
        """Start recording all threads of `pids`, including those started later."""
        if self._bpf is None:
            return
        table = self._bpf["threads"]
        table.clear()
        self._bpf.ring_buffer_consume()
        self._records, self._threads = [], {}
        self._skipped_before = self._skipped.count()
        self._windows += 1
        self._set_window(self._windows)
        # Twice: the second pass finds threads that started between the first and the recording.
        for pid in (*pids, *pids):
            for thread in _threads_of(pid):
                if thread.tid not in self._threads:
                    self._threads[thread.tid] = thread
                    table[ctypes.c_uint32(thread.tid)] = ctypes.c_uint32(1)
        self._since_ns = time.monotonic_ns()

    def close(self) -> Scheduling:
        """Stop recording; returns what was recorded since `open`."""
        if self._bpf is None:
            return Scheduling(missing=self.missing)
        self._set_window(0)
        self._bpf.ring_buffer_consume()
        lost = int(self._bpf["lost"][ctypes.c_int(0)].value)
        new_lost, self._lost_before = lost - self._lost_before, lost
        events, self._records = tuple(sorted(self._records, key=lambda e: e.ns)), []
        own = tuple(thread.tid for thread in _threads_of(os.getpid()))
        threads, skipped = (
            tuple(self._threads.values()),
            self._skipped.count() - self._skipped_before,
        )
        return Scheduling(self._since_ns, events, threads, new_lost, own=own, skipped=skipped)

    def program_fds(self) -> tuple[int, ...]:
        """Descriptors of the loaded programs, through which the kernel reports their run time."""
        if self._bpf is None:
            return ()
        return tuple(int(function.fd) for function in self._bpf.funcs.values())

    def _set_window(self, on: int) -> None:
        self._bpf["window"][ctypes.c_int(0)] = ctypes.c_uint64(on)

    def _receive(self, context: Any, data: Any, size: int) -> None:
        raw = ctypes.cast(data, ctypes.POINTER(_Record)).contents
        self._records.append(
            SchedulerEvent(
                ns=raw.ns,
                kind=_KINDS[raw.kind],
                cpu=raw.cpu,
                tid=raw.tid,
                other=raw.other,
                state=raw.state,
                call=raw.call,
                args=(raw.args[0], raw.args[1]),
                name=raw.name.decode("utf-8", "replace"),
            )
        )


def _threads_of(pid: int) -> list[WatchedThread]:
    """The current threads of a process; empty when it has exited."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                name = (task / "comm").read_text().rstrip("\n")
                found.append(WatchedThread(int(task.name), pid, name))
    return found
