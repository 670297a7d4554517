"""The contents of a page on claims: counts, merged findings, short names; no figure over runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reports.claim_groups import (
    ClaimsReport,
    claims_report,
    evidence_text,
    merge_findings,
    merge_rows,
    short_names,
    summary_line,
    without_figures,
)
from results.claims.catalogue import Finding, Found, Topic, rows
from results.claims.document import ClaimsDocument

Make = Callable[..., Finding]


def report(*findings: Finding, document: Callable[..., ClaimsDocument]) -> ClaimsReport:
    return claims_report(document(*findings))


def test_figures_that_are_results_are_not_merged(finding: Make) -> None:
    found = [
        finding("shown", "old", "blackout 2.41 ms", "mode", 0),
        finding("shown", "new", "blackout 3.12 ms", "mode", 0),
    ]
    assert [group.builds for group in merge_findings(found)] == [("old",), ("new",)]
    assert without_figures("2.41 ms at 0x7f, 3 pages") == "N ms at N, N pages"


def test_summary_counts_rows(finding: Make, claims_document: Callable[..., ClaimsDocument]) -> None:
    found = claims_document(finding("shown", "old", "x"), finding("refuted", "new", "y"))
    assert summary_line(found) == "1 of 6 shown, 1 refuted, 4 not testable here"
    assert short_names(found) == {"old": "A", "new": "B", "old -> new": "A>B"}
    assert found.exit_code == 3


def test_rows_without_a_finding_are_one_group() -> None:
    (group,) = merge_rows([row for row in rows([], ["a", "b"]) if row.claim.number == 1])
    assert (group.builds, group.evidence) == (("a", "b"), ())
    assert evidence_text(group.evidence) == "no run"


def test_the_table_has_a_verdict_for_every_column(
    finding: Make, claims_document: Callable[..., ClaimsDocument]
) -> None:
    page = report(
        finding("shown", "old", "16384 pages"),
        finding("shown", "new", "16385 pages"),
        finding("refuted", "old -> new", "3 pages"),
        document=claims_document,
    )
    assert [column.short for column in page.columns] == ["A", "B", "A>B"]
    second, seventh = page.claims
    assert (second.claim.number, seventh.claim.number) == (2, 7)
    assert second.verdicts == ("shown", "shown", "refuted")
    assert seventh.verdicts == ("not testable",) * 3
    shown, refuted = second.groups
    assert shown.builds == ("old", "new")
    assert (refuted.builds, len(refuted.evidence)) == (("old -> new",), 1)
    assert page.short("old -> new") == "A>B"
    assert page.short("elsewhere") == "elsewhere"
    assert page.notes == ("no time was left for devices on new",)


def test_tiles_count_verdicts_and_nothing_else(
    finding: Make, claims_document: Callable[..., ClaimsDocument]
) -> None:
    page = report(
        finding("shown", "old", "x"),
        finding("refuted", "new", "y"),
        finding("refuted", "old", "QEMU crashed", "refusal", 0),
        document=claims_document,
    )
    assert page.tiles == (
        ("claims shown", "1 of 6", "claim 2"),
        ("refuted", "1", "claim 2"),
        ("not testable here", "4", "claim 2, 7"),
        ("other tests failed", "1", "besides the claims"),
    )


@pytest.mark.parametrize("topic", ["refusal", "mode", "ids", "device", "hazard"])
@pytest.mark.parametrize("found", ["shown", "refuted", "not testable"])
def test_a_topic_without_findings_is_left_out(
    finding: Make,
    claims_document: Callable[..., ClaimsDocument],
    topic: Topic,
    found: Found,
) -> None:
    page = report(finding(found, "old", "x", topic, 0), document=claims_document)
    ((title, groups),) = page.topics
    assert title
    assert [group.first.found for group in groups] == [found]
    assert report(document=claims_document).topics == ()
