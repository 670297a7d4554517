"""Budgets of the command line, checked against what was measured."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from bench.arguments import EVERY, TimeBudget
from reports.terminal.why import BudgetReport, budget_of
from reports.wording import ms
from results.comparison.compare import Budget, Cell, Comparison
from results.errors import UsageError
from results.records.run import Run
from results.summary.report_cells import Limit


def limit_of(budget: TimeBudget) -> Limit:
    return Limit(budget.limit_ns) if budget.share is None else Limit(budget.limit_ns, budget.share)


def check_measured(budgets: Iterable[TimeBudget], scenarios: Iterable[str]) -> None:
    """Refuse a budget for a scenario that is not among those measured. Raises UsageError."""
    known = {EVERY, *scenarios}
    for budget in budgets:
        if budget.scenario not in known:
            named = ", ".join(sorted(known - {EVERY}))
            raise UsageError(f"--budget {budget.scenario}=…: not measured, only {named}")


# -- a session ------------------------------------------------------------------------------------


def budget_reports(
    budgets: Sequence[TimeBudget], runs: Sequence[Run]
) -> list[tuple[TimeBudget, BudgetReport]]:
    """How the runs it applies to kept each budget; the last one for a scenario counts."""
    found = {budget.scenario: budget for budget in budgets}
    chosen = {
        name: [run for run in runs if _applies(run.scenario, found) == name] for name in found
    }
    return [(b, budget_of(chosen[name], b.limit_ns)) for name, b in found.items() if chosen[name]]


def _applies(scenario: str, budgets: Container[str]) -> str:
    return scenario if scenario in budgets else EVERY


def missed(budget: TimeBudget, within: int, total: int) -> str:
    """`99 % asked` if a share was given and not reached, else empty."""
    if budget.share is None or limit_of(budget).kept(Budget(budget.limit_ns, within, total, None)):
        return ""
    return f"{budget.share * 100:g} % asked"


# -- a comparison ---------------------------------------------------------------------------------


def budgets_ns(budgets: Sequence[TimeBudget]) -> list[int]:
    """All limits, measured on every cell; `with_own_budgets` keeps those that apply to it."""
    return [budget.limit_ns for budget in budgets]


def with_own_budgets(comparison: Comparison, budgets: Sequence[TimeBudget]) -> Comparison:
    """`comparison`, whose cells have a line for each of `budgets`, with those that apply alone."""
    return replace(comparison, cells=tuple(_own(cell, budgets) for cell in comparison.cells))


def _own(cell: Cell, budgets: Sequence[TimeBudget]) -> Cell:
    mine = _of_cell(cell, budgets)
    return replace(
        cell,
        budgets_a=tuple(line for line, b in zip(cell.budgets_a, budgets, strict=True) if b in mine),
        budgets_b=tuple(line for line, b in zip(cell.budgets_b, budgets, strict=True) if b in mine),
    )


def _of_cell(cell: Cell, budgets: Sequence[TimeBudget]) -> list[TimeBudget]:
    scenario = _applies(cell.scenario, {budget.scenario for budget in budgets})
    return [budget for budget in budgets if budget.scenario == scenario]


def missed_lines(comparison: Comparison, budgets: Sequence[TimeBudget]) -> list[str]:
    """A line for each share that was given and not reached."""
    lines = []
    for cell in comparison.cells:
        mine = _of_cell(cell, budgets)
        for budget, in_a, in_b in zip(mine, cell.budgets_a, cell.budgets_b, strict=True):
            for side, line in (("A", in_a), ("B", in_b)):
                if words := missed(budget, line.within, line.total):
                    limit = ms(line.limit_ns)
                    lines.append(f"{cell.scenario}: {side} missed its budget of {limit} ({words})")
    return lines
