"""Claims as text and as a part of the page: verdicts, what is alike told once, words escaped."""

from __future__ import annotations

from reports.claim_groups import alike, folded, letters, rows_alike, summary_line
from reports.terminal.claims import claims_page
from reports.terminal.style import Look
from results.claims.catalogue import Finding, Found, Topic, rows
from results.claims.document import SCHEMA, ClaimsDocument


def finding(
    found: Found, build: str, detail: str, topic: Topic = "claim", claim: int = 2, **more: str
) -> Finding:
    run = f"20261127-105547-d544.{more.get('test', 'test')}+{build.split()[0]}.b01.u01"
    return Finding(
        topic, claim, build, more.get("test", "test"), found, detail, (run,), more.get("quote", "")
    )


def document(*findings: Finding) -> ClaimsDocument:
    return ClaimsDocument(
        schema=SCHEMA,
        session="20261127-105547-d544",
        made_unix_ns=0,
        took_s=61,
        builds={"old": "10.0.2", "new": "11.1.3"},
        columns=("old", "new", "old -> new"),
        findings=findings,
        claims=(2, 7),
        notes=("no time was left for devices on new",),
    )


def page(*findings: Finding, width: int = 80) -> str:
    return claims_page(document(*findings), Look(width=width)).plain


def test_what_is_alike_is_told_once() -> None:
    text = page(
        finding("shown", "old", "all 16384 pages at 0x7f00 in old"),
        finding("shown", "new", "all 16385 pages at 0x7fff in old"),
        finding("refuted", "old -> new", "3 pages lie in another frame"),
    )
    assert text.count("16384 pages") == 1
    assert "16385" not in text
    assert "A, B  shown" in text
    assert "A>B  refuted" in text
    assert "3 pages lie in another frame" in text
    assert "test+old.b01.u01 and 1 more" in text


def test_the_table_has_a_verdict_for_every_build() -> None:
    text = page(finding("shown", "old", "x"), finding("refuted", "new", "y"))
    line = next(line for line in text.splitlines() if line.startswith(" 2  "))
    assert line.split()[-3:] == ["shown", "REFUTED", "-"]
    assert "  A  old: QEMU 10.0.2" in text
    assert "no time was left for devices on new" in text


def test_refusals_are_quoted_with_the_builds_that_said_so() -> None:
    said = "missing 'cpr' migration channel"
    text = page(
        finding("shown", "old", "refused", "refusal", 0, test="no channel", quote=said),
        finding("shown", "new", "refused", "refusal", 0, test="no channel", quote=said),
        finding("refuted", "old -> new", "QEMU crashed", "refusal", 0, test="no channel"),
    )
    assert "no channel (A, B): shown" in text
    assert "no channel (A>B): refuted" in text
    assert text.count(f"QEMU: {said}") == 1
    assert "of what was tried beside them 1 went wrong" in " ".join(text.split())


def test_figures_that_were_asked_for_are_all_told() -> None:
    found = [
        finding("shown", "old", "blackout 2.41 ms", "mode", 0),
        finding("shown", "new", "blackout 3.12 ms", "mode", 0),
    ]
    assert [g.builds for g in alike(found)] == [("old",), ("new",)]
    assert folded("2.41 ms at 0x7f, 3 pages") == "N ms at N, N pages"


def test_summary_counts_rows() -> None:
    found = document(finding("shown", "old", "x"), finding("refuted", "new", "y"))
    assert summary_line(found) == "1 of 6 shown, 1 refuted, 4 not testable here"
    assert letters(found) == {"old": "A", "new": "B", "old -> new": "A>B"}
    assert found.exit_code == 3


def test_rows_without_a_finding_are_one_group() -> None:
    grouped = rows_alike([row for row in rows([], ["a", "b"]) if row.claim.number == 1])
    assert [(builds, runs) for _, builds, runs in grouped] == [(("a", "b"), 0)]


def test_no_line_is_wider_than_the_look() -> None:
    text = page(finding("refuted", "old", "word " * 60), width=60)
    # The grid of verdicts keeps its columns.
    assert all(len(line) <= 70 for line in text.splitlines())


def test_control_characters_of_a_guest_reach_no_terminal() -> None:
    assert "\x1b" not in page(finding("refuted", "old", "bad \x1b[31m words"))
