"""Updates from every build to every build: the blackout of each pair, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from results.records.run import Run
from results.stats.intervals import boot_medians, median_ns


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """One pair of builds: the median blackout in ns, or why there is none.

    It is the median over boots of each boot's median; `runs` and `valid` count updates.
    """

    old: str
    new: str
    runs: int
    valid: int
    blackout_ns: int | None
    reason: str


def matrix_cells(runs: Iterable[Run], labels: Sequence[str]) -> tuple[MatrixCell, ...]:
    """A cell for every ordered pair of `labels`, row by row (old), column by column (new)."""
    by_pair: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_pair.setdefault((run.old_build, run.new_build), []).append(run)
    return tuple(_cell(old, new, by_pair.get((old, new), [])) for old in labels for new in labels)


def _cell(old: str, new: str, runs: Sequence[Run]) -> MatrixCell:
    valid = sum(run.outcome == "completed" and run.blackout_ns is not None for run in runs)
    reason = next((run.reason for run in runs if run.outcome == "failed"), "")
    reason = re.sub(r" \(pid \d+\)", "", reason)  # one cause is one reason, whichever process
    if not runs:
        reason = "not measured"
    return MatrixCell(old, new, len(runs), valid, median_ns(boot_medians(runs)), reason)
