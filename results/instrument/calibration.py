"""Pauses of known length against what was measured of them: from shots to a certificate.

The error is that of the section of the blackout that holds the pause (results.instrument.shots).
Two checks keep it honest, both against the shots without a pause: the whole blackout grew by the
pause (and by a little more: a QEMU that stood still is slower for a while, and the guest waits for
that too), and what the guest lost by its own beats grew as the blackout did. A check that could
not be carried out, a shot that was lost: neither passes silently.

All of these are differences between transfers, so a constant offset of every blackout cancels out.
Only other witnesses bound it: results.instrument.constant_offset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from results.stats.intervals import CONFIDENCE, median_ns
from results.stats.shift import interval_rank

from .constant_offset import OffsetBound, bound_offset, offset_faults
from .levels import Level, Precision, impossible_checks, judge_level, powerless_checks
from .shots import Kind, LostShot, Shot

# Lost transfers that a calibration may have: so few cannot hide that only the good ones are seen.
MOST_LOST = 0.05


@dataclass(frozen=True, slots=True)
class Fit:
    """Recovered = offset + slope x injected, by Theil and Sen's medians, over one cell and kind."""

    cell: str
    kind: Kind
    slope: float
    offset_ns: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a set of shots shows. `lost` counts the transfers that gave none, by reason.

    `constant` bounds the constant offset of all blackouts, which the shots cannot show; empty in
    certificates of earlier versions. `notes` are checks that a kind of pause does not allow.
    """

    passed: bool
    slope: float
    offset_ns: int
    levels: tuple[Level, ...]
    fits: tuple[Fit, ...]
    faults: tuple[str, ...]
    lost: dict[str, int] = field(default_factory=dict)
    constant: tuple[OffsetBound, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def worst_error_ns(self) -> int:
        """The median error furthest from 0 among all levels, ns."""
        return max((level.error_ns for level in self.levels), key=abs, default=0)

    @property
    def judged(self) -> bool:
        """Whether any level could be checked: without, it is neither passed nor failed."""
        return any(level.blackout_checked for level in self.levels)


def shots_needed(levels: int) -> int:
    """Shots of each length, and without a pause, below which the checks have no interval.

    `levels` are the lengths of pause over all cells and kinds: their intervals hold together.
    """
    confidence = _confidence(levels)
    needed = 1
    while not interval_rank(((needed, needed),), confidence):
        needed += 1
    return needed


def _confidence(levels: int) -> float:
    """Sixty intervals of 95 % each would contradict one another by chance: together they hold."""
    return 1.0 - (1.0 - CONFIDENCE) / max(1, levels)


def calibrate(shots: Sequence[Shot], lost: Sequence[LostShot] = ()) -> Calibration:
    """Judge the shots of a session, given the planned transfers that gave none."""
    everything: tuple[Shot | LostShot, ...] = (*shots, *lost)
    planned = dict.fromkeys((shot.cell, shot.kind, shot.asked_ns) for shot in everything)
    count = sum(asked > 0 for _, _, asked in planned)
    precision = Precision(_confidence(count), shots_needed(count))
    series = [
        _judge_series(
            cell,
            kind,
            [shot for shot in shots if (shot.cell, shot.kind) == (cell, kind)],
            sorted(asked for c, k, asked in planned if (c, k) == (cell, kind) and asked),
            precision,
        )
        for cell, kind in dict.fromkeys((cell, kind) for cell, kind, _ in planned)
    ]
    faults = [
        *(fault for one in series for fault in one.faults),
        *offset_faults(shots),
        *([] if any(one.levels for one in series) else ["no pause was measured"]),
        *_too_many_lost(len(shots), len(lost)),
    ]
    slope, offset = _line([point for one in series for point in one.points])
    return Calibration(
        passed=not faults,
        slope=slope,
        offset_ns=offset,
        levels=tuple(level for one in series for level in one.levels),
        fits=tuple(Fit(one.cell, one.kind, *_line(one.points)) for one in series if one.points),
        faults=tuple(faults),
        lost=dict(Counter(shot.reason for shot in lost)),
        constant=bound_offset(shots),
        notes=tuple(note for one in series for note in one.notes),
    )


@dataclass(frozen=True, slots=True)
class _Series:
    """All lengths of one kind of pause in one cell; `points` are pairs of injected, recovered."""

    cell: str
    kind: Kind
    points: tuple[tuple[int, int], ...] = ()
    levels: tuple[Level, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _judge_series(
    cell: str, kind: Kind, shots: Sequence[Shot], lengths: Sequence[int], precision: Precision
) -> _Series:
    name = f"{cell}, {kind}"
    plain = [shot for shot in shots if not shot.asked_ns]
    base = median_ns(shot.section_ns - shot.injected_ns for shot in plain)
    if base is None:
        return _Series(cell, kind, faults=(f"{name}: no transfer without a pause was measured",))
    levels: list[Level] = []
    faults: list[str] = []
    for asked in lengths:
        ours = [shot for shot in shots if shot.asked_ns == asked]
        if ours:
            levels.append(judge_level(ours, plain, base, precision))
            faults += [f"{name}, {asked / 1e6:g} ms: {text}" for text in levels[-1].faults]
        else:
            faults.append(f"{name}, {asked / 1e6:g} ms: every transfer was lost")
    return _Series(
        cell,
        kind,
        tuple((shot.injected_ns, shot.section_ns - base) for shot in shots),
        tuple(levels),
        (*faults, *(f"{name}: {text}" for text in powerless_checks(levels))),
        tuple(f"{name}: {text}" for text in impossible_checks(levels)),
    )


def _too_many_lost(shots: int, lost: int) -> Iterator[str]:
    if lost > MOST_LOST * (shots + lost):
        share = lost / (shots + lost)
        yield (
            f"{lost} of {shots + lost} transfers were lost ({share:.0%}), {MOST_LOST:.0%} may be"
        )


def _line(points: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """Slope and offset (ns) that a few wild shots cannot bend.

    Source: Theil, Proc. Kon. Ned. Akad. Wet. 53 (1950) 386; Sen, JASA 63 (1968) 1379.
    """
    if len({x for x, _ in points}) < 2:
        return 0.0, 0
    # Half a second to import.
    import numpy as np
    from scipy.stats import theilslopes

    injected, recovered = (np.array(side, dtype=np.float64) for side in zip(*points, strict=True))
    slope = float(theilslopes(recovered, injected)[0])
    return slope, round(float(np.median(recovered - slope * injected)))
