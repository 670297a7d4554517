"""The rule that turns numbers into a verdict, and the record of one cell of a comparison.

The rule, for the interval [low, high] of the shift B - A (95 %, over boots) and the cell's
threshold, the largest of a relative size, an absolute size and the host's A/A noise:

- regressed: low > threshold, improved: high < -threshold. The whole interval must clear it, and
  the adjusted p over all cells must be at most 0.05, so that many cells raise no more false alarms
  than one.
- same: -threshold <= low and high <= threshold. Being the same takes evidence too.
- undecided: anything else, and whatever cannot be computed. `smallest_detectable_ns` says what
  would have been seen.

More failing boots in B than in A is a finding beside the verdict: a handover that fails has no
blackout, so no median can show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Literal

from results.stats.intervals import CONFIDENCE
from results.stats.proportions import Budget, Failures
from results.stats.shift import Shift, adjust_for_many

Verdict = Literal["regressed", "improved", "same", "undecided"]
Method = Literal["blocks", "pooled", "none"]

SIGNIFICANCE = 1.0 - CONFIDENCE
# How often a change of `smallest_detectable_ns` is found.
POWER = 0.8
# A shift s is found when s - half-width > threshold, and its estimate scatters around the true
# shift with a standard error of about half-width / 1.96. It exceeds threshold + half-width + 0.84
# standard errors with POWER when the true shift is that much. Simulated in
# tests/results/test_comparison.py.
_REACH = 1.0 + NormalDist().inv_cdf(POWER) / NormalDist().inv_cdf((1.0 + CONFIDENCE) / 2.0)

SAME, REGRESSED, INVALID, UNDECIDED = 0, 1, 3, 5  # exit codes


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a change must clear to count: a share of A's median, a size, the host's A/A noise."""

    relative: float = 0.05
    absolute_ns: int = 200_000
    noise_ns: int = 0

    def size_ns(self, median_a_ns: int) -> int:
        """The largest of the three for a cell in which A's median is `median_a_ns`."""
        return max(round(self.relative * abs(median_a_ns)), self.absolute_ns, self.noise_ns)


@dataclass(frozen=True, slots=True)
class PhaseShift:
    """One phase's shift of its share of the blackout; None where one side never saw the phase."""

    name: str
    median_a_ns: int | None
    median_b_ns: int | None
    shift: Shift


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario, A against B. Times in ns, `n_a` and `n_b` in boots with a valid run.

    `method`: blocks, when A and B were compared within their A B B A blocks; pooled, when all boots
    were compared with all; none without boots. `apart`: one side was measured before the other.
    `smallest_detectable_ns` would have been found in 80 of 100 such comparisons.
    """

    scenario: str
    metric: str  # blackout, another duration of a Run without its _ns, or a phase
    verdict: Verdict = "undecided"
    reason: str = ""  # of `undecided`
    shift_ns: int | None = None
    low_ns: int | None = None
    high_ns: int | None = None
    shift_percent: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    threshold_ns: int | None = None
    smallest_detectable_ns: int | None = None
    median_a_ns: int | None = None
    median_b_ns: int | None = None
    n_a: int = 0
    n_b: int = 0
    method: Method = "none"
    apart: bool = False
    failures_a: Failures = field(default_factory=Failures)
    failures_b: Failures = field(default_factory=Failures)
    failures_p: float | None = None
    more_failures: bool = False
    budgets_a: tuple[Budget, ...] = ()
    budgets_b: tuple[Budget, ...] = ()
    phases: tuple[PhaseShift, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether both sides have a valid run."""
        return self.n_a > 0 and self.n_b > 0

    @property
    def half_width_ns(self) -> int | None:
        """Half of the interval, rounded up: what a precision is asked of."""
        if self.low_ns is None or self.high_ns is None:
            return None
        return (self.high_ns - self.low_ns + 1) // 2

    @property
    def moved(self) -> tuple[PhaseShift, ...]:
        """The phases that made a changed cell change, largest first, then those against it.

        Only phases whose interval excludes 0, and none in a cell that did not change: among some
        ten phases at 95 % one would be named for nothing in a third of all cells.
        """
        if self.verdict not in ("regressed", "improved"):
            return ()
        up = self.verdict == "regressed"
        clear = [(p, p.shift.shift_ns) for p in self.phases if p.shift.clear]
        known = [(phase, shift) for phase, shift in clear if shift is not None]
        known.sort(key=lambda item: ((item[1] > 0) != up, -abs(item[1])))
        return tuple(phase for phase, _ in known)


def measure_against(cell: Cell, thresholds: Thresholds) -> Cell:
    """The cell with its threshold, its shift in percent of A and what could have been seen."""
    if cell.median_a_ns is None:
        return cell
    threshold = thresholds.size_ns(cell.median_a_ns)
    percent = None
    if cell.shift_ns is not None and cell.median_a_ns > 0:
        percent = cell.shift_ns / cell.median_a_ns * 100.0
    half = cell.half_width_ns
    return replace(
        cell,
        threshold_ns=threshold,
        shift_percent=percent,
        smallest_detectable_ns=None if half is None else threshold + round(half * _REACH),
    )


def judge_cells(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Give every cell its adjusted p, its verdict with a reason, and whether B fails more."""
    ps = adjust_for_many([cell.p for cell in cells])
    failure_ps = adjust_for_many([cell.failures_p for cell in cells])
    judged = []
    for cell, p, failure_p in zip(cells, ps, failure_ps, strict=True):
        verdict, reason = _verdict(replace(cell, p_adjusted=p), len(cells))
        more = failure_p is not None and failure_p <= SIGNIFICANCE
        judged.append(
            replace(cell, p_adjusted=p, verdict=verdict, reason=reason, more_failures=more)
        )
    return tuple(judged)


def _verdict(cell: Cell, count: int) -> tuple[Verdict, str]:
    low, high, threshold, p = cell.low_ns, cell.high_ns, cell.threshold_ns, cell.p_adjusted
    if not cell.valid:
        sides = [name for name, n in (("A", cell.n_a), ("B", cell.n_b)) if not n]
        return "undecided", f"no valid run of {' and '.join(sides)}"
    if low is None or high is None or threshold is None or p is None:
        return "undecided", (
            f"{cell.n_a} and {cell.n_b} boots are too few for a 95 % interval; it takes 4 and 4"
        )
    if low > threshold or high < -threshold:
        if p > SIGNIFICANCE:
            return "undecided", f"clear by itself, but not as one of {count} cells (p {p:.2g})"
        return ("regressed" if low > threshold else "improved"), ""
    if -threshold <= low and high <= threshold:
        return "same", ""
    return "undecided", "the interval holds shifts that count and shifts that do not"


def exit_code(cells: Sequence[Cell], *, strict: bool = False) -> int:
    """0 same or improved, 1 regressed, 3 invalid, 5 undecided when strict; see Comparison."""
    if any(cell.verdict == "regressed" or cell.more_failures for cell in cells):
        return REGRESSED
    if not cells or not all(cell.valid for cell in cells):
        return INVALID
    if strict and any(cell.verdict == "undecided" for cell in cells):
        return UNDECIDED
    return SAME
