"""The verdict over all cells, the worst of them, and the exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import jsonschema
import pytest

from reports.finding import TONES, Code
from reports.formats.junit import junit
from reports.formats.markdown import markdown
from reports.formats.openmetrics import openmetrics
from reports.formats.report_json import report_document, schema_text
from reports.headline import headline
from reports.html.page import html_report
from results.claims.catalogue import Finding
from results.claims.document import SCHEMA, ClaimsDocument
from results.stats.proportions import Budget, Failures
from results.summary.report_cells import Limit

SESSION = "20261123-221500-3f2a"


def without_comparison(report_data, **summary):
    """The report data of a plain run, with its first cell changed."""
    first, *rest = report_data.cells
    first = replace(first, budget=None, limit=None, summary=replace(first.summary, **summary))
    rest = [replace(cell, budget=None, limit=None) for cell in rest]
    rest = [replace(cell, summary=replace(cell.summary, failed=0)) for cell in rest]
    return replace(report_data, cells=(first, *rest), comparisons=())


def fewer_failures(report_data):
    """The report data of a comparison in which B fails no more often than A."""
    (comparison,) = report_data.comparisons
    cells = tuple(replace(cell, more_failures=False) for cell in comparison.cells)
    return replace(report_data, comparisons=(replace(comparison, cells=cells),))


def test_a_regression_comes_first_and_names_the_worst_cell(report_data):
    top = headline(fewer_failures(report_data))
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


def test_a_broken_proof_is_worse_than_a_regression(report_data):
    cells = [
        replace(cell, summary=replace(cell.summary, proofs={"held": 11, "broken": 1}))
        for cell in report_data.cells
    ]
    top = headline(replace(report_data, cells=tuple(cells)))
    assert (top.word, top.code) == ("broken", "proof-broken")
    assert top.figures == {"scenario": "anon", "build": "old", "broken": 1, "runs": 12}
    assert top.exit_code == 3  # a broken proof is damage, which outweighs what regressed


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
def test_a_plain_run(report_data, summary, word, status, code, figures):
    top = headline(without_comparison(report_data, **summary))
    assert (top.word, top.exit_code) == (word, status)
    assert (top.code, top.figures) == (code, {"scenario": "anon", "build": "old"} | figures)


def test_a_missed_budget_counts_as_regressed(report_data):
    plain = without_comparison(report_data, failed=0)
    first, *rest = plain.cells
    missed = replace(first, budget=Budget(5_000_000, 8, 12, 0.4), limit=Limit(5_000_000, 0.95))
    top = headline(replace(plain, cells=(missed, *rest)))
    assert (top.word, top.exit_code) == ("over budget", 1)
    assert "8 of 12 blackouts under 5.00 ms, required are 95 %" in top.sentence
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


def test_a_missed_budget_counts_failed_runs(report_data):
    plain = without_comparison(report_data, failed=17)
    first, *rest = plain.cells
    missed = replace(first, budget=Budget(5_000_000, 1, 18, 0.0, 17), limit=Limit(5_000_000))
    top = headline(replace(plain, cells=(missed, *rest)))
    assert (top.word, top.exit_code) == ("over budget", 1)
    assert "1 of 18 blackouts under 5.00 ms, required are 95 % (17 runs failed)" in top.sentence


def test_a_baseline_over_its_budget_is_not_the_finding_of_a_night(report_data):
    """The candidate is judged: it is the same as the baseline, which is over its budget."""
    (comparison,) = report_data.comparisons
    same = replace(comparison, exit_code=0, cells=tuple(
        replace(cell, verdict="same", more_failures=False) for cell in comparison.cells
    ))  # fmt: skip
    cells = [
        replace(cell, summary=replace(cell.summary, failed=0), budget=Budget(5_000_000, 1, 18, 0.0),
                limit=Limit(5_000_000) if cell.builds == comparison.label_a else None)
        for cell in report_data.cells
    ]  # fmt: skip
    top = headline(replace(report_data, cells=tuple(cells), comparisons=(same,)))
    assert (top.word, top.exit_code) == ("same", 0)
    both = [replace(cell, limit=Limit(5_000_000)) for cell in cells]
    top = headline(replace(report_data, cells=tuple(both), comparisons=(same,)))
    assert (top.word, top.exit_code) == ("over budget", 1)
    assert f"on {comparison.label_b}" in top.cell


def test_undecided_is_a_failure_only_when_strict(report_data):
    comparison = report_data.comparisons[0]
    doubtful = [
        replace(c, verdict="undecided", reason="too wide", more_failures=False)
        for c in comparison.cells
    ]
    plain = without_comparison(report_data, failed=0)
    unclear = replace(plain, comparisons=(replace(comparison, cells=tuple(doubtful), exit_code=0),))
    assert (headline(unclear).word, headline(unclear).code) == ("undecided", "undecided")
    assert headline(unclear).exit_code == 0
    assert headline(unclear, strict=True).exit_code == 5


def test_more_failures_are_worse_than_a_shift(report_data):
    comparison = report_data.comparisons[0]
    lost, none = Failures(boots=5, total_boots=6), Failures(total_boots=6)
    (cell, *_) = comparison.cells
    cell = replace(cell, verdict="same", more_failures=True, failures_a=none, failures_b=lost)
    top = headline(replace(report_data, comparisons=(replace(comparison, cells=(cell,)),)))
    assert (top.word, top.code) == ("regressed", "fails-more-often")
    assert "failed in 5 of 6 boots, old in 0 of 6" in top.sentence
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
        ("damaged", "damaged", "guest-damaged", {"runs": 1}),
    ],
)  # fmt: skip
def test_claims_are_the_verdict_of_a_session_that_tested_them(
    report_data, found, word, code, figures
):
    findings = (
        Finding("claim", 2, "old", "test", found if found != "damaged" else "shown", "", ("run",)),
        Finding("refusal", 0, "old", "test", "refuted", "", ("run",)),
    )
    claims = ClaimsDocument(
        SCHEMA, SESSION, 0, 61, {"old": "10.0.2"}, ("old",), findings, claims=(2, 7),
        damaged=("run",) if found == "damaged" else (),
    )  # fmt: skip
    tried = replace(report_data, claims=claims)
    top = headline(tried)
    assert (top.word, top.code, top.figures) == (word, code, figures)
    assert top.exit_code == claims.exit_code
    jsonschema.validate(report_document(tried), json.loads(schema_text()))


def test_every_code_is_in_the_published_schema():
    published = json.loads(schema_text())["properties"]
    assert published["sentence_key"]["properties"]["code"]["enum"] == list(get_args(Code))
    assert set(published["verdict"]["enum"]) == set(TONES)


# --- TCG ----------------------------------------------------------------------------------------


@pytest.fixture
def emulated(report_data):
    """The same session, measured under TCG because KVM was refused."""
    cells = tuple(
        replace(c, summary=replace(c.summary, dimensions="accel=tcg id=anon"))
        for c in report_data.cells
    )
    cause = {"tcg": "no usable KVM: /dev/kvm: Permission denied"}
    last = report_data.session
    sessions = (*report_data.sessions[:-1], replace(last, environment=last.environment | cause))
    return replace(report_data, cells=cells, sessions=sessions)


def test_the_sentence_of_a_session_under_tcg_says_so_with_the_cause(emulated):
    note = "measured under TCG, not KVM (no usable KVM: /dev/kvm: Permission denied): "
    assert headline(emulated).sentence.startswith(note)


def _json(data):
    return json.dumps(report_document(data))


@pytest.mark.parametrize("form", [markdown, junit, openmetrics, html_report, _json])
def test_every_format_of_a_session_under_tcg_says_so_with_the_cause(emulated, form):
    text = form(emulated)
    assert "measured under TCG, not KVM" in text
    assert "/dev/kvm: Permission denied" in text
