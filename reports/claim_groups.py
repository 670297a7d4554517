"""The contents of a page on claims: verdicts first, and equal findings of several builds merged.

Pure. A claims session provokes failures and refusals, so the page has no figure over its runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from results.claims.catalogue import Claim, Finding, Found, Row, Topic
from results.claims.document import ClaimsDocument

TOPICS: tuple[tuple[Topic, str], ...] = (
    ("mode", "Modes of update, interleaved"),
    ("refusal", "Refusals, in QEMU's own words"),
    ("ids", "Names and ids after hot-plug"),
    ("device", "Devices"),
    ("hazard", "Hazards"),
)

_FIGURE = re.compile(r"0x[0-9a-f]+|\d[\d.]*|(?<=beats )[-+N, ]+")


@dataclass(frozen=True, slots=True)
class Column:
    """A build or an upgrade: its full name, and a letter (`A`, `A>B`) for narrow tables."""

    name: str
    short: str


@dataclass(frozen=True, slots=True)
class TestedBuild:
    """A line of the legend."""

    short: str
    label: str
    version: str


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Verdicts on one claim that say the same of several builds."""

    first: Row
    builds: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """Findings of one test that say the same of several builds."""

    first: Finding
    builds: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClaimSection:
    """One claim: a verdict for every column of the table, and the details behind them."""

    claim: Claim
    verdicts: tuple[Found, ...]
    groups: tuple[RowGroup, ...]


@dataclass(frozen=True, slots=True)
class ClaimsReport:
    """A page on claims, in its order; `tiles` are (name, figure, remark) for a first glance."""

    summary: str
    tiles: tuple[tuple[str, str, str], ...]
    builds: tuple[TestedBuild, ...]
    columns: tuple[Column, ...]
    claims: tuple[ClaimSection, ...]
    topics: tuple[tuple[str, tuple[FindingGroup, ...]], ...]
    notes: tuple[str, ...]
    took_s: int

    def short(self, build: str) -> str:
        """The short name of a build or an upgrade; its full name if it has none."""
        return next((column.short for column in self.columns if column.name == build), build)


def claims_report(document: ClaimsDocument) -> ClaimsReport:
    """Arrange the findings of a session for a page in any format."""
    short = short_names(document)
    rows = document.rows
    topics = ((title, merge_findings(document.others((topic,)))) for topic, title in TOPICS)
    return ClaimsReport(
        summary=summary_line(document),
        tiles=_tiles(document),
        builds=tuple(
            TestedBuild(short.get(label, label), label, version)
            for label, version in document.builds.items()
        ),
        columns=tuple(Column(name, short[name]) for name in document.columns),
        claims=tuple(
            _section(claim, [row for row in rows if row.claim == claim])
            for claim in dict.fromkeys(row.claim for row in rows)
        ),
        topics=tuple((title, tuple(groups)) for title, groups in topics if groups),
        notes=(*map(_damage_note, document.damaged), *document.notes),
        took_s=document.took_s,
    )


def _section(claim: Claim, rows: Sequence[Row]) -> ClaimSection:
    return ClaimSection(claim, tuple(row.found for row in rows), tuple(merge_rows(rows)))


def _tiles(document: ClaimsDocument) -> tuple[tuple[str, str, str], ...]:
    """How many verdicts of each kind, with the claims that they are about."""
    rows = document.rows
    found: list[tuple[str, str, str]] = []
    for verdict, name in (
        ("shown", "claims shown"),
        ("refuted", "refuted"),
        ("not testable", "not testable here"),
    ):
        numbers = dict.fromkeys(row.claim.number for row in rows if row.found == verdict)
        count = sum(row.found == verdict for row in rows)
        figure = f"{count} of {len(rows)}" if verdict == "shown" else str(count)
        if count or verdict != "not testable":
            found.append((name, figure, f"claim {', '.join(map(str, numbers))}" if numbers else ""))
    if others := other_failures(document):
        found.append(("other tests failed", str(others), "besides the claims"))
    return tuple(found)


def without_figures(text: str) -> str:
    """`text` with every figure replaced by N, to compare what two builds show."""
    return _FIGURE.sub("N", text)


def merge_findings(findings: Iterable[Finding]) -> list[FindingGroup]:
    """Findings that differ only in their build or in figures, merged; in the order of the tests.

    A group has the figures of its first finding. Figures of modes and devices are results, so
    these findings must be equal in figures, too.
    """
    groups: dict[tuple[str, ...], list[Finding]] = {}
    known = list(findings)
    tests = list(dict.fromkeys(f.test for f in known))
    for finding in sorted(known, key=lambda f: tests.index(f.test)):
        text = finding.quote or finding.detail
        text = text if finding.topic in ("mode", "device") else without_figures(text)
        groups.setdefault((finding.test, finding.found, text), []).append(finding)
    return [
        FindingGroup(
            group[0],
            tuple(dict.fromkeys(f.build for f in group)),
            tuple(dict.fromkeys(run for f in group for run in f.evidence)),
        )
        for group in groups.values()
    ]


def merge_rows(rows: Sequence[Row]) -> list[RowGroup]:
    """Rows of one claim that differ only in their build or in figures, merged."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.found, without_figures(row.why or row.detail)), []).append(row)
    return [
        RowGroup(
            group[0],
            tuple(row.build for row in group),
            tuple(dict.fromkeys(run for row in group for run in row.evidence)),
        )
        for group in groups.values()
    ]


def short_names(document: ClaimsDocument) -> dict[str, str]:
    """Column → its short name: `A` for a build, `A>B` for an upgrade."""
    letters = {label: chr(ord("A") + n) for n, label in enumerate(document.builds)}

    def name(column: str) -> str:
        return ">".join(letters.get(label, label) for label in column.split(" -> "))

    return {column: name(column) for column in document.columns}


def other_failures(document: ClaimsDocument) -> int:
    """How many tests failed that decide no claim."""
    return sum(finding.found == "refuted" and not finding.claim for finding in document.findings)


def summary_line(document: ClaimsDocument) -> str:
    """`70 of 72 shown, 1 refuted, 1 not testable here`."""
    found = [row.found for row in document.rows]
    others = other_failures(document)
    failed = f"; {others} other test{'' if others == 1 else 's'} failed" if others else ""
    return (
        f"{found.count('shown')} of {len(found)} shown, {found.count('refuted')} refuted, "
        f"{found.count('not testable')} not testable here{failed}"
    )


def evidence_text(runs: Sequence[str]) -> str:
    """The first of the runs, and how many more there are."""
    if not runs:
        return "no run"
    return runs[0] if len(runs) == 1 else f"{runs[0]} and {len(runs) - 1} more"


def _damage_note(run: str) -> str:
    return f"{run} damaged its guest, which no test provokes: `pausebench show {run}`"
