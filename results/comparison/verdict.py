"""The rule that turns numbers into a verdict, and the record of one cell of a comparison.

The rule, for the shift B - A over boots and its interval [low, high] at 95 %; the cell's threshold
is the larger of a relative and an absolute size:

- regressed, improved: the shift is at least the threshold, and the adjusted p over all cells is at
  most 0.05, which is to say that the interval at the level of results.comparison.plan excludes 0.
- same: -threshold <= low and high <= threshold. Being the same takes evidence too.
- undecided: anything else, and whatever cannot be computed. `smallest_detectable_ns` says what
  would have been seen.

The host's A/A noise only takes verdicts back: a change below it, and a `same` where it is larger
than the threshold, are undecided and name it.

The older rule asked for the whole interval beyond 5 % and 0.2 ms: it found +5 % of 2.4 ms in no
simulated session, where this one finds it in more than 80 of 100 (docs/rates.md).

What runs did to their guests is a finding besides the verdict: an update that fails has no
blackout, so no median can show it. B fails more when it damaged or lost its guest, or failed to
update it, in a larger share of its boots than A; where only the measurement failed, chance must be
excluded too. Damage to a guest on either side makes the comparison invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Literal

from results.records.harm import INVALID
from results.stats.intervals import CONFIDENCE, TOO_FEW_BOOTS
from results.stats.proportions import Budget, Failures, more_harm
from results.stats.shift import Shift, Stratum, adjust_for_many, estimate_shift, shift_interval

from .plan import SIGNIFICANCE, boots_needed, family

Verdict = Literal["regressed", "improved", "same", "undecided"]
Method = Literal["blocks", "pooled", "none"]

# How often a change of `smallest_detectable_ns` is found.
POWER = 0.8
# A shift is found when its estimate is at least what counts and the half-width at the level. It
# scatters around the true shift with a standard error of about the half-width at 95 % / 1.96, and
# is above the true shift less 0.84 standard errors with POWER. Simulated in
# tests/results/comparison/test_compare.py.
_MARGIN = NormalDist().inv_cdf(POWER) / NormalDist().inv_cdf((1.0 + CONFIDENCE) / 2.0)

SAME, REGRESSED, UNDECIDED = 0, 1, 5  # exit codes, besides INVALID
BISECT_SKIP = 125  # of `git bisect run`: this revision cannot be tested


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a change must reach to count: a share of A's median, and a size.

    `noise_ns` is a noise floor of all cells; it counts nothing in and nothing out, but takes back.
    """

    relative: float = 0.03
    absolute_ns: int = 50_000
    noise_ns: int = 0

    def size_ns(self, median_a_ns: int) -> int:
        """The smallest change that counts in a cell in which A's median is `median_a_ns`."""
        return max(round(self.relative * abs(median_a_ns)), self.absolute_ns)


@dataclass(frozen=True, slots=True)
class PhaseShift:
    """One phase's shift of its share of the blackout; None where one side never saw the phase.

    A phase counts as 0 where it did not occur; `boots_a` and `boots_b` say in how many it did.
    """

    name: str
    median_a_ns: int | None
    median_b_ns: int | None
    shift: Shift
    boots_a: int = 0
    boots_b: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario, A against B. Times in ns, `n_a` and `n_b` in boots with a valid run.

    `method`: blocks, when A and B were compared within strata of A B B A blocks; pooled, when all
    boots were compared with all; none without boots. `apart`: one side was measured before the
    other. `smallest_detectable_ns` would have been found in 80 of 100 such comparisons; None where
    so few boots can call no change. `level` is the p that a change takes where no other cell has
    one, `low_at_level_ns` and `high_at_level_ns` are the interval that then excludes 0.
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
    level: float | None = None
    low_at_level_ns: int | None = None
    high_at_level_ns: int | None = None
    threshold_ns: int | None = None
    noise_floor_ns: int | None = None
    noise_source: str = ""
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
    def damaged(self) -> bool:
        """Whether a guest was damaged on either side."""
        return self.failures_a.damaged_boots > 0 or self.failures_b.damaged_boots > 0

    @property
    def half_width_ns(self) -> int | None:
        """Half of the interval, rounded up."""
        return _half(self.low_ns, self.high_ns)

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


def measure_shift(cell: Cell, strata: Sequence[Stratum], method: Method, p_level: float) -> Cell:
    """The cell with B's shift against A by its strata, its p, and its intervals."""
    shift = estimate_shift(strata)
    at_level = shift_interval(strata, 1.0 - p_level) or (None, None)
    return replace(
        cell,
        shift_ns=shift.shift_ns,
        low_ns=shift.low_ns,
        high_ns=shift.high_ns,
        p=shift.p,
        method=method,
        level=p_level,
        low_at_level_ns=at_level[0],
        high_at_level_ns=at_level[1],
    )


