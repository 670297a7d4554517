"""Attribution of every ns of a blackout to a phase, a thread and that thread's state: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from results.records.reasons import because
from results.records.recording import Recording
from results.records.scheduler import Attribution, Cause, Segment
from results.timeline.moments import Marks
from results.timeline.order import check_marks
from results.timeline.phases import phase_owners

from .critical_path import Namer, Piece, time_lines, walk_back

Role = tuple[str, str]  # side, thread
_NOBODY: Role = ("", "")
IDLE = "an interrupt"
OURSELVES = "pausebench itself"


def attribute(recording: Recording, window: tuple[int, int], tid: int) -> Attribution | None:
    """Causes of the blackout `window`, which ended when thread `tid` entered the guest.

    None if the scheduler was not traced at all.
    """
    scheduling = recording.scheduling
    if scheduling is None:
        return None
    why = scheduling.missing
    if scheduling.lost:
        why = because("scheduler-lost", records=scheduling.lost).text
    elif not why and scheduling.since_ns > window[0]:
        why = because("scheduler-late").text
    if why:
        return Attribution(missing=why)
    found = summarise(critical_path(recording, window, tid))
    return replace(found, skipped=scheduling.skipped)


def critical_path(recording: Recording, window: tuple[int, int], tid: int) -> tuple[Segment, ...]:
    """What the blackout waited for, in order of time and without a gap.

    Empty if the scheduler was not traced.
    """
    if recording.scheduling is None:
        return ()
    marks = check_marks(recording).trusted
    roles = thread_roles(recording, marks)
    lines = time_lines(recording.scheduling, window[1], _namer(recording, roles))
    pieces = walk_back(lines, tid, *window)
    owners = phase_owners(marks, recording.steps, recording.scenario.mode, window)
    return cut(pieces, owners, roles)


def cut(
    pieces: Iterable[Piece], owners: Sequence[tuple[int, int, str]], roles: dict[int, Role]
) -> tuple[Segment, ...]:
    """The path split where the phase changes."""
    edges = sorted({start for start, _, _ in owners})
    phase_at = {start: phase for start, _, phase in owners}
    found = []
    for piece in pieces:
        side, thread = roles.get(piece.tid, _NOBODY)
        inside = [edge for edge in edges if piece.start_ns < edge < piece.end_ns]
        for start, end in pairwise([piece.start_ns, *inside, piece.end_ns]):
            begun = max((edge for edge in edges if edge <= start), default=None)
            phase = phase_at[begun] if begun is not None else ""
            found.append(
                Segment(start, end, side, thread, piece.tid, piece.state, piece.on, piece.by, phase)
            )
    return tuple(found)


def summarise(segments: Iterable[Segment]) -> Attribution:
    """Equal segments merged; the causes add up to the same total as the segments."""
    groups: dict[tuple[str, ...], list[Segment]] = {}
    for segment in segments:
        key = (segment.phase, segment.side, segment.thread, segment.state, segment.on)
        groups.setdefault(key, []).append(segment)
    causes = []
    for group in groups.values():
        first = group[0]
        total = sum(segment.length_ns for segment in group)
        causes.append(
            Cause(first.phase, first.side, first.thread, first.state, first.on, _most(group),
                  total, len(group))
        )  # fmt: skip
    causes.sort(key=lambda cause: -cause.ns)
    unattributed = sum(c.ns for c in causes if not c.phase or c.state == "unknown")
    return Attribution(tuple(causes), unattributed)


def _most(group: Sequence[Segment]) -> str:
    """The `by` that accounts for most of the time."""
    shares: dict[str, int] = {}
    for segment in group:
        shares[segment.by] = shares.get(segment.by, 0) + segment.length_ns
    return max(shares, key=lambda by: shares[by])


# -- names of threads --------------------------------------------------------------------------


def thread_roles(recording: Recording, marks: Marks) -> dict[int, Role]:
    """Thread → its side and its role, by names that are the same in every run."""
    sides = {recording.old.pid: "old", recording.new.pid: "new"}
    roles: dict[int, Role] = {}
    assert recording.scheduling is not None
    names = {thread.pid: thread.name for thread in recording.scheduling.threads
             if thread.tid == thread.pid}  # fmt: skip
    for thread in recording.scheduling.threads:
        # QEMU names its threads only with debug-threads=on; else all have the program's name.
        known = thread.name if thread.name != names.get(thread.pid) else "helper thread"
        roles[thread.tid] = (sides.get(thread.pid, ""), known)
    for begun in recording.scheduling.events:
        if begun.kind == "fork":
            roles[begun.other] = (roles.get(begun.tid, _NOBODY)[0], "helper thread")
    for side, process in (("old", recording.old), ("new", recording.new)):
        roles[process.pid] = (side, "main thread")
        for number, tid in enumerate(process.vcpu_tids):
            roles[tid] = (side, f"vCPU {number}")
    for mark in ("setup", "complete"):
        for event in marks.all("old", mark, "enter"):
            if event.tid != event.pid:
                roles[event.tid] = ("old", "migration thread")
    return roles


def _namer(recording: Recording, roles: dict[int, Role]) -> Namer:
    """How a thread is displayed: by its role, or by its own name."""
    own = frozenset(recording.scheduling.own) if recording.scheduling else frozenset()

    def name(tid: int, called: str) -> str:
        if tid in roles:
            side, thread = roles[tid]
            return f"{side} QEMU's {thread}"
        if tid == 0:
            return IDLE
        return OURSELVES if tid in own else called or f"thread {tid}"

    return name


__all__ = ["attribute", "critical_path", "cut", "summarise", "thread_roles"]
