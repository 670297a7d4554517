"""The verdict over all cells, the worst of them, and the exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import jsonschema
import pytest

from reports.formats.report_json import report_document, schema_text
from reports.headline import TONES, Code, headline
from results.claims.catalogue import Finding
from results.claims.document import SCHEMA, ClaimsDocument
from results.stats.proportions import Budget, Failures
from results.summary.report_data import Limit

SESSION = "20261123-221500-3f2a"


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
    assert (top.code, top.figures) == (
        "regressed",
        {
            "scenario": "anon",
            "build": "new",
            "against": "old",
            "median_a_ns": 4_456_500,
            "median_b_ns": 5_456_500,
            "shift_ns": 1_000_000,
            "low_ns": 970_000,
            "high_ns": 1_029_500,
            "shift_percent": pytest.approx(22.439, abs=1e-3),
        },
    )


def test_a_broken_proof_is_worse_than_a_regression(material):
    cells = [
        replace(cell, summary=replace(cell.summary, proofs={"held": 11, "broken": 1}))
        for cell in material.cells
    ]
    top = headline(replace(material, cells=tuple(cells)))
    assert (top.word, top.code) == ("broken", "proof-broken")
    assert top.figures == {"scenario": "anon", "build": "old", "broken": 1, "runs": 12}
    assert top.exit_code == 1  # what regressed, regressed all the same


@pytest.mark.parametrize(
    ("summary", "word", "status", "code", "figures"),
    [
        ({"failed": 0, "median_ns": 9_000_000, "low_ns": None, "max_ns": 9_500_000}, "measured", 0,
         "measured", {"median_ns": 9_000_000, "high_ns": 4_481_500, "max_ns": 9_500_000}),
        ({"failed": 2}, "failed", 3, "runs-failed", {"failed": 2, "runs": 14}),
        ({"failed": 0, "proofs": {"broken": 1}}, "broken", 3,
         "proof-broken", {"broken": 1, "runs": 12}),
    ],
)  # fmt: skip
def test_a_plain_run(material, summary, word, status, code, figures):
    top = headline(without_comparison(material, **summary))
    assert (top.word, top.exit_code) == (word, status)
    assert (top.code, top.figures) == (code, {"scenario": "anon", "build": "old"} | figures)


def test_a_missed_budget_counts_as_regressed(material):
    plain = without_comparison(material, failed=0)
    first, *rest = plain.cells
    missed = replace(first, budget=Budget(5_000_000, 8, 12, 0.4), limit=Limit(5_000_000, 0.95))
    top = headline(replace(plain, cells=(missed, *rest)))
    assert (top.word, top.exit_code) == ("over budget", 1)
    assert "8 of 12 blackouts under 5.00 ms, asked were 95 %" in top.sentence
    assert top.code == "over-budget"
    assert top.figures == {
        "scenario": "anon",
        "build": "old",
        "within": 8,
        "total": 12,
        "failed": 0,
        "limit_ns": 5_000_000,
        "asked_percent": 95.0,
    }
    kept = replace(missed, limit=Limit(5_000_000, 0.5))
    assert headline(replace(plain, cells=(kept, *rest))).exit_code == 0


def test_a_missed_budget_counts_failed_runs(material):
    plain = without_comparison(material, failed=17)
    first, *rest = plain.cells
    missed = replace(first, budget=Budget(5_000_000, 1, 18, 0.0, 17), limit=Limit(5_000_000))
    top = headline(replace(plain, cells=(missed, *rest)))
    assert (top.word, top.exit_code) == ("over budget", 1)
    assert "1 of 18 blackouts under 5.00 ms, asked were 95 % (17 runs failed)" in top.sentence


def test_a_baseline_over_its_budget_is_not_the_finding_of_a_night(material):
    """The candidate is judged: it is the same as the baseline, which is over its budget."""
    (comparison,) = material.comparisons
    same = replace(comparison, exit_code=0, cells=tuple(
        replace(cell, verdict="same", more_failures=False) for cell in comparison.cells
    ))  # fmt: skip
    cells = [
        replace(cell, summary=replace(cell.summary, failed=0), budget=Budget(5_000_000, 1, 18, 0.0),
                limit=Limit(5_000_000) if cell.builds == comparison.label_a else None)
        for cell in material.cells
    ]  # fmt: skip
    top = headline(replace(material, cells=tuple(cells), comparisons=(same,)))
    assert (top.word, top.exit_code) == ("same", 0)
    both = [replace(cell, limit=Limit(5_000_000)) for cell in cells]
    top = headline(replace(material, cells=tuple(both), comparisons=(same,)))
    assert (top.word, top.exit_code) == ("over budget", 1)
    assert f"on {comparison.label_b}" in top.cell


def test_undecided_is_a_failure_only_when_strict(material):
    comparison = material.comparisons[0]
    doubtful = [
        replace(c, verdict="undecided", reason="too wide", more_failures=False)
        for c in comparison.cells
    ]
    plain = without_comparison(material, failed=0)
    unclear = replace(plain, comparisons=(replace(comparison, cells=tuple(doubtful), exit_code=0),))
    assert (headline(unclear).word, headline(unclear).code) == ("undecided", "undecided")
    assert headline(unclear).exit_code == 0
    assert headline(unclear, strict=True).exit_code == 5


def test_a_handover_that_fails_more_often_is_the_worst(material):
    comparison = material.comparisons[0]
    lost, none = Failures(boots=5, total_boots=6), Failures(total_boots=6)
    cell = replace(comparison.cells[0], more_failures=True, failures_a=none, failures_b=lost)
    top = headline(replace(material, comparisons=(replace(comparison, cells=(cell,)),)))
    assert (top.word, top.code) == ("regressed", "fails-more-often")
    assert "5 of 6 boots failed, 0 of 6 on old" in top.sentence
    assert top.figures == {
        "scenario": "anon",
        "build": "new",
        "against": "old",
        "failed_boots": 5,
        "boots": 6,
        "failed_boots_against": 0,
        "boots_against": 6,
    }


@pytest.mark.parametrize(
    ("found", "word", "code", "figures"),
    [
        ("shown", "partly shown", "claims-tested",
         {"claims": 2, "shown": 1, "refuted": 0, "not_testable": 1, "wrong_beside": 1}),
        ("refuted", "refuted", "claim-refuted", {"claim": 2, "build": "old"}),
    ],
)  # fmt: skip
def test_claims_are_the_verdict_of_a_session_that_tried_them(material, found, word, code, figures):
    findings = (
        Finding("claim", 2, "old", "test", found, "", ("run",)),
        Finding("refusal", 0, "old", "test", "refuted", "", ("run",)),
    )
    claims = ClaimsDocument(
        SCHEMA, SESSION, 0, 61, {"old": "10.0.2"}, ("old",), findings, claims=(2, 7)
    )
    tried = replace(material, claims=claims)
    top = headline(tried)
    assert (top.word, top.code, top.figures) == (word, code, figures)
    jsonschema.validate(report_document(tried), json.loads(schema_text()))


def test_every_code_is_in_the_published_schema():
    published = json.loads(schema_text())["properties"]
    assert published["sentence_key"]["properties"]["code"]["enum"] == list(get_args(Code))
    assert set(published["verdict"]["enum"]) == set(TONES)
