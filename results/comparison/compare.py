"""Is B worse than A, by how much, how sure, and which phase moved: one cell per scenario.

How a cell is judged stands in results.comparison.verdict, the statistics in results.stats.shift.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from results.errors import UsageError
from results.records.harm import exit_status, harm_of
from results.records.run import Run
from results.stats.boots import (
    BlockOf,
    blocks_by_boot,
    boot_values,
    boots_with,
    count_failures,
    measured_apart,
    medians,
    phase_names,
    strata,
    values_or_failures,
)
from results.stats.intervals import median_ns
from results.stats.proportions import Budget, Failures, budget_line, more_failures_p
from results.stats.shift import Shift, Stratum, estimate_shift, has_interval

from .noise_floor import NoiseFloor
from .plan import level
from .verdict import (
    Cell,
    Method,
    PhaseShift,
    Thresholds,
    Verdict,
    exit_code,
    judge_cells,
    measure_against,
    measure_shift,
)

__all__ = [
    "Budget",
    "Cell",
    "Comparison",
    "Failures",
    "PhaseShift",
    "Shift",
    "Thresholds",
    "Verdict",
    "blocks_by_boot",
    "budget_line",
    "compare",
    "exit_code",
]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All cells of A against B and what they mean to a caller.

    `exit_code`: 3 if a guest was damaged on either side; else 1 if any cell regressed or has more
    failures, whatever else lacks; else 3 if a cell has no valid run on one side or there is no
    cell; else 5 if asked to be strict and a cell is undecided; else 0. `forced` are differences
    that were overruled.
    """

    label_a: str
    label_b: str
    cells: tuple[Cell, ...]
    exit_code: int
    only_a: tuple[str, ...] = ()  # scenarios that B has not
    only_b: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    comparisons: int = 1  # what each cell is compared with, this one among them


def compare(
    runs_a: Iterable[Run],
    runs_b: Iterable[Run],
    thresholds: Thresholds | None = None,
    *,
    metric: str = "blackout",
    block_of: BlockOf | None = None,
    noise: Mapping[str, NoiseFloor] | None = None,
    comparisons: int = 1,
    budgets_ns: Sequence[int] = (),
    strict: bool = False,
    forced: Sequence[str] = (),
) -> Comparison:
    """Judge B against A, scenario by scenario in A's order.

    Each side is one pair of builds; UsageError when it holds several. `block_of` tells the block of
    an interleaved run (results.stats.boots.blocks_by_boot); without it all boots are compared with
    all.
    `noise` is the host's noise floor by scenario, beside that of `thresholds`. `comparisons`: how
    many things these scenarios of B are compared with, of which A is one: p is adjusted for all.
    """
    limits = thresholds or Thresholds()
    side_a, side_b = _by_scenario(runs_a), _by_scenario(runs_b)
    names = [scenario for scenario in side_a if scenario in side_b]
    cells = []
    for name in names:
        cell = _counted(name, metric, side_a[name], side_b[name], block_of, budgets_ns)
        found, method = _strata(side_a[name], side_b[name], metric, block_of)
        cell = measure_shift(cell, found, method, level(len(names), comparisons))
        cells.append(_against(cell, limits, (noise or {}).get(name)))
    judged = judge_cells(cells, comparisons)
    # No verdict is given on a scenario of one side alone, but damage to its guests counts.
    alone = [run for name in side_a.keys() ^ side_b.keys() for run in (side_a | side_b)[name]]
    damage = exit_status(map(harm_of, alone), "damage")
    return Comparison(
        label_a=_label("A", side_a),
        label_b=_label("B", side_b),
        cells=judged,
        exit_code=damage or exit_code(judged, strict=strict),
        only_a=tuple(name for name in side_a if name not in side_b),
        only_b=tuple(name for name in side_b if name not in side_a),
        forced=tuple(forced),
        thresholds=limits,
        comparisons=comparisons,
    )


def _against(cell: Cell, limits: Thresholds, floor: NoiseFloor | None) -> Cell:
    if floor is None:
        return measure_against(cell, limits)
    return measure_against(cell, limits, floor.at(min(cell.n_a, cell.n_b)), floor.source)


def _by_scenario(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.scenario, []).append(run)
    return found


def _label(side: str, runs: Mapping[str, Sequence[Run]]) -> str:
    """`10.0.2`, or `10.0.2 → 11.1.3`; pooling several pairs of builds would answer no question."""
    pairs = {(run.old_build, run.new_build) for group in runs.values() for run in group}
    labels = sorted(old if old == new else f"{old} → {new}" for old, new in pairs)
    if len(labels) > 1:
        raise UsageError(f"{side} holds runs of {', '.join(labels)}; choose one pair of builds")
    return labels[0] if labels else "nothing"


def _counted(
    scenario: str,
    metric: str,
    runs_a: Sequence[Run],
    runs_b: Sequence[Run],
    block_of: BlockOf | None,
    budgets_ns: Sequence[int],
) -> Cell:
    """What is known of a cell without its shift; the verdict is still undecided."""
    boots_a, boots_b = boot_values(runs_a, metric), boot_values(runs_b, metric)
    failures_a, failures_b = count_failures(runs_a), count_failures(runs_b)
    names = phase_names([*runs_a, *runs_b]) if metric == "blackout" else ()
    return Cell(
        scenario,
        metric,
        median_a_ns=median_ns(medians(boots_a)),
        median_b_ns=median_ns(medians(boots_b)),
        n_a=len(boots_a),
        n_b=len(boots_b),
        apart=measured_apart(runs_a, runs_b),
        failures_a=failures_a,
        failures_b=failures_b,
        failures_p=more_failures_p(failures_a, failures_b),
        budgets_a=_budgets(runs_a, metric, budgets_ns),
        budgets_b=_budgets(runs_b, metric, budgets_ns),
        phases=tuple(_phase_shift(name, runs_a, runs_b, block_of) for name in names),
    )


def _budgets(runs: Sequence[Run], metric: str, budgets_ns: Sequence[int]) -> tuple[Budget, ...]:
    boots = values_or_failures(runs, metric).values()
    return tuple(budget_line(boots, limit) for limit in budgets_ns)


def _strata(
    runs_a: Sequence[Run], runs_b: Sequence[Run], metric: str, block_of: BlockOf | None
) -> tuple[list[Stratum], Method]:
    """Strata of blocks where those are enough for an interval, else all boots as one.

    Which it is depends on the number of boots alone, never on their values. Pooled boots of
    interleaved blocks are judged rightly too: what drifts widens the interval of both sides alike.
    """
    if block_of is not None:
        within = strata(runs_a, runs_b, metric, block_of)
        if has_interval(within):
            return within, "blocks"
    a, b = (medians(boot_values(runs, metric)) for runs in (runs_a, runs_b))
    return ([(a, b)], "pooled") if a and b else ([], "none")


def _phase_shift(
    name: str, runs_a: Sequence[Run], runs_b: Sequence[Run], block_of: BlockOf | None
) -> PhaseShift:
    return PhaseShift(
        name,
        median_ns(medians(boot_values(runs_a, name))),
        median_ns(medians(boot_values(runs_b, name))),
        estimate_shift(_strata(runs_a, runs_b, name, block_of)[0]),
        boots_with(runs_a, name),
        boots_with(runs_b, name),
    )
