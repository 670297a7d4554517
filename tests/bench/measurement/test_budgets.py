"""Budgets of one scenario and of all, checked against runs and comparisons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.arguments import parse_budget
from bench.measurement.budgets import (
    budget_reports,
    budgets_ns,
    check_measured,
    missed,
    missed_lines,
    with_own_budgets,
)
from bench.measurement.scenarios import BUILTIN
from results.comparison.compare import Comparison, compare
from results.errors import UsageError
from results.records.run import SCHEMA, Run

MS = 1_000_000


def runs(scenario: str, *blackouts_ms: int, build: str = "a") -> list[Run]:
    """One boot for each blackout."""
    return [
        Run(
            schema=SCHEMA, id=f"{scenario}.b{boot:02d}.u01", session="s", scenario=scenario,
            dimensions=f"id={scenario}", boot=boot, update=1, started_unix_ns=1,
            outcome="completed", reason="", old_build=build, new_build=build, old_pid=1, new_pid=2,
            blackout_ns=ms * MS, blackout_start_ns=1, vcpu_blackouts_ns=(ms * MS,),
        )
        for boot, ms in enumerate(blackouts_ms, 1)
    ]  # fmt: skip


def test_the_budget_of_a_scenario_replaces_the_one_for_all() -> None:
    measured = [*runs("anon", 5, 9), *runs("memfd", 5, 9), *runs("shm", 1)]
    asked = [parse_budget(text) for text in ("8ms", "memfd=4", "memfd=6")]
    kept = {b.scenario: (b.limit_ns, r.within, r.total) for b, r in budget_reports(asked, measured)}
    assert kept == {"*": (8 * MS, 2, 3), "memfd": (6 * MS, 1, 2)}


def test_without_a_budget_there_is_no_report() -> None:
    assert budget_reports([], runs("anon", 5)) == []


@pytest.mark.parametrize(
    ("text", "within", "words"),
    [("8ms", 0, ""), ("8ms:50", 5, ""), ("8ms:50", 4, "50 % asked"), ("8:99.5", 9, "99.5 % asked")],
)
def test_a_share_can_be_missed_only_if_one_was_given(text: str, within: int, words: str) -> None:
    assert missed(parse_budget(text), within, 10) == words


def test_a_budget_for_a_scenario_that_is_not_measured_is_refused() -> None:
    names = [scenario.id for scenario in BUILTIN[:2]]
    check_measured([parse_budget("8"), parse_budget("anon=8")], names)
    with pytest.raises(UsageError, match=r"--budget shm=…: not measured, only anon, memfd"):
        check_measured([parse_budget("shm=8")], names)


def compared(*texts: str) -> tuple[Comparison, list[str]]:
    asked = [parse_budget(text) for text in texts]
    sides = [
        [*runs("anon", 5, 9, build=build), *runs("memfd", *values, build=build)]
        for build, values in (("a", (1, 2)), ("b", (3, 12)))
    ]
    found = with_own_budgets(compare(*sides, budgets_ns=budgets_ns(asked)), asked)
    return found, missed_lines(found, asked)


def test_every_cell_of_a_comparison_has_the_budgets_that_apply_to_it() -> None:
    found, lines = compared("8", "20ms", "memfd=4", "memfd=10")
    limits = {c.scenario: [b.limit_ns // MS for b in c.budgets_a] for c in found.cells}
    assert limits == {"anon": [8, 20], "memfd": [4, 10]}
    assert [(b.within, b.total) for b in found.cells[1].budgets_b] == [(1, 2), (1, 2)]
    assert lines == []


def test_a_comparison_reports_which_side_missed_a_share() -> None:
    _, lines = compared("8:60", "memfd=10:60")
    assert lines == [
        "anon: A missed its budget of 8.00 ms (60 % asked)",
        "anon: B missed its budget of 8.00 ms (60 % asked)",
        "memfd: B missed its budget of 10.0 ms (60 % asked)",
    ]


def test_a_failed_run_keeps_no_budget() -> None:
    """17 of 18 failed; the one that did not was within."""
    measured = runs("anon", *[1] * 18)
    measured[1:] = [replace(run, outcome="failed", blackout_ns=None) for run in measured[1:]]
    ((budget, report),) = budget_reports([parse_budget("8ms:95")], measured)
    assert (report.within, report.total, report.failed) == (1, 18, 17)
    assert missed(budget, report.within, report.total) == "95 % asked"
