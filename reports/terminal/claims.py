"""Claims as text: the table of verdicts, the evidence for each, and the other findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.claim_groups import (
    ClaimSection,
    ClaimsReport,
    FindingGroup,
    RowGroup,
    claims_report,
    evidence_text,
)
from results.claims.catalogue import Found
from results.claims.document import ClaimsDocument

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

WORDS: dict[Found, str] = {"shown": "shown", "refuted": "REFUTED", "not testable": "-"}
_STYLES: dict[Found, str] = {"shown": "green", "refuted": "bold red", "not testable": "yellow"}
_TITLE_WIDTH = 34


def claims_page(document: ClaimsDocument, look: Look) -> Text:
    """The complete page."""
    page, report = Page(look), claims_report(document)
    page.paragraph(f"Claims made for cpr-transfer: {report.summary}", style="bold")
    page.line()
    for build in report.builds:
        text = f"{build.short}  {build.label}: QEMU {build.version}"
        page.paragraph(text, indent=5, first=2)
    page.line()
    _table(page, report)
    page.line()
    for section in report.claims:
        _claim(page, section, report)
    for title, groups in report.topics:
        _topic(page, title, groups, report)
    for note in report.notes:
        page.paragraph(note, indent=2, first=0, style="dim")
    page.paragraph(
        f"{report.took_s} s; `pausebench report {document.session}` writes this as HTML",
        style="dim",
    )
    return page.text()


def _table(page: Page, report: ClaimsReport) -> None:
    """A line for every claim, a column for every build and upgrade."""
    widths = [max(len(column.short), len(WORDS["refuted"])) for column in report.columns]
    heads = "  ".join(c.short.ljust(w) for c, w in zip(report.columns, widths, strict=True))
    page.line((f" #  {'claim'.ljust(_TITLE_WIDTH)}  {heads}".rstrip(), "bold"))
    narrow = Look(_TITLE_WIDTH, page.look.colour, page.look.unicode)
    for section in report.claims:
        first, *rest = narrow.wrap(section.claim.title)
        number = section.claim.number
        parts: list[str | tuple[str, str]] = [f"{number:2}  {first.ljust(_TITLE_WIDTH)}"]
        for found, width in zip(section.verdicts, widths, strict=True):
            parts += ["  ", (WORDS[found].ljust(width), _STYLES[found])]
        page.line(*parts)
        for line in rest:
            page.line(f"    {line}")


def _claim(page: Page, section: ClaimSection, report: ClaimsReport) -> None:
    """How a claim was tested, and what was seen on every build."""
    claim = section.claim
    page.paragraph(f"{claim.number:2}  {claim.title}", indent=4, first=0, style="bold")
    page.paragraph(f"tested by: {claim.how}", indent=4, style="dim")
    for group in section.groups:
        _verdict(page, group, report)
    page.line()


def _verdict(page: Page, group: RowGroup, report: ClaimsReport) -> None:
    row = group.first
    untestable = row.found == "not testable"
    verdict = "not testable here" if untestable else row.found
    where = ", ".join(map(report.short, group.builds))
    page.paragraph(f"{where}  {verdict}", indent=7, first=4, style=_STYLES[row.found])
    figures_of = f" [{report.short(row.build)}]" if len(group.builds) > 1 else ""
    page.paragraph(f"{row.why if untestable else row.detail}{figures_of}", indent=7)
    if group.evidence:
        page.paragraph(f"evidence: {evidence_text(group.evidence)}", indent=7, style="dim")


def _topic(page: Page, title: str, groups: Sequence[FindingGroup], report: ClaimsReport) -> None:
    page.paragraph(title, style="bold")
    for group in groups:
        one = group.first
        where = ", ".join(map(report.short, group.builds))
        style = _STYLES[one.found]
        page.paragraph(f"{one.test} ({where}): {one.found}", indent=4, first=2, style=style)
        page.paragraph(one.detail, indent=4)
        if one.quote:
            page.paragraph(f"QEMU: {one.quote}", indent=6, first=4)
        if one.fix:
            page.paragraph(f"fix: {one.fix}", indent=6, first=4)
        page.paragraph(f"evidence: {evidence_text(group.evidence)}", indent=4, style="dim")
    page.line()
