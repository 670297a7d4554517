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
    """What witnesses allow of a constant offset in one cell, ns.

    `low_ns` (too short, negative) is by the guest's gap, `high_ns` (too long) by QEMU's functions;
    None where that witness did not testify. Every shot bounds the offset; the quartile on the
    tight side is taken, as the tightest of all may owe it to noise.
    """

    cell: str
    shots: int
    low_ns: int | None
    high_ns: int | None


def bound_offset(shots: Sequence[Shot]) -> tuple[OffsetBound, ...]:
    """The bounds of every cell, by its shots without a pause."""
    return tuple(
        OffsetBound(cell, len(ours), _quantile(_around(ours), 0.75), _quantile(_inside(ours), 0.25))
        for cell, ours in _plain(shots).items()
    )


def offset_faults(shots: Sequence[Shot]) -> Iterator[str]:
    """Offsets that a witness excludes: in the median shot, beyond what its noise explains."""
    for cell, ours in _plain(shots).items():
        too_long, too_short = median_ns(_around(ours)), median_ns(_inside(ours))
        if too_long is not None and too_long > OFFSET_TOLERANCE_NS:
            yield (
                f"{cell}: blackouts are {too_long / 1e6:.3f} ms longer than the guest's own gap "
                "around them"
            )
        if too_short is not None and too_short < -OFFSET_TOLERANCE_NS:
            yield (
                f"{cell}: blackouts are {-too_short / 1e6:.3f} ms shorter than QEMU's own "
                "functions inside them"
            )


def _plain(shots: Sequence[Shot]) -> dict[str, list[Shot]]:
    """The shots without a pause by cell."""
    found: dict[str, list[Shot]] = {}
    for shot in shots:
        if not shot.asked_ns:
            found.setdefault(shot.cell, []).append(shot)
    return found


def _around(shots: Sequence[Shot]) -> list[int]:
    return [s.blackout_ns - s.guest_gap_ns for s in shots if s.guest_gap_ns is not None]


def _inside(shots: Sequence[Shot]) -> list[int]:
    return [s.blackout_ns - s.uprobe_ns for s in shots if s.uprobe_ns is not None]


def _quantile(values: Sequence[int], share: float) -> int | None:
    """The value that about `share` of all are at or below; None without values."""
    return sorted(values)[round(share * (len(values) - 1))] if values else None


def widest(bounds: Sequence[OffsetBound]) -> tuple[int | None, int | None]:
    """The bounds that hold for all cells, ns; None where one cell has none."""
    lows = [bound.low_ns for bound in bounds]
    highs = [bound.high_ns for bound in bounds]
    return (
        min((ns for ns in lows if ns is not None), default=None) if None not in lows else None,
        max((ns for ns in highs if ns is not None), default=None) if None not in highs else None,
    )
