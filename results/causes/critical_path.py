"""The critical path of the blackout, found by following wakeups backwards across both processes.

A timeline of every thread is built from the scheduler's events: on a CPU, runnable, blocked,
stopped. The walk starts at the first guest entry and goes back in time. A blocked thread waited for
the thread that woke it, so the walk continues there; a write to a socket leads to the other
process. No instant is counted twice or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from results.records.scheduler import SchedulerEvent, Scheduling, State

from .wait_reasons import STOPPED, can_wake, waits_for

Namer = Callable[[int, str], str]  # thread, its name in the event → how it is displayed
_GOOD_PART = 0.25
BEFORE = "something that began before the watch"  # stored, so the wording stays


@dataclass(frozen=True, slots=True)
class Stretch:
    """One state of one thread; `waker` is the event that ended a wait."""

    start_ns: int
    end_ns: int
    state: State
    on: str = ""
    by: str = ""
    left: SchedulerEvent | None = None
    waker: SchedulerEvent | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the critical path; `tid` is 0 if the thread is unknown."""

    tid: int
    start_ns: int
    end_ns: int
    state: State
    on: str = ""
    by: str = ""


@dataclass(slots=True)
class _Line:
    """A thread's timeline under construction; `state` is None until its first event."""

    since_ns: int
    state: State | None = None
    left: SchedulerEvent | None = None  # how it left the CPU
    raced: SchedulerEvent | None = None  # woken before it was switched out
    past: list[Stretch] = field(default_factory=list)

    def turn(
        self,
        ns: int,
        state: State,
        *,
        was: State | None = None,
        on: str = "",
        by: str = "",
        waker: SchedulerEvent | None = None,
    ) -> None:
        """End the current state at `ns`, corrected to `was` if given, and start `state`."""
        ended = was or self.state or "unknown"
        if ns > self.since_ns:
            self.past.append(Stretch(self.since_ns, ns, ended, on, by, self.left, waker))
        self.since_ns, self.state = max(ns, self.since_ns), state


def time_lines(scheduling: Scheduling, end_ns: int, name: Namer) -> dict[int, list[Stretch]]:
    """Thread → its states in order of time, from the start of tracing to `end_ns`."""
    lines = {thread.tid: _Line(scheduling.since_ns) for thread in scheduling.threads}
    cpus: dict[int, _Cpu] = {}
    for event in scheduling.events:
        if event.ns > end_ns:
            break
        if event.kind == "switch":
            cpu = cpus.setdefault(event.cpu, _Cpu())
            cpu.turn(event, lines)
            if event.tid in lines:
                _leave(lines[event.tid], event)
            if event.other in lines:
                _come(lines[event.other], event, cpu, name)
        elif event.kind == "wake":
            if event.other in lines:
                _wake(lines[event.other], event, name)
        else:
            lines[event.other] = begun = _Line(scheduling.since_ns, "blocked")
            _wake(begun, event, name)
    for line in lines.values():
        on = waits_for(line.left) if line.state == "blocked" and line.left else ""
        line.turn(end_ns, "unknown", on=on)
    return {tid: line.past for tid, line in lines.items()}


@dataclass(slots=True)
class _Cpu:
    """Which threads ran on one CPU, and since when."""

    turns: list[tuple[int, int]] = field(default_factory=list)  # since, thread
    names: dict[int, str] = field(default_factory=dict)

    def turn(self, event: SchedulerEvent, watched: Mapping[int, object]) -> None:
        if not self.turns:
            self.turns.append((0, event.tid))
        named = event.tid if event.other in watched else event.other
        if named not in watched:
            self.names[named] = event.name
        self.turns.append((event.ns, event.other))

    def had_by(self, start_ns: int, end_ns: int, name: Namer) -> str:
        """Who ran on it for most of that time, and who else for at least a quarter of it."""
        shares: dict[str, int] = {}
        until = end_ns
        for since, tid in reversed(self.turns):
            if since >= until:
                continue
            called = name(tid, self.names.get(tid, ""))
            shares[called] = shares.get(called, 0) + until - max(since, start_ns)
            until = since
            if until <= start_ns:
                break
        most = sorted(shares, key=lambda called: -shares[called])[:2]
        good = [c for c in most if shares[c] >= _GOOD_PART * (end_ns - start_ns)] or most[:1]
        return " and ".join(good)


def _leave(line: _Line, event: SchedulerEvent) -> None:
    was: State = "on-cpu" if line.state in (None, "on-cpu") else "unknown"
    left: State = "blocked" if event.state else "runnable"
    if event.state & STOPPED:
        left = "stopped"
    if left == "runnable":
        line.raced = None
    line.turn(event.ns, left, was=was)
    line.left = event


def _come(line: _Line, event: SchedulerEvent, cpu: _Cpu, name: Namer) -> None:
    """Switched in: until now it was runnable, even if its last known state is another."""
    waited = line.state in ("blocked", "stopped") and not line.raced
    was: State | None = None
    if line.state == "on-cpu":
        was = "unknown"
    elif line.state is None or line.raced:
        # Not woken since tracing started, or woken before it was switched out: it did not block.
        was = "runnable"
    on = waits_for(line.left) if waited and line.left is not None else ""
    by = "" if waited else cpu.had_by(line.since_ns, event.ns, name)
    line.turn(event.ns, "on-cpu", was=was, on=on, by=by)
    line.left = line.raced = None


def _wake(line: _Line, event: SchedulerEvent, name: Namer) -> None:
    if line.state == "on-cpu":
        line.raced = event
    elif line.state in (None, "blocked", "stopped"):
        was: State = line.state or "blocked"
        on = waits_for(line.left) if line.left else BEFORE
        by = name(event.tid, event.name)
        line.turn(event.ns, "runnable", was=was, on=on, by=by, waker=event)
        line.left = line.raced = None  # runnable by a wakeup, not by preemption


def walk_back(
    lines: Mapping[int, Sequence[Stretch]], tid: int, start_ns: int, end_ns: int
) -> list[Piece]:
    """The critical path from `start_ns` to `end_ns`, where it ends in thread `tid`.

    Adjacent pieces share their ends, so they add up to the complete interval.
    """
    path: list[Piece] = []
    now = end_ns
    while now > start_ns:
        stretch = _at(lines.get(tid, ()), now)
        if stretch is None:
            path.append(Piece(0, start_ns, now, "unknown"))
            break
        hop = _waker_of(lines, stretch, now)
        if hop is not None:
            tid = hop
            continue
        begin = max(stretch.start_ns, start_ns)
        path.append(Piece(tid, begin, now, stretch.state, stretch.on, stretch.by))
        now = begin
    path.reverse()
    return path


def _at(stretches: Sequence[Stretch], ns: int) -> Stretch | None:
    """The stretch that contains the instant just before `ns`."""
    return next((s for s in reversed(stretches) if s.start_ns < ns <= s.end_ns), None)


def _waker_of(lines: Mapping[int, Sequence[Stretch]], stretch: Stretch, now: int) -> int | None:
    """The thread that a blocked one waited for, if it is known and was running at `now`."""
    waker = stretch.waker
    if waker is None or stretch.state not in ("blocked", "stopped") or waker.tid not in lines:
        return None
    if not can_wake(stretch.left, waker):
        return None
    at = _at(lines[waker.tid], now)
    return waker.tid if at is not None and at.state == "on-cpu" else None
