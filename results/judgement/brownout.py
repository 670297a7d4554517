"""The brownout: how long the guest runs slower after the blackout.

The payload counts its beats in a ring of short intervals of its own clock. The rate before the
handover is the reference; the guest has recovered when its rate over a window of intervals is at
95 % of it. It is slow at first because second-level page tables and those of new QEMU are empty,
and TCG has to translate all code again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from results.records.observations import Ring
from results.records.recording import Recording

from .guest_clock import GuestView

RESTORED_SHARE = 0.95
# A window of five intervals (some 2 ms): one interval alone is emptied by any interrupt.
WINDOW = 5
# With fewer windows before the handover the guest's usual rate is unknown.
LEAST_WINDOWS = 8
_TICK_BITS = 32


@dataclass(frozen=True, slots=True)
class Brownout:
    """Recovery of one vCPU's rate; durations in ns of the guest's clock, from the first beat.

    `length_ns` is None if the rate had not recovered within `watched_ns`. Its resolution is one
    interval, `step_ns`. `beats_lost` counts until the recovery, or until the end of `watched_ns`.
    """

    length_ns: int | None
    watched_ns: int
    beats_lost: int
    beats_per_s: float  # before the handover
    step_ns: int


def interval_of(tick: int, shift: int) -> int:
    """Number of the interval that a tick (32 bits, wrapping) lies in."""
    return (tick % (1 << _TICK_BITS)) >> shift


def follow(ring: Ring, last_tick: int, first_tick: int, tick_ns: float) -> Brownout | None:
    """The brownout after a vCPU's gap (`last_tick` to `first_tick`), from its ring.

    None if the ring does not reach far enough back, or shows too little after the gap.
    """
    before, after = _sides(ring, last_tick, first_tick)
    started = next((i for i, count in enumerate(before) if count), len(before))
    before = before[started:]  # empty where the guest has only just booted
    windows = [sum(before[i : i + WINDOW]) for i in range(0, len(before) - WINDOW + 1, WINDOW)]
    if len(windows) < LEAST_WINDOWS or len(after) < WINDOW or tick_ns <= 0:
        return None
    usual = float(median(windows)) / WINDOW
    if usual <= 0:
        return None
    step = tick_ns * (1 << ring.shift)
    enough = RESTORED_SHARE * usual * WINDOW
    back = next(
        (
            start
            for start in range(len(after) - WINDOW + 1)
            if sum(after[start : start + WINDOW]) >= enough
        ),
        None,
    )
    # The guest resumed within the interval of its first beat; `after` starts at that one's end.
    part = ((1 << ring.shift) - first_tick % (1 << ring.shift)) * tick_ns
    slow = after[: back if back is not None else len(after)]
    return Brownout(
        length_ns=None if back is None else round(part + back * step) if back else 0,
        watched_ns=round(part + len(after) * step),
        beats_lost=max(0, round(len(slow) * usual - sum(slow))),
        beats_per_s=usual / step * 1e9,
        step_ns=round(step),
    )


def worst(found: Iterable[Brownout | None]) -> Brownout | None:
    """The vCPU that took longest; one that did not recover ranks above all that did."""
    known = [b for b in found if b is not None]
    return max(
        known,
        key=lambda b: (
            b.length_ns is None,
            b.watched_ns if b.length_ns is None else b.length_ns,
            b.beats_lost,
        ),
        default=None,
    )


@dataclass(frozen=True, slots=True)
class Restoration:
    """Recovery of the slowest vCPU, and the faults of all; None if some vCPU's is unknown.

    `brownout_ns` is also None if it did not recover within `watched_ns`.
    """

    brownout_ns: int | None = None
    watched_ns: int | None = None
    beats_lost: int | None = None
    beats_per_s: float | None = None
    host_faults: int | None = None
    guest_faults: int | None = None


def restoration(recording: Recording, views: Mapping[int, GuestView | None]) -> Restoration:
    """Recovery of the guest's rate; `views` are its vCPUs' pauses as the guest saw them."""
    found = []
    for beats in recording.beats:
        view = views.get(beats.index)
        if view is None or view.ticks is None or beats.ring is None:
            return Restoration()  # the unknown vCPU may be the slowest
        found.append(follow(beats.ring, *view.ticks, recording.tick_ns))
    slowest = worst(found) if all(found) else None
    if slowest is None:
        return Restoration()
    return Restoration(
        slowest.length_ns,
        slowest.watched_ns,
        slowest.beats_lost,
        round(slowest.beats_per_s, 1),
        _sum(bracket.host_faults for bracket in recording.brackets),
        _sum(bracket.guest_faults for bracket in recording.brackets),
    )


def _sum(values: Iterable[int | None]) -> int | None:
    """Sum of the values; None if there are none or one is unknown."""
    known = list(values)
    return sum(v for v in known if v is not None) if known and None not in known else None


def _sides(ring: Ring, last_tick: int, first_tick: int) -> tuple[Sequence[int], Sequence[int]]:
    """Counts of the complete intervals before the gap, and after the one of the first beat."""
    turns = 1 << (_TICK_BITS - ring.shift)

    def place(tick: int) -> int:
        offset = (interval_of(tick, ring.shift) - ring.first) % turns
        return offset - turns if offset >= turns // 2 else offset

    end, begin = max(0, place(last_tick)), max(0, place(first_tick) + 1)
    return ring.counts[:end], ring.counts[begin:]
