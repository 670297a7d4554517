"""Pauses of known length, injected into a QEMU at a phase boundary, for calibration.

The kernel stops the process when it reaches a function; a thread of ours continues it after the
requested time. The actual length comes from scheduler events of a separate BPF program, which
shares nothing with the probes under calibration, and has a lower bound: the time of SIGCONT on our
own clock.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import Any, Self

from results.errors import EventsLost
from results.records.scenario import Build

from .bpf_program import compile_program
from .uprobes import Place, attach_uprobe

# Functions inside every blackout, each called once after the hold. Both have a mark of
# results.timeline.marks shortly before and after them, so that little else lies in between.
NEW_BOUNDARY = "resume_all_vcpus"
OLD_BOUNDARY = "bdrv_drain_all"  # in old QEMU: vCPUs are paused, no state has been saved yet
_POLL_MS = 50


class _Stop(ctypes.Structure):
    _fields_ = [("ns", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("resumed", ctypes.c_uint32)]


@dataclass(frozen=True, slots=True)
class Injected:
    """One injected pause (host ns): from the signal at the boundary until the thread ran again.

    `continued_ns` is the time of SIGCONT; from then to `end_ns` the thread waits for a CPU.
    """

    pid: int
    start_ns: int
    continued_ns: int
    end_ns: int

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class _Order:
    """What to do when a process reaches the boundary."""

    length_ns: int | None
    at_stop: Callable[[], None] = lambda: None


class PauseInjector:
    """Stops armed processes at `function`; a context manager that runs its own thread."""

    def __init__(self, builds: Iterable[Build], function: str = NEW_BOUNDARY) -> None:
        self._builds = tuple(builds)
        self._function = function
        self._bpf: Any = None
        self._orders: dict[int, _Order] = {}
        self._stopped: dict[int, tuple[int, int]] = {}  # process → stopped, continued
        self._done: dict[int, Injected] = {}
        self._arrived = threading.Condition()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="injector", daemon=True)

    def __enter__(self) -> Self:
        with resources.as_file(resources.files(__package__).joinpath("bpf")) as path:
            self._bpf = compile_program(path / "inject.bpf.c")
        for build in {build.binary: build for build in self._builds}.values():
            place = Place(build.binary, self._function, build.symbols.get(self._function, 0))
            attach_uprobe(self._bpf, place, "at_boundary")
        self._bpf["stops"].open_ring_buffer(self._receive)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self._thread.join()
        self._bpf.cleanup()

    def arm(
        self,
        pid: int,
        length_ns: int | None,
        at_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Stop process `pid` for `length_ns` when it next reaches the boundary; None: for good.

        `at_stop` is called when it has stopped there, in the injector's thread.
        """
        self._orders[pid] = _Order(length_ns, at_stop)
        self._bpf["targets"][ctypes.c_uint32(pid)] = ctypes.c_uint32(1)

    def injected(self, pid: int, timeout_s: float = 5.0) -> Injected:
        """The pause injected into `pid`. Raises EventsLost when it did not occur in time."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: pid in self._done, timeout_s):
                raise EventsLost(1)
            return self._done.pop(pid)

    def _serve(self) -> None:
        while not self._ending.is_set():
            self._bpf.ring_buffer_poll(_POLL_MS)

    def _receive(self, context: Any, data: Any, size: int) -> None:
        stop = ctypes.cast(data, ctypes.POINTER(_Stop)).contents
        pid, ns = int(stop.pid), int(stop.ns)
        if not stop.resumed:
            self._stopped[pid] = (ns, self._resume_after(pid, ns))
            return
        start, continued = self._stopped.pop(pid, (0, 0))
        if not start:
            return
        with self._arrived:
            self._done[pid] = Injected(pid, start, continued, ns)
            self._arrived.notify_all()

    def _resume_after(self, pid: int, start_ns: int) -> int:
        """Wait for the rest of the requested time and send SIGCONT; returns when it was sent."""
        order = self._orders.pop(pid, _Order(0))
        order.at_stop()
        if order.length_ns is None:
            return 0
        left = start_ns + order.length_ns - time.monotonic_ns()
        if left > 0:
            time.sleep(left / 1e9)
        now = time.monotonic_ns()
        with suppress(ProcessLookupError):  # a QEMU that was killed while stopped
            os.kill(pid, signal.SIGCONT)
        return now
