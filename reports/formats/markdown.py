"""A session as Markdown for a CI step summary: verdict and table first, details folded."""

from __future__ import annotations

import html
from collections.abc import Sequence

from reports.harm_wording import harm_lines, harmed_text, verdict_text
from reports.headline import Headline, headline
from reports.request import Request
from reports.suggested_commands import repeat_command, show_command
from reports.wording import (
    KIND_TITLES,
    RATIOS,
    budget_text,
    cell_name,
    counted,
    device_text,
    disagreement_text,
    interval_text,
    median_text,
    ms,
    percent,
    proofs_text,
    qemu_text,
    rollbacks_text,
    shift_text,
)
from results.comparison.compare import Comparison
from results.printable import printable
from results.summary.cells import Testimony
from results.summary.report_cells import ReportCell
from results.summary.report_data import ReportData, total_runs

from .markdown_tables import code, escaped, own_result, table

_MARKS = {"bad": "🔴", "doubt": "🟡", "good": "🟢"}
_MOST_FAILURES = 10
_LOG_LINES = 20


def report(request: Request) -> str:
    return markdown(request.data, strict=request.strict)


def markdown(data: ReportData, *, strict: bool = False) -> str:
    """The document, ending in a newline; text of a record does not become markup."""
    top = headline(data, strict=strict)
    valid, failed = total_runs(data)
    parts = [
        f"## {_MARKS[top.tone]} pausebench, {KIND_TITLES[data.kind]}: {top.word}",
        escaped(top.sentence),
        f"{valid} valid and {failed} failed updates, session {code(data.session.id)}",
        *own_result(data),
        _cells(data.cells),
        _harmed(data.cells),
        _devices(data.cells),
        *(_comparison(comparison) for comparison in (*data.comparisons, *data.anchors)),
        *(escaped(note) for note in data.notes),
        _unproven(data),
        _failures(data),
        _doubts(data),
        _witnesses(data.cells),
        _environment(data),
        _repeat(data, top),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cells(cells: Sequence[ReportCell]) -> str:
    header = [
        "scenario",
        "QEMU",
        "median blackout [95 %]",
        "longest",
        f"QEMU reports, {RATIOS}",
        "valid/failed",
    ]
    header += ["proof"]
    budgets = any(cell.budget is not None for cell in cells)
    if budgets:
        header.append("budget")
    rows = []
    for cell in cells:
        summary = cell.summary
        row = [
            summary.scenario,
            cell.builds,
            median_text(summary),
            ms(summary.max_ns),
            qemu_text(summary),
            f"{summary.valid}/{summary.failed}",
            proofs_text(summary),
        ]
        rows.append([*row, budget_text(cell)] if budgets else row)
    return table(header, rows, (2, 3, 4, 5))


def _harmed(cells: Sequence[ReportCell]) -> str:
    harmed = [(cell_name(cell), harmed_text(cell.summary)) for cell in cells]
    return "\n".join(f"- 🔴 {escaped(f'{name}: {text}')}" for name, text in harmed if text)


def _devices(cells: Sequence[ReportCell]) -> str:
    devices = [(cell_name(cell), device_text(cell.summary)) for cell in cells]
    return "\n".join(f"- {escaped(f'{name}, {text}')}" for name, text in devices if text)


def _comparison(comparison: Comparison) -> str:
    rows = []
    for cell in comparison.cells:
        moved = ", ".join(
            f"{p.name.replace('_', ' ')} "
            f"{interval_text(p.shift.shift_ns, p.shift.low_ns, p.shift.high_ns)} ms"
            for p in cell.moved[:3]
        )
        word = verdict_text(cell)
        p = "–" if cell.p_adjusted is None else f"{cell.p_adjusted:.3f}"
        harm = (line.text for line in harm_lines(cell))
        notes = "; ".join(filter(None, (*harm, moved or cell.reason, disagreement_text(cell))))
        rows.append([cell.scenario, shift_text(cell), p, word, notes or "–"])
    title = f"### {escaped(comparison.label_b)} against {escaped(comparison.label_a)}"
    header = ("scenario", "A → B, shift [95 %]", "p", "verdict", "phases that moved, or why not")
    return f"{title}\n\n{table(header, rows, (2,))}"


def folded(title: str, body: str) -> str:
    """A block that is folded; Markdown inside it needs the empty lines."""
    return f"<details><summary>{html.escape(title)}</summary>\n\n{body}\n\n</details>"


def _unproven(data: ReportData) -> str:
    """Every unproven run, by reason."""
    lines: list[str] = []
    for group in data.unproven:
        scenarios = escaped(", ".join(group.scenarios))
        lines.append(f"- **{len(group.members)} unproven:** {escaped(group.reason)} ({scenarios})")
        lines += [f"  - {code(show_command(run, data.store))}" for run in group.runs]
    count = sum(len(group.members) for group in data.unproven)
    return folded(f"{counted(count, 'run')} unproven", "\n".join(lines)) if lines else ""


def _failures(data: ReportData) -> str:
    if not data.failures:
        return ""
    parts = []
    for group, runs in data.failures[:_MOST_FAILURES]:
        lines = [
            f"- **{group.runs} ×** {escaped(group.reason)} ({escaped(', '.join(group.scenarios))})"
        ]
        if runs:
            lines.append(f"  {code(show_command(runs[0].id, data.store))}")
            tail = runs[0].log_tail.splitlines()[-_LOG_LINES:]
            # Indented code: nothing in a log can end it.
            lines += ["", *(f"      {printable(line)}" for line in tail)] if tail else []
        parts.append("\n".join(lines))
    more = len(data.failures) - _MOST_FAILURES
    if more > 0:
        parts.append(f"- and {more} more reasons")
    if data.rollbacks is not None:
        parts.append(f"- {escaped(rollbacks_text(data.rollbacks))}")
    count = sum(group.runs for group, _ in data.failures)
    return folded(f"{count} failed, in no statistic", "\n".join(parts))


def _doubts(data: ReportData) -> str:
    lines = [
        f"- {escaped(cell_name(cell))}: {escaped(doubt.text)}; {escaped(doubt.settle)}"
        for cell in data.cells
        for doubt in cell.doubts
    ]
    lines += [f"- {escaped(line)}" for line in data.certificates]
    return folded("doubts and calibration", "\n".join(lines)) if lines else ""


def _witnesses(cells: Sequence[ReportCell]) -> str:
    names = [testimony.witness for testimony in cells[0].testimonies] if cells else []
    rows = [
        [
            cell.summary.scenario,
            cell.builds,
            *(_witness(t) for t in cell.testimonies),
        ]
        for cell in cells
    ]
    body = table(("scenario", "QEMU", *names), rows, range(2, 2 + len(names)))
    return folded(f"witnesses: median, and {RATIOS} to the run's own blackout", body)


def _witness(testimony: Testimony) -> str:
    if testimony.median_ns is None or testimony.witness == "kvm":
        return ms(testimony.median_ns)
    return f"{ms(testimony.median_ns)}, {percent(testimony.error_percent)}"


def _environment(data: ReportData) -> str:
    session = data.session
    rows = [(key, value) for key, value in sorted(session.environment.items())]
    rows += [(f"QEMU {build.label}", build.version) for build in session.builds]
    body = table(("fact", "value"), rows)
    if data.reference is not None:
        changed = "\n".join(f"- {escaped(text)}" for text in data.changed) or "Nothing."
        body = f"Changed since session {code(data.reference.id)}:\n\n{changed}\n\n{body}"
    return folded("environment", body)


def _repeat(data: ReportData, top: Headline) -> str:
    command = repeat_command(data.session)
    return f"Exit status {top.exit_code}. To repeat it:\n\n    {printable(command)}"
