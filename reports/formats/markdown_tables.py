"""Tables and the first result of a session as Markdown; records cannot add markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from reports.claim_groups import ClaimsReport, claims_report
from reports.growth_tables import SLOPES_HEADER, missing_slopes, size_header, size_row, slope_rows
from reports.instrument_tables import instrument_result
from reports.matrix_grid import matrix_grid
from results.printable import printable
from results.stats.slopes import Growth
from results.summary.matrix import MatrixCell
from results.summary.report_data import ReportData

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~&])")
# What makes a list, a rule or a heading of the line that it begins.
_FIRST = re.compile(r"^([0-9]*)([-+=.)])(?=[-+=\s]|$)")


def escaped(text: str) -> str:
    """Text from a record: on one line, every character itself."""
    line = _SPECIAL.sub(r"\\\1", printable(text.strip()))
    return _FIRST.sub(r"\1\\\2", line)


def code(text: str) -> str:
    """Text from a record as a code span, which no backtick in it can end."""
    line = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A pipe table; columns in `right` hold numbers."""
    rule = ["---:" if i in right else "---" for i in range(len(header))]
    lines = [
        [escaped(cell) for cell in header],
        rule,
        *([escaped(cell) for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def own_result(data: ReportData) -> list[str]:
    """The result of sessions that answer a question of their own; nothing for all others."""
    if data.claims is not None:
        return _claims(claims_report(data.claims))
    if data.growth is not None:
        return _growth(data.growth)
    if data.pairs:
        return _matrix(data.pairs)
    return _instrument(data)


def _claims(report: ClaimsReport) -> list[str]:
    rows = [
        [f"{section.claim.number} {section.claim.title}", *section.verdicts]
        for section in report.claims
    ]
    builds = [
        f"- {escaped(build.short)}: {escaped(build.label)}, QEMU {escaped(build.version)}"
        for build in report.builds
    ]
    head = ["claim", *(column.short for column in report.columns)]
    return [table(head, rows), "\n".join(builds)]


def _growth(growth: Growth) -> list[str]:
    parts = []
    for scenario, mode in dict.fromkeys((p.scenario, p.mode) for p in growth.points):
        points = [p for p in growth.points if (p.scenario, p.mode) == (scenario, mode)]
        rows = [size_row(point) for point in points]
        parts.append(f"### {escaped(scenario)}, {escaped(mode)}")
        parts.append(table(size_header(growth), rows, range(2 + len(rows[0]))))
    if rows := slope_rows(growth):
        parts += [f"### Slopes, per {escaped(growth.unit)}", table(SLOPES_HEADER, rows, (3, 4))]
    missing = "\n".join(f"- {escaped(line)}" for line in missing_slopes(growth))
    return [*parts, missing] if missing else parts


def _matrix(pairs: Sequence[MatrixCell]) -> list[str]:
    grid = matrix_grid(pairs)
    if grid is None:
        return []
    rows = [
        [old, *(f"{c.text}{f' ({c.reason})' if c.reason else ''}, {c.remark}" for c in cells)]
        for old, cells in grid.rows
    ]
    reasons = [f"{number}. {escaped(reason)}" for number, reason in enumerate(grid.reasons, 1)]
    parts = [table(["old QEMU \\ new QEMU", *grid.labels], rows)]
    return [*parts, "\n".join(reasons)] if reasons else parts


def _instrument(data: ReportData) -> list[str]:
    found = instrument_result(data.certificate, data.session.id)
    if found is None:
        return []
    lines = [f"- {escaped(line)}" for line in (*found.faults, *found.notes)]
    parts = ["\n".join(lines)] if lines else []
    for part in found.tables:
        parts += [f"### {escaped(part.title)}", table(part.header, part.rows)]
    return [*parts, escaped(found.legend)]
