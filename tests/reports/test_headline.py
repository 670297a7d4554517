"""The verdict over all cells, the worst of them, and the exit code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.headline import headline
from results.stats.proportions import Budget
from results.summary.report_data import Limit


def without_comparison(material, **summary):
    """The material of a plain run, its first cell changed."""
    first, *rest = material.cells
    first = replace(first, budget=None, limit=None, summary=replace(first.summary, **summary))
    rest = [replace(cell, budget=None, limit=None) for cell in rest]
    rest = [replace(cell, summary=replace(cell.summary, failed=0)) for cell in rest]
    return replace(material, cells=(first, *rest), comparisons=())


def test_a_regression_comes_first_and_names_the_worst_cell(material):
    top = headline(material)
    assert (top.word, top.cell, top.exit_code) == ("regressed", "anon on new", 1)
    assert "4.46 → 5.46 ms" in top.sentence
    assert "+1.00 [" in top.sentence


def test_a_broken_proof_is_worse_than_a_regression(material):
    cells = [
        replace(cell, summary=replace(cell.summary, proofs={"held": 11, "broken": 1}))
        for cell in material.cells
    ]
    top = headline(replace(material, cells=tuple(cells)))
    assert top.word == "broken"
    assert top.exit_code == 1  # what regressed, regressed all the same


@pytest.mark.parametrize(
    ("summary", "word", "code"),
    [
        ({"failed": 0}, "measured", 0),
        ({"failed": 2}, "failed", 3),
        ({"failed": 0, "proofs": {"broken": 1}}, "broken", 3),
    ],
)
def test_a_plain_run(material, summary, word, code):
    top = headline(without_comparison(material, **summary))
    assert (top.word, top.exit_code) == (word, code)


def test_a_missed_budget_counts_as_regressed(material):
    plain = without_comparison(material, failed=0)
    first, *rest = plain.cells
    missed = replace(first, budget=Budget(5_000_000, 8, 12, 0.4), limit=Limit(5_000_000, 0.95))
    top = headline(replace(plain, cells=(missed, *rest)))
    assert (top.word, top.exit_code) == ("over budget", 1)
    assert "8 of 12 blackouts under 5.00 ms, asked were 95 %" in top.sentence
    kept = replace(missed, limit=Limit(5_000_000, 0.5))
    assert headline(replace(plain, cells=(kept, *rest))).exit_code == 0


def test_undecided_is_a_failure_only_when_strict(material):
    comparison = material.comparisons[0]
    doubtful = [
        replace(c, verdict="undecided", reason="too wide", more_failures=False)
        for c in comparison.cells
    ]
    plain = without_comparison(material, failed=0)
    unclear = replace(plain, comparisons=(replace(comparison, cells=tuple(doubtful), exit_code=0),))
    assert headline(unclear).word == "undecided"
    assert headline(unclear).exit_code == 0
    assert headline(unclear, strict=True).exit_code == 5
