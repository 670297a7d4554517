"""Claims grouped for a table: findings that say the same stand together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from results.claims.catalogue import Finding, Row, Topic
from results.claims.document import ClaimsDocument

TOPICS: tuple[tuple[Topic, str], ...] = (
    ("mode", "Modes of update, measured in turns"),
    ("refusal", "Refusals, in QEMU's own words"),
    ("ids", "Ids and hot-plug"),
    ("device", "Devices"),
    ("hazard", "Hazards"),
)


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


def wrong_beside(document: ClaimsDocument) -> int:
    """How many things that belong to no claim were tried and went wrong."""
    return sum(finding.found == "refuted" and not finding.claim for finding in document.findings)


def summary_line(document: ClaimsDocument) -> str:
    """`70 of 72 shown, 1 refuted, 1 not testable here`."""
    found = [row.found for row in document.rows]
    wrong = wrong_beside(document)
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
