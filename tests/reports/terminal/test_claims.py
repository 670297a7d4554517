"""Claims as text: verdicts, equal findings printed once, control characters escaped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reports.terminal.claims import claims_page
from reports.terminal.style import Look
from results.claims.catalogue import Finding
from results.claims.document import ClaimsDocument

Make = Callable[..., Finding]
Page = Callable[..., str]


@pytest.fixture
def page(claims_document: Callable[..., ClaimsDocument]) -> Page:
    def make(*findings: Finding, width: int = 80) -> str:
        return claims_page(claims_document(*findings), Look(width=width)).plain

    return make


def test_equal_findings_are_printed_once(page: Page, finding: Make) -> None:
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


def test_the_table_has_a_verdict_for_every_build(page: Page, finding: Make) -> None:
    text = page(finding("shown", "old", "x"), finding("refuted", "new", "y"))
    line = next(line for line in text.splitlines() if line.startswith(" 2  "))
    assert line.split()[-3:] == ["shown", "REFUTED", "-"]
    assert "  A  old: QEMU 10.0.2" in text
    assert "no time was left for devices on new" in text


def test_the_table_comes_before_the_details(page: Page, finding: Make) -> None:
    text = page(finding("shown", "old", "x"), finding("shown", "old", "2 ms", "mode", 0))
    order = ["Claims made for cpr-transfer", " #  claim", "tested by: ", "Modes of update"]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)


def test_refusals_are_quoted_with_the_builds_that_gave_them(page: Page, finding: Make) -> None:
    words = "missing 'cpr' migration channel"
    text = page(
        finding("shown", "old", "refused", "refusal", 0, test="no channel", quote=words),
        finding("shown", "new", "refused", "refusal", 0, test="no channel", quote=words),
        finding("refuted", "old -> new", "QEMU crashed", "refusal", 0, test="no channel"),
    )
    assert "no channel (A, B): shown" in text
    assert "no channel (A>B): refuted" in text
    assert text.count(f"QEMU: {words}") == 1
    assert "1 other test failed" in " ".join(text.split())


def test_lines_fit_the_width(page: Page, finding: Make) -> None:
    text = page(finding("refuted", "old", "word " * 60), width=60)
    # The grid of verdicts keeps its columns.
    assert all(len(line) <= 70 for line in text.splitlines())


def test_control_characters_of_a_guest_are_not_printed(page: Page, finding: Make) -> None:
    assert "\x1b" not in page(finding("refuted", "old", "bad \x1b[31m words"))
