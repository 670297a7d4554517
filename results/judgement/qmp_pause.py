"""QMP's testimony: the pause from STOP to RESUME, by a wall clock that may be set meanwhile.

QEMU stamps its events with the wall clock. Each stamp bounds how far that clock is ahead of
CLOCK_MONOTONIC, as the event was emitted between two moments that are known. Where no one offset
fits all stamps, the wall clock was moved, and QMP does not testify.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

from results.records.reasons import Reason, because
from results.records.recording import QmpStamp, Recording
from results.timeline.marks import PAUSED, RESUMED, STOPPED, VM_START
from results.timeline.moments import Marks

_TOLERANCE_NS = 50_000
_SLEW = 500e-6  # the fastest at which adjtimex lets a clock run fast or slow


@dataclass(frozen=True, slots=True)
class QmpPause:
    """STOP to RESUME, ns; None where one of them is missing or the wall clock was moved."""

    length_ns: int | None = None
    warnings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class _Offset:
    """What one stamp says of the wall clock's offset to CLOCK_MONOTONIC, ns."""

    emitted_ns: int  # at the latest
    least_ns: int
    most_ns: int


def qmp_pause(recording: Recording, marks: Marks) -> QmpPause:
    """The pause by QMP's events, those of an earlier attempt left out."""
    sent = recording.steps.get("migrate", 0)
    stamps = [q for q in recording.qmp if q.ns >= sent and q.wall_us]
    moved = max(_moves([_offset(q, marks, sent) for q in stamps]), default=0)
    if moved:
        return QmpPause(warnings=(because("wall-clock-moved", moved_ns=moved),))
    stop = next((q for q in reversed(stamps) if (q.side, q.name) == ("old", "STOP")), None)
    resume = next((q for q in stamps if (q.side, q.name) == ("new", "RESUME")), None)
    if stop is None or resume is None:
        return QmpPause()
    length = (resume.wall_us - stop.wall_us) * 1000
    if length <= 0:
        return QmpPause(warnings=(because("wall-clock-moved", moved_ns=-length),))
    return QmpPause(length)


def _offset(stamp: QmpStamp, marks: Marks, sent_ns: int) -> _Offset:
    """The event was emitted after `migrate` was sent, before it was received, and between marks."""
    after, before = None, None
    if (stamp.side, stamp.name) == ("old", "STOP"):
        after, before = marks.at(PAUSED), marks.at(STOPPED)
    elif (stamp.side, stamp.name) == ("new", "RESUME"):
        after, before = marks.at(VM_START), marks.at(RESUMED)
    earliest = max(sent_ns, after.ns) if after else sent_ns
    latest = min(stamp.ns, before.ns) if before else stamp.ns
    wall = stamp.wall_us * 1000
    return _Offset(latest, wall - latest, wall - earliest)


def _moves(offsets: list[_Offset]) -> Iterator[int]:
    """How far at least the wall clock moved, to either side, between two stamps."""
    for one, other in permutations(offsets, 2):
        excess = other.least_ns - one.most_ns
        if excess > _TOLERANCE_NS + abs(other.emitted_ns - one.emitted_ns) * _SLEW:
            yield excess
