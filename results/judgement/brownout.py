"""The guest after the blackout: it runs, but how fast, and until when.

The payload counts its beats in a ring of short intervals of its own clock. The rate before the
handover is the measure; the guest is back when its rate over a window of intervals is at 95 % of
it. Why it is slow at first: second-level page tables and QEMU's own start empty, TCG has to
translate anew.
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
# Fewer windows than this before the handover are no measure of the guest's ordinary rate.
LEAST_WINDOWS = 8
_TICK_BITS = 32


@dataclass(frozen=True, slots=True)
class Brownout:
    """One vCPU's way back to its rate; durations in ns of the guest's clock, from the first beat.

    `length_ns` is None when the rate was not back within `watched_ns`. Its resolution is one
    interval, `step_ns`. `beats_lost` counts until the rate was back, or until the look ended.
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
    """What a vCPU's ring says of the time after its gap (`last_tick` to `first_tick`).

    None when the ring does not reach far enough back, or nothing after the gap was seen.
    """
    before, after = _sides(ring, last_tick, first_tick)
    started = next((i for i, count in enumerate(before) if count), len(before))
    before = before[started:]  # a guest that has only just been booted
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
    # The interval of the first beat is a part of one; what follows begins at its end.
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
    """The vCPU that took longest; one that was not back is longer than any that was."""
    known = [b for b in found if b is not None]
    return max(
        known,
        key=lambda b: (b.length_ns is None, b.length_ns or b.watched_ns, b.beats_lost),
        default=None,
    )


@dataclass(frozen=True, slots=True)
class Restoration:
    """The slowest vCPU's way back, and the faults of all; None where a vCPU's is not known.

    `brownout_ns` is None too where it was not back within `watched_ns`.
    """

    brownout_ns: int | None = None
    watched_ns: int | None = None
    beats_lost: int | None = None
    beats_per_s: float | None = None
    host_faults: int | None = None
    guest_faults: int | None = None


def restoration(recording: Recording, views: Mapping[int, GuestView | None]) -> Restoration:
    """How the guest came back to its rate; `views` are its vCPUs' pauses as they lived them."""
    found = []
    for beats in recording.beats:
        view = views.get(beats.index)
        if view is None or view.ticks is None or beats.ring is None:
            return Restoration()  # one vCPU that is not known may be the slowest
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
    """Sum of values that are all known; None without any."""
    known = list(values)
    return sum(v for v in known if v is not None) if known and None not in known else None


def _sides(ring: Ring, last_tick: int, first_tick: int) -> tuple[Sequence[int], Sequence[int]]:
    """Counts of the whole intervals before the gap and after the one of its first beat."""
    turns = 1 << (_TICK_BITS - ring.shift)

    def place(tick: int) -> int:
        offset = (interval_of(tick, ring.shift) - ring.first) % turns
        return offset - turns if offset >= turns // 2 else offset

    end, begin = max(0, place(last_tick)), max(0, place(first_tick) + 1)
    return ring.counts[:end], ring.counts[begin:]
