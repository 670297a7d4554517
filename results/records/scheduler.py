"""Scheduler events of the threads in a handover, and the blackout attributed to causes.

Times are integer ns on CLOCK_MONOTONIC, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .reasons import SENTENCES

Kind = Literal["switch", "wake", "fork"]
State = Literal["on-cpu", "runnable", "blocked", "stopped", "unknown"]


@dataclass(frozen=True, slots=True)
class SchedulerEvent:
    """One record of the scheduler's tracepoints.

    switch: `tid` left `cpu` in `state` (0 runnable, else a bit of the kernel's TASK_REPORT) and
    `other` was switched in. wake: `tid`, running on `cpu`, woke `other`. fork: `tid` created
    `other`. `call` is the system call that `tid` was in, -1 for none; `name` is the name of a
    thread that is not watched: of `other` if it is not, else of `tid`. Switches between two such
    threads are recorded on the CPUs that watched threads use.
    """

    ns: int
    kind: Kind
    cpu: int
    tid: int
    other: int
    state: int = 0
    call: int = -1
    args: tuple[int, int] = (0, 0)
    name: str = ""


@dataclass(frozen=True, slots=True)
class WatchedThread:
    """A thread of one of the two QEMUs, as it was when tracing started."""

    tid: int
    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class Scheduling:
    """All records of the scheduler in one transfer.

    From `since_ns` on tracing was complete; `missing` is why there is none. `skipped` counts the
    probe calls that the kernel skipped, host-wide: each may have lost a record.
    """

    since_ns: int = 0
    events: tuple[SchedulerEvent, ...] = ()
    threads: tuple[WatchedThread, ...] = ()
    lost: int = 0
    missing: str = ""
    own: tuple[int, ...] = ()  # threads of pausebench itself
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of the critical path: what the blackout waited for from `start_ns` to `end_ns`.

    `on` is what a blocked thread waited for, or which system call a stop interrupted. `by` is who
    had the CPU while a runnable thread waited, or who woke a blocked one. `phase` is empty where no
    phase owns the time.
    """

    start_ns: int
    end_ns: int
    side: str  # old, new; empty if unknown
    thread: str
    tid: int
    state: State
    on: str
    by: str
    phase: str

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class Cause:
    """All equal segments of one run, merged: `by` is the one with most of the time."""

    phase: str
    side: str
    thread: str
    state: State
    on: str
    by: str
    ns: int
    count: int


@dataclass(frozen=True, slots=True)
class Attribution:
    """The complete blackout by cause: `causes` add up to it exactly, the longest comes first.

    `unattributed_ns` is the part without a phase or without a known state. Each of the `skipped`
    probe calls may have lost a record. Without an attribution `missing` says why, and nothing else
    is set.
    """

    causes: tuple[Cause, ...] = ()
    unattributed_ns: int = 0
    missing: str = field(default="", metadata=SENTENCES)
    skipped: int = 0
