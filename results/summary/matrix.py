"""Updates from every build to every build: the blackout of each pair, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from results.records.harm import harm_of, worst
from results.records.run import Run
from results.stats.intervals import boot_medians, interval_over_boots, median_ns


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """One pair of builds: its median blackout in ns, or why there is none.

    It is the median over boots of each boot's median; `runs` and `valid` count updates, `boots`
    those boots with a valid one. `low_ns` and `high_ns` bound it with 95 % confidence, None where
    the boots are too few.
    """

    old: str
    new: str
    runs: int
    valid: int
    blackout_ns: int | None
    reason: str
    boots: int = 0
    low_ns: int | None = None
    high_ns: int | None = None
    harm: str = ""  # the worst that a failed run did to its guest, see results.records.harm


def matrix_cells(runs: Iterable[Run], labels: Sequence[str]) -> tuple[MatrixCell, ...]:
    """A cell for every ordered pair of `labels`, row by row (old), column by column (new)."""
    by_pair: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_pair.setdefault((run.old_build, run.new_build), []).append(run)
    return tuple(_cell(old, new, by_pair.get((old, new), [])) for old in labels for new in labels)


def _cell(old: str, new: str, runs: Sequence[Run]) -> MatrixCell:
    medians = boot_medians(runs)
    bounds, _ = interval_over_boots(medians)
    reason = next((run.reason for run in runs if run.outcome == "failed"), "")
    return MatrixCell(
        old,
        new,
        runs=len(runs),
        valid=sum(run.outcome == "completed" and run.blackout_ns is not None for run in runs),
        blackout_ns=median_ns(medians),
        # A pid would make one reason of many pairs look like many.
        reason=re.sub(r" \(pid \d+\)", "", reason) if runs else "not measured",
        boots=len(medians),
        low_ns=bounds[0] if bounds else None,
        high_ns=bounds[1] if bounds else None,
        harm=worst(map(harm_of, runs)) or "",
    )
