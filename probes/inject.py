"""Pauses of known length, injected into a QEMU at a phase boundary: what calibration measures.

The kernel stops the process when it reaches a function; a thread of ours lets it go on after the
asked time and measures how long it really stood, on the same clock and by no probe of ours.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from types import TracebackType
from typing import Any, Self

from results.errors import EventsLost, HostUnfit
from results.records import Build

from .program import compile_program

BOUNDARY = "vm_start"  # in new QEMU: inside every blackout, and reached once
_POLL_MS = 50


class _Stop(ctypes.Structure):
    _fields_ = [("ns", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("failed", ctypes.c_uint32)]


@dataclass(frozen=True, slots=True)
class Injected:
    """One injected pause (host ns): from the signal at the boundary to SIGCONT."""

    pid: int
    start_ns: int
    end_ns: int

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


class PauseInjector:
    """Stops armed processes at `function`; a context manager with a thread of its own."""

    def __init__(self, builds: Iterable[Build], function: str = BOUNDARY) -> None:
        self._builds = tuple(builds)
        self._function = function
        self._bpf: Any = None
        self._lengths: dict[int, int] = {}
        self._done: dict[int, Injected] = {}
        self._arrived = threading.Condition()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="injector", daemon=True)

    def __enter__(self) -> Self:
        with resources.as_file(resources.files(__package__).joinpath("bpf")) as path:
            self._bpf = compile_program(path / "inject.bpf.c")
        for binary in dict.fromkeys(build.binary for build in self._builds):
            try:
                self._bpf.attach_uprobe(name=binary, sym=self._function, fn_name="at_boundary")
            except Exception as error:
                raise HostUnfit(f"cannot probe {self._function} in {binary}: {error}") from error
        self._bpf["stops"].open_ring_buffer(self._stopped)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._bpf.cleanup()

    def arm(self, pid: int, length_ns: int) -> None:
        """Stop process `pid` for `length_ns` when it next reaches the boundary."""
        self._lengths[pid] = length_ns
        self._bpf["targets"][ctypes.c_uint32(pid)] = ctypes.c_uint32(1)

    def injected(self, pid: int, timeout_s: float = 5.0) -> Injected:
        """The pause that `pid` was given. Raises EventsLost when there was none."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: pid in self._done, timeout_s):
                raise EventsLost(1)
            return self._done.pop(pid)

    def _serve(self) -> None:
        while not self._ending.is_set():
            self._bpf.ring_buffer_poll(_POLL_MS)

    def _stopped(self, context: Any, data: Any, size: int) -> None:
        stop = ctypes.cast(data, ctypes.POINTER(_Stop)).contents
        pid, start = int(stop.pid), int(stop.ns)
        if stop.failed:
            return
        left = start + self._lengths.pop(pid, 0) - time.monotonic_ns()
        if left > 0:
            time.sleep(left / 1e9)
        end = time.monotonic_ns()
        os.kill(pid, signal.SIGCONT)
        with self._arrived:
            self._done[pid] = Injected(pid, start, end)
            self._arrived.notify_all()
