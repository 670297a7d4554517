"""How far all blackouts may be off by a constant, which no difference between them can show.

Two witnesses of the same transfers bound it. The guest cannot run during the blackout, so its own
gap, from last to first beat, lies around it: a blackout is at most as much too short as that gap is
longer. QEMU's own functions (uprobes: from the vCPUs paused to their resumption) lie inside it: a
blackout is at most as much too long as it is longer than they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from results.stats.intervals import median_ns

from .shots import Shot

# The guest's gap may be short by one logging threshold (200 µs) where its clock freezes, on top of
# the noise of laying its clock on the host's (150 µs).
OFFSET_TOLERANCE_NS = 350_000


@dataclass(frozen=True, slots=True)
class OffsetBound:
    """What witnesses allow of a constant offset in one cell, ns: medians over its shots.

    `low_ns` (too short, negative) is by the guest's gap, `high_ns` (too long) by QEMU's functions;
    None where that witness did not testify.
    """

    cell: str
    shots: int
    low_ns: int | None
    high_ns: int | None


def bound_offset(shots: Sequence[Shot]) -> tuple[OffsetBound, ...]:
    """The bounds of every cell, by its shots without a pause."""
    plain = [shot for shot in shots if not shot.asked_ns]
    return tuple(
        _bound(cell, [shot for shot in plain if shot.cell == cell])
        for cell in dict.fromkeys(shot.cell for shot in plain)
    )


def _bound(cell: str, shots: Sequence[Shot]) -> OffsetBound:
    return OffsetBound(
        cell,
        len(shots),
        median_ns(s.blackout_ns - s.guest_gap_ns for s in shots if s.guest_gap_ns is not None),
        median_ns(s.blackout_ns - s.uprobe_ns for s in shots if s.uprobe_ns is not None),
    )


def offset_faults(bounds: Sequence[OffsetBound]) -> Iterator[str]:
    """Bounds that exclude an instrument without an offset."""
    for bound in bounds:
        if bound.low_ns is not None and bound.low_ns > OFFSET_TOLERANCE_NS:
            yield (
                f"{bound.cell}: blackouts are {bound.low_ns / 1e6:.3f} ms longer than the guest's "
                "own gap around them"
            )
        if bound.high_ns is not None and bound.high_ns < -OFFSET_TOLERANCE_NS:
            yield (
                f"{bound.cell}: blackouts are {-bound.high_ns / 1e6:.3f} ms shorter than QEMU's "
                "own functions inside them"
            )


def widest(bounds: Sequence[OffsetBound]) -> tuple[int | None, int | None]:
    """The bounds that hold for all cells, ns; None where one cell has none."""
    lows = [bound.low_ns for bound in bounds]
    highs = [bound.high_ns for bound in bounds]
    return (
        min((ns for ns in lows if ns is not None), default=None) if None not in lows else None,
        max((ns for ns in highs if ns is not None), default=None) if None not in highs else None,
    )
