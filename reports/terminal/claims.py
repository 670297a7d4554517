"""Claims as text: the table of verdicts, what each rests on, and what else was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.claim_groups import TOPICS, alike, evidence_text, letters, rows_alike, summary_line
from results.claims.catalogue import Finding, Found, Row
from results.claims.document import ClaimsDocument

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

WORDS: dict[Found, str] = {"shown": "shown", "refuted": "REFUTED", "not testable": "-"}
_STYLES: dict[Found, str] = {"shown": "green", "refuted": "bold red", "not testable": "yellow"}
_TITLE_WIDTH = 34


def claims_page(document: ClaimsDocument, look: Look) -> Text:
    """The whole page."""
    page = Page(look)
    short = letters(document)
    page.paragraph(f"Claims made for cpr-transfer: {summary_line(document)}", style="bold")
    page.line()
    for label, version in document.builds.items():
        page.paragraph(f"{short.get(label, label)}  {label}: QEMU {version}", indent=5, first=2)
    page.line()
    _table(page, document, short)
    page.line()
    for number in dict.fromkeys(row.claim.number for row in document.rows):
        _claim(page, [r for r in document.rows if r.claim.number == number], short)
    for topic, title in TOPICS:
        _topic(page, title, document.others((topic,)), short)
    for note in document.notes:
        page.paragraph(note, indent=2, first=0, style="dim")
    page.paragraph(
        f"{document.took_s} s; `pausebench report {document.session}` has it all as HTML",
        style="dim",
    )
    return page.text()


def _table(page: Page, document: ClaimsDocument, short: dict[str, str]) -> None:
    """A line for every claim, a column for every build and upgrade."""
    columns = document.columns
    widths = [max(len(short[c]), len(WORDS["refuted"])) for c in columns]
    heads = "  ".join(short[c].ljust(w) for c, w in zip(columns, widths, strict=True))
    page.line((f" #  {'claim'.ljust(_TITLE_WIDTH)}  {heads}".rstrip(), "bold"))
    cells = {(row.claim.number, row.build): row.found for row in document.rows}
    for claim in dict.fromkeys(row.claim for row in document.rows):
        first, *rest = Look(_TITLE_WIDTH, page.look.colour, page.look.unicode).wrap(claim.title)
        parts: list[str | tuple[str, str]] = [f"{claim.number:2}  {first.ljust(_TITLE_WIDTH)}"]
        for column, width in zip(columns, widths, strict=True):
            found = cells[claim.number, column]
            parts += ["  ", (WORDS[found].ljust(width), _STYLES[found])]
        page.line(*parts)
        for line in rest:
            page.line(f"    {line}")


def _claim(page: Page, rows: Sequence[Row], short: dict[str, str]) -> None:
    """How a claim was tested, and what was seen on every build."""
    claim = rows[0].claim
    page.paragraph(f"{claim.number:2}  {claim.title}", indent=4, first=0, style="bold")
    page.paragraph(f"tested by: {claim.how}", indent=4, style="dim")
    for row, builds, runs in rows_alike(rows):
        text = row.why if row.found == "not testable" else row.detail
        verdict = row.found if row.found != "not testable" else "not testable here"
        where = ", ".join(short[build] for build in builds)
        page.paragraph(f"{where}  {verdict}", indent=7, first=4, style=_STYLES[row.found])
        page.paragraph(f"{text}{f' [{short[row.build]}]' if len(builds) > 1 else ''}", indent=7)
        if row.evidence:
            more = f" and {runs - 1} more" if runs > 1 else ""
            page.paragraph(f"evidence: {row.evidence[0]}{more}", indent=7, style="dim")
    page.line()


def _topic(page: Page, title: str, findings: Sequence[Finding], short: dict[str, str]) -> None:
    if not findings:
        return
    page.paragraph(title, style="bold")
    for group in alike(findings):
        one = group.first
        where = ", ".join(short.get(build, build) for build in group.builds)
        page.paragraph(
            f"{one.test} ({where}): {one.found}", indent=4, first=2, style=_STYLES[one.found]
        )
        page.paragraph(one.detail, indent=4)
        if one.quote:
            page.paragraph(f"QEMU: {one.quote}", indent=6, first=4)
        if one.fix:
            page.paragraph(f"do: {one.fix}", indent=6, first=4)
        page.paragraph(f"evidence: {evidence_text(group.evidence)}", indent=4, style="dim")
    page.line()
