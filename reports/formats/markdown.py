"""A session as Markdown for a CI step summary: verdict and table first, details folded."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from reports.headline import Headline, headline
from reports.request import Request
from reports.suggested_commands import repeat_command, show_command
from reports.wording import (
    budget_text,
    cell_name,
    device_text,
    interval_text,
    median_text,
    ms,
    percent,
    shift_text,
)
from results.comparison.compare import Comparison
from results.summary.report_data import Cell, Material, total_runs

_MARKS = {"bad": "🔴", "doubt": "🟡", "good": "🟢"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MOST_FAILURES = 10
_LOG_LINES = 20


def report(request: Request) -> str:
    return markdown(request.material, strict=request.strict)


def markdown(material: Material, *, strict: bool = False) -> str:
    """The whole document, ending in a newline; nothing a record holds becomes markup."""
    top = headline(material, strict=strict)
    valid, failed = total_runs(material)
    parts = [
        f"## {_MARKS[top.tone]} pausebench: {top.word}",
        say(top.sentence),
        f"{valid} valid and {failed} failed handovers, session `{material.session.id}`",
        _cells(material.cells),
        _devices(material.cells),
        *(_comparison(comparison) for comparison in material.comparisons),
        *(say(note) for note in material.notes),
        _failures(material),
        _doubts(material),
        _witnesses(material.cells),
        _environment(material),
        _repeat(material, top),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def say(text: str) -> str:
    """Text from a record: on one line, every character itself."""
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", text))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A pipe table; columns in `right` hold numbers."""
    rule = ["---:" if i in right else "---" for i in range(len(header))]
    lines = [[say(cell) for cell in header], rule, *([say(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(cells: Sequence[Cell]) -> str:
    header = ["scenario", "QEMU", "median blackout [95 %]", "longest", "QEMU says", "valid/failed"]
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
            median_text(cell),
            ms(summary.max_ns),
            f"{ms(summary.qemu_median_ns)} ({percent(summary.qemu_error_percent)})",
            f"{summary.valid}/{summary.failed}",
            ", ".join(f"{word} {count}" for word, count in summary.proofs.items()) or "–",
        ]
        rows.append([*row, budget_text(cell)] if budgets else row)
    return table(header, rows, (2, 3, 4, 5))


def _devices(cells: Sequence[Cell]) -> str:
    told = [(cell_name(cell), device_text(cell.summary)) for cell in cells]
    return "\n".join(f"- {say(f'{name}, {text}')}" for name, text in told if text)


def _comparison(comparison: Comparison) -> str:
    rows = []
    for cell in comparison.cells:
        moved = ", ".join(
            f"{p.name.replace('_', ' ')} "
            f"{interval_text(p.shift.shift_ns, p.shift.low_ns, p.shift.high_ns)} ms"
            for p in cell.moved[:3]
        )
        word = cell.verdict + (", fails more often" if cell.more_failures else "")
        p = "–" if cell.p_adjusted is None else f"{cell.p_adjusted:.3f}"
        rows.append([cell.scenario, shift_text(cell), p, word, moved or cell.reason or "–"])
    title = f"### {say(comparison.label_b)} against {say(comparison.label_a)}"
    header = ("scenario", "A → B, shift [95 %]", "p", "verdict", "phases that moved, or why not")
    return f"{title}\n\n{table(header, rows, (2,))}"


def folded(title: str, body: str) -> str:
    """A block that opens on a click; Markdown inside needs the empty lines."""
    return f"<details><summary>{html.escape(title)}</summary>\n\n{body}\n\n</details>"


def _failures(material: Material) -> str:
    if not material.failures:
        return ""
    parts = []
    for group, runs in material.failures[:_MOST_FAILURES]:
        lines = [f"- **{group.runs} ×** {say(group.reason)} ({say(', '.join(group.scenarios))})"]
        if runs:
            lines.append(f"  `{show_command(runs[0].id, material.store)}`")
            tail = runs[0].log_tail.splitlines()[-_LOG_LINES:]
            # Indented code: nothing in a log can end it.
            lines += ["", *(f"      {_CONTROL.sub('?', line)}" for line in tail)] if tail else []
        parts.append("\n".join(lines))
    more = len(material.failures) - _MOST_FAILURES
    if more > 0:
        parts.append(f"- and {more} more reasons")
    count = sum(group.runs for group, _ in material.failures)
    return folded(f"{count} failed, kept and not averaged", "\n".join(parts))


def _doubts(material: Material) -> str:
    lines = [
        f"- {say(cell_name(cell))}: {say(doubt.text)}; {say(doubt.settle)}"
        for cell in material.cells
        for doubt in cell.doubts
    ]
    lines += [f"- {say(line)}" for line in material.certificates]
    return folded("doubts and calibration", "\n".join(lines)) if lines else ""


def _witnesses(cells: Sequence[Cell]) -> str:
    names = [testimony.witness for testimony in cells[0].testimonies] if cells else []
    rows = [
        [
            cell.summary.scenario,
            cell.builds,
            *(
                f"{ms(t.median_ns)} ({percent(t.error_percent)})" if t.runs else "–"
                for t in cell.testimonies
            ),
        ]
        for cell in cells
    ]
    body = table(("scenario", "QEMU", *names), rows, range(2, 2 + len(names)))
    return folded("witnesses: what each saw (median, off by)", body)


def _environment(material: Material) -> str:
    session = material.session
    rows = [(key, value) for key, value in sorted(session.environment.items())]
    rows += [(f"QEMU {build.label}", build.version) for build in session.builds]
    body = table(("fact", "value"), rows)
    if material.reference is not None:
        changed = "\n".join(f"- {say(text)}" for text in material.changed) or "nothing"
        body = f"Changed since session `{material.reference.id}`:\n\n{changed}\n\n{body}"
    return folded("environment", body)


def _repeat(material: Material, top: Headline) -> str:
    command = repeat_command(material.session)
    return f"Exit status {top.exit_code}. To repeat it:\n\n    {_CONTROL.sub(' ', command)}"
