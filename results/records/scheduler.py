"""What the scheduler did with the threads of a handover, and what became of the blackout's time.

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

    switch: `tid` left `cpu` in `state` (0 runnable, else a bit as in the kernel's TASK_REPORT) and
    `other` came onto it. wake: `tid`, then on `cpu`, woke `other`. fork: `tid` began `other`.
    `call` is the system call that `tid` was in, -1 for none; `name` is that of a thread that is not
    watched: of `other` where that is one, else of `tid`. Switches between two such threads are
    recorded on the CPUs that watched threads use.
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
    """A thread of one of the two QEMUs, as it was when the watch began."""

    tid: int
    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class Scheduling:
    """All that was recorded of the scheduler in one transfer.

    `since_ns` is when the watch was complete; `missing` says why there is none. `skipped` counts
    how often the kernel left a probe out, anywhere on the host: each may have cost a record.
    """

    since_ns: int = 0
    events: tuple[SchedulerEvent, ...] = ()
    threads: tuple[WatchedThread, ...] = ()
    lost: int = 0
    missing: str = ""
    own: tuple[int, ...] = ()  # threads of the measuring program itself
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the critical path: what the blackout waited for from `start_ns` to `end_ns`.

    `on` says what a blocked thread waited for, or which system call a stop interrupted. `by` is
    who had the CPU while a runnable thread waited, or who ended the wait of a blocked one. `phase`
    is empty where no phase owns the moment.
    """

    start_ns: int
    end_ns: int
    side: str  # old, new; empty where nothing is known
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
    """All segments of one run that are alike: `by` is the one to which most of the time belongs."""

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
    """The whole blackout by cause: `causes` add up to it exactly, the longest comes first.

    `unattributed_ns` is what of it has no phase or no known state. `skipped` probes may have left
    out a record each. Where there is no attribution `missing` says why, and nothing else is set.
    """

    causes: tuple[Cause, ...] = ()
    unattributed_ns: int = 0
    missing: str = field(default="", metadata=SENTENCES)
    skipped: int = 0
