"""Claims as text: the table of verdicts, what each rests on, and what else was found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.claims import Finding, Found, Row, Topic
from results.claims_document import ClaimsDocument

from .look import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

TOPICS: tuple[tuple[Topic, str], ...] = (
    ("mode", "Modes of update, measured in turns"),
    ("refusal", "Refusals, in QEMU's own words"),
    ("ids", "Ids and hot-plug"),
    ("device", "Devices"),
    ("hazard", "Hazards"),
)
WORDS: dict[Found, str] = {"shown": "shown", "refuted": "REFUTED", "not testable": "-"}
_STYLES: dict[Found, str] = {"shown": "green", "refuted": "bold red", "not testable": "yellow"}
_TITLE_WIDTH = 34
_FIGURE = re.compile(r"0x[0-9a-f]+|\d[\d.]*|(?<=beats )[-+N, ]+")


@dataclass(frozen=True, slots=True)
class Alike:
    """Findings of one test with one outcome and one text, on several builds."""

    first: Finding
    builds: tuple[str, ...]
    evidence: tuple[str, ...]


def folded(text: str) -> str:
    """`text` without its figures: what two builds have in common."""
    return _FIGURE.sub("N", text)


def alike(findings: Iterable[Finding]) -> list[Alike]:
    """Findings that say the same of several builds, once; in the order of the tests.

    They may differ in figures, of which the first one's are shown, but where figures are what was
    asked for.
    """
    groups: dict[tuple[str, ...], list[Finding]] = {}
    known = list(findings)
    tests = list(dict.fromkeys(f.test for f in known))
    for finding in sorted(known, key=lambda f: tests.index(f.test)):
        text = finding.quote or finding.detail
        text = text if finding.topic in ("mode", "device") else folded(text)
        groups.setdefault((finding.test, finding.found, text), []).append(finding)
    return [
        Alike(
            group[0],
            tuple(dict.fromkeys(f.build for f in group)),
            tuple(dict.fromkeys(run for f in group for run in f.evidence)),
        )
        for group in groups.values()
    ]


def rows_alike(rows: Sequence[Row]) -> list[tuple[Row, tuple[str, ...], int]]:
    """Rows of one claim that say the same: the first, all their builds, and how many runs."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.found, folded(row.why or row.detail)), []).append(row)
    return [
        (group[0], tuple(row.build for row in group), sum(len(row.evidence) for row in group))
        for group in groups.values()
    ]


def letters(document: ClaimsDocument) -> dict[str, str]:
    """A short name for every column: `A` for a build, `A>B` for an upgrade."""
    short = {label: chr(ord("A") + n) for n, label in enumerate(document.builds)}

    def name(column: str) -> str:
        return ">".join(short.get(label, label) for label in column.split(" -> "))

    return {column: name(column) for column in document.columns}


def summary_line(document: ClaimsDocument) -> str:
    """`70 of 72 shown, 1 refuted, 1 not testable here`."""
    found = [row.found for row in document.rows]
    wrong = sum(f.found == "refuted" and not f.claim for f in document.findings)
    beside = f"; of what was tried beside them {wrong} went wrong" if wrong else ""
    return (
        f"{found.count('shown')} of {len(found)} shown, {found.count('refuted')} refuted, "
        f"{found.count('not testable')} not testable here{beside}"
    )


def evidence_text(runs: Sequence[str]) -> str:
    """The first of the runs, and how many more there are."""
    if not runs:
        return "no run"
    return runs[0] if len(runs) == 1 else f"{runs[0]} and {len(runs) - 1} more"


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
    page.paragraph(f"{document.took_s} s; `pausebench report` has it all as HTML", style="dim")
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
