"""Numbered streams of a guest's devices around a transfer: losses, repetitions and gaps.

The guest sends 1, 2, 3, … to each device; the host timestamps every number as it arrives. A number
that never arrives was lost; one that arrives twice or out of order was repeated or delayed.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from statistics import median_low

from results.records.observations import Stream, StreamLog
from results.records.reasons import Reason, because

# Numbers in flight still arrive after the vCPUs have stopped.
TOLERANCE_NS = 1_000_000
# Numbers that must arrive after the blackout: fewer may have been in flight before.
LEAST_AFTER = 10


def judge_stream(log: StreamLog, blackout: tuple[int, int] | None, resumed_ns: int) -> Stream:
    """Judge one stream; `blackout` is the VM's (start, end) in host ns, None if unknown.

    `resumed_ns` is when the guest was known to run in new QEMU.
    """
    numbers = [number for _, number in log.arrivals]
    known = set(numbers)
    first, last = min(known, default=None), max(known, default=None)
    lost = last - first + 1 - len(known) if first is not None and last is not None else 0
    back = sum(later <= earlier for earlier, later in pairwise(numbers))
    since = blackout[1] if blackout is not None else resumed_ns
    found = Stream(
        name=log.name,
        first=first,
        last=last,
        lost=lost,
        repeated=max(back, len(numbers) - len(known)),
        after=sum(ns >= since for ns, _ in log.arrivals),
        longest_gap_ns=_longest(log, blackout),
        usual_gap_ns=_usual(log),
    )
    troubles = tuple(trouble.text for trouble in _troubles(found, log, blackout))
    return replace(found, troubles=troubles)


def _longest(log: StreamLog, blackout: tuple[int, int] | None) -> int | None:
    gaps = [
        (later - earlier, earlier, later) for (earlier, _), (later, _) in pairwise(log.arrivals)
    ]
    if blackout is not None:
        gaps = [gap for gap in gaps if gap[1] < blackout[1] and gap[2] > blackout[0]]
    return max((length for length, _, _ in gaps), default=None)


def _usual(log: StreamLog) -> int | None:
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(log.arrivals)]
    return median_low(gaps) if gaps else None


def _troubles(found: Stream, log: StreamLog, blackout: tuple[int, int] | None) -> list[Reason]:
    name = found.name
    reasons = []
    if found.lost and found.first is not None and found.last is not None:
        reasons.append(
            because(
                "stream-lost",
                stream=name,
                lost=found.lost,
                first=found.first,
                last=found.last,
            )
        )
    if found.repeated:
        reasons.append(because("stream-repeated", stream=name, repeated=found.repeated))
    if any(later < earlier for (earlier, _), (later, _) in pairwise(log.arrivals)):
        reasons.append(because("stream-disordered", stream=name))
    if log.wrong:
        reasons.append(because("stream-wrong", stream=name, blocks=log.wrong))
    if log.torn:
        reasons.append(because("stream-torn", stream=name, bytes=log.torn))
    if found.after < LEAST_AFTER:
        reasons.append(because("stream-ended", stream=name, after=found.after))
    elif blackout is not None:
        reasons += _too_short(found, blackout[1] - blackout[0])
    return reasons


def _too_short(found: Stream, blackout_ns: int) -> list[Reason]:
    """A reason if numbers arrived while the guest did not run."""
    gap = found.longest_gap_ns
    if gap is None:
        return [because("stream-gap-missing", stream=found.name, blackout_ns=blackout_ns)]
    if gap >= blackout_ns - TOLERANCE_NS:
        return []
    return [because("stream-gap-short", stream=found.name, gap_ns=gap, blackout_ns=blackout_ns)]