def measure_against(
    cell: Cell, thresholds: Thresholds, noise_ns: int = 0, noise_source: str = ""
) -> Cell:
    """The cell with its threshold, its noise floor, its shift in percent and what could be seen."""
    if cell.median_a_ns is None:
        return cell
    threshold = thresholds.size_ns(cell.median_a_ns)
    noise = max(noise_ns, thresholds.noise_ns)
    percent = None
    if cell.shift_ns is not None and cell.median_a_ns > 0:
        percent = cell.shift_ns / cell.median_a_ns * 100.0
    return replace(
        cell,
        threshold_ns=threshold,
        noise_floor_ns=noise or None,
        noise_source=noise_source,
        shift_percent=percent,
        smallest_detectable_ns=_smallest_detectable(cell, max(threshold, noise)),
    )


def _smallest_detectable(cell: Cell, counts_ns: int) -> int | None:
    half, at_level = cell.half_width_ns, _half(cell.low_at_level_ns, cell.high_at_level_ns)
    if half is None or at_level is None:
        return None
    return max(counts_ns, at_level) + round(half * _MARGIN)


def _half(low: int | None, high: int | None) -> int | None:
    """Half of an interval, rounded up."""
    return None if low is None or high is None else (high - low + 1) // 2


def judge_cells(cells: Sequence[Cell], comparisons: int = 1) -> tuple[Cell, ...]:
    """Give every cell its adjusted p, its verdict with a reason, and whether B fails more.

    `comparisons`: how many things each cell is compared with, of which this is one.
    """
    count = family(len(cells), comparisons)
    ps = adjust_for_many([cell.p for cell in cells], count)
    failure_ps = adjust_for_many([cell.failures_p for cell in cells])
    judged = []
    for cell, p, failure_p in zip(cells, ps, failure_ps, strict=True):
        adjusted = replace(cell, p_adjusted=p)
        verdict, reason = _verdict(adjusted, len(cells), comparisons)
        more = more_harm(cell.failures_a, cell.failures_b) or (
            failure_p is not None and failure_p <= SIGNIFICANCE
        )
        judged.append(replace(adjusted, verdict=verdict, reason=reason, more_failures=more))
    return tuple(judged)


def _verdict(cell: Cell, cells: int, comparisons: int) -> tuple[Verdict, str]:
    low, high, shift, threshold = cell.low_ns, cell.high_ns, cell.shift_ns, cell.threshold_ns
    p, noise = cell.p_adjusted, cell.noise_floor_ns or 0
    if not cell.valid:
        sides = [name for name, n in (("A", cell.n_a), ("B", cell.n_b)) if not n]
        return "undecided", f"no valid run of {' and '.join(sides)}"
    if low is None or high is None or shift is None or threshold is None or p is None:
        return "undecided", f"{TOO_FEW_BOOTS}: A has {cell.n_a}, B has {cell.n_b}"
    if p <= SIGNIFICANCE and abs(shift) >= max(1, threshold):
        if abs(shift) < noise:
            return "undecided", f"smaller than {_noise(cell)}"
        return ("regressed" if shift > 0 else "improved"), ""
    if -threshold <= low and high <= threshold:
        if noise > threshold:
            return "undecided", f"what counts is smaller than {_noise(cell)}"
        return "same", ""
    return "undecided", _unclear(cell, cells, comparisons)


def _noise(cell: Cell) -> str:
    source = f" ({cell.noise_source})" if cell.noise_source else ""
    return f"the noise floor of {(cell.noise_floor_ns or 0) / 1e6:.3g} ms{source}"


def _unclear(cell: Cell, cells: int, comparisons: int) -> str:
    """Why a cell that has an interval is neither changed nor the same."""
    assert cell.p is not None
    assert cell.p_adjusted is not None
    if cell.low_at_level_ns is None:
        return (
            f"{cell.n_a} and {cell.n_b} boots can call no change among {cells} "
            f"cell{'' if cells == 1 else 's'}; it takes {boots_needed(cells, comparisons)}"
        )
    if cell.p <= SIGNIFICANCE < cell.p_adjusted:
        count = family(cells, comparisons)
        return f"not clear enough: p {cell.p_adjusted:.2g}, adjusted for {count} comparisons"
    return "the interval holds shifts that count and shifts that do not"


def exit_code(cells: Sequence[Cell], *, strict: bool = False) -> int:
    """0 same or improved, 1 regressed, 3 invalid, 5 undecided when strict; see Comparison."""
    if any(cell.damaged for cell in cells):
        return INVALID
    if any(cell.verdict == "regressed" or cell.more_failures for cell in cells):
        return REGRESSED
    if not cells or not all(cell.valid for cell in cells):
        return INVALID
    if strict and any(cell.verdict == "undecided" for cell in cells):
        return UNDECIDED
    return SAME


def bisect_code(cells: Sequence[Cell], status: int) -> int:
    """The exit code for `git bisect run`, of cells with this exit code: 0 good, 1 bad, 125 skip.

    A is the revision that is known to be good: when its guests are damaged, nothing can be said of
    B; when only B's are, B is bad.
    """
    if any(cell.failures_a.damaged_boots for cell in cells):
        return BISECT_SKIP
    if any(cell.damaged for cell in cells):
        return REGRESSED
    return status if status in (SAME, REGRESSED) else BISECT_SKIP
