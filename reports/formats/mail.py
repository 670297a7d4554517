"""The mail of a night: a subject with verdict and worst cell, a body that says what, since when,
why, and how to repeat it. Written, never sent: `sendmail -t < mail.eml`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import default
from email.utils import formatdate

from reports.harm_wording import harm_lines, more_failures_text, verdict_text
from reports.headline import Headline, night_headline
from reports.suggested_commands import show_command
from reports.wording import (
    budget_text,
    cell_name,
    change_text,
    day,
    interval_text,
    median_text,
    ms,
    percent,
    shift_text,
    state_text,
    why_text,
)
from results.comparison.compare import Cell as Shift
from results.comparison.compare import Comparison
from results.history.lines import Line
from results.printable import printable, printable_lines
from results.stats.announcements import FIRST_NIGHTS, Announcement
from results.summary.report_data import ReportData, total_runs

# Lines end as sendmail reads them; a subject stays on one line, to be found by grep.
_POLICY = default.clone(utf8=True, max_line_length=900)
_MOST_CHANGED = 12
_LONG = 200


@dataclass(frozen=True, slots=True)
class Letter:
    """Who writes to whom, about which job; `files` are the reports that were written."""

    job: str
    sender: str
    to: str
    written_unix_s: float
    repeat: str
    files: tuple[str, ...] = ()
    resumed: int = 0  # how many times a crash had cut the night short
    self_checks: tuple[Comparison, ...] = ()


def night_mail(
    data: ReportData, lines: Sequence[Line], letter: Letter, *, strict: bool = False
) -> bytes:
    """The whole message, headers and UTF-8 text."""
    top = night_headline(data, letter.self_checks, strict=strict)
    host = data.session.environment.get("host", "")
    subject = f"[pausebench {letter.job}] {top.word}: {_subject(top, data)}"
    return _message(subject, body(data, lines, letter, top), letter, host)


def noisy_mail(load: str, waited: str, letter: Letter, host: str) -> bytes:
    """What is written when the host never became quiet: nothing was measured."""
    subject = f"[pausebench {letter.job}] noisy: {host} was never quiet, nothing was measured"
    text = (
        f"Waited {waited} for a quiet host: {load}.\n\nNothing was measured: on a busy host a "
        f"blackout tells of its load. To try again:\n\n    {letter.repeat}\n"
    )
    return _message(subject, text, letter, host)


def _message(subject: str, text: str, letter: Letter, host: str) -> bytes:
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = printable(subject)
    message["From"] = printable(letter.sender)
    message["To"] = printable(letter.to)
    message["Date"] = formatdate(letter.written_unix_s)
    message["Auto-Submitted"] = "auto-generated"
    if host:
        message["X-Pausebench-Host"] = printable(host)
    message.set_content(printable_lines(text), charset="utf-8", cte="8bit")
    return message.as_bytes()


def _subject(top: Headline, data: ReportData) -> str:
    """The worst cell and its size; of a good night what was covered."""
    if top.tone == "good":
        valid, _ = total_runs(data)
        return f"{len(data.cells)} cells, {valid} updates, worst {top.cell}"
    if top.code == "guest-damaged":
        return f"{top.cell} in {top.figures['damaged_boots']} of {top.figures['boots']} boots"
    if top.code == "fails-more-often":
        return f"{top.cell} {_more_failures(top, data)}"
    shift_ns, share = (top.figures.get(name) for name in ("shift_ns", "shift_percent"))
    if not isinstance(shift_ns, int):
        return top.cell
    text = f" ({percent(float(share))})" if isinstance(share, int | float) else ""
    return f"{top.cell} {interval_text(shift_ns, None, None).split(' ')[0]} ms{text}"


def _more_failures(top: Headline, data: ReportData) -> str:
    """By how much the updates of the headline's cell fail more often."""
    against = top.figures.get("against")
    found = (
        more_failures_text(cell, comparison.label_a)
        for comparison, cell in [*((c, s) for c, s, _ in _shifts(data)), *_shifts_before(data)]
        if comparison.label_a == against
        and f"{cell.scenario} on {comparison.label_b}" == top.cell
        and cell.more_failures
    )
    return next(found, "")


def _shifts_before(data: ReportData) -> list[tuple[Comparison, Shift]]:
    return [(comparison, cell) for comparison in data.anchors for cell in comparison.cells]


def _shifts(data: ReportData) -> list[tuple[Comparison, Shift, str]]:
    return [
        (comparison, cell, f"{cell.scenario} on {comparison.label_b}")
        for comparison in data.comparisons
        for cell in comparison.cells
    ]


def body(data: ReportData, lines: Sequence[Line], letter: Letter, top: Headline) -> str:
    """The text below the headers."""
    parts = [
        f"{top.word}: {top.sentence}",
        *(_shift(c, s, name, lines) for c, s, name in _shifts(data) if _bad(s)),
        *(
            _shift(c, s, f"{s.scenario} on {c.label_b}, against an earlier night", lines)
            for c, s in _shifts_before(data)
            if _changed(s)
        ),
        _failures(data),
        _unproven(data),
        _budgets(data),
        _coverage(data, letter),
        _environment(data),
        _builds(data),
        _closing(data, letter, top),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bad(shift: Shift) -> bool:
    return _changed(shift) or shift.damaged


def _changed(shift: Shift) -> bool:
    return shift.verdict in ("regressed", "improved") or shift.more_failures


def _shift(comparison: Comparison, shift: Shift, name: str, lines: Sequence[Line]) -> str:
    """Old → new, Δ with its interval, since when, which phase moved."""
    rows = [f"{name}: {verdict_text(shift)}", *(f"  {line.text}" for line in harm_lines(shift))]
    rows.append(f"  {comparison.label_a} → {comparison.label_b}: {shift_text(shift)}")
    if shift.p_adjusted is not None:
        rows.append(
            f"  95 % interval over {shift.n_a} and {shift.n_b} boots, p {shift.p_adjusted:.3f}; "
            f"what counts begins at {ms(shift.threshold_ns)}"
        )
    moved = [
        f"{p.name.replace('_', ' ')} "
        f"{interval_text(p.shift.shift_ns, p.shift.low_ns, p.shift.high_ns)} ms"
        for p in shift.moved[:3]
    ]
    if shift.verdict in ("regressed", "improved"):
        rows.append(f"  moved: {', '.join(moved) or 'no phase by itself clearly enough'}")
    rows.append(f"  since: {since(shift.scenario, comparison.label_b, lines)}")
    if shift.more_failures:
        a, b = shift.failures_a, shift.failures_b
        rows.append(f"  failing boots: {a.boots} of {a.total_boots} → {b.boots} of {b.total_boots}")
    return "\n".join(rows)


def since(scenario: str, build: str, lines: Sequence[Line]) -> str:
    """The night of the last confirmed change in the cell's history, and what changed with it."""
    found = [
        line
        for line in lines
        if (line.key.scenario, line.key.old_build, line.key.new_build) == (scenario, build, build)
        and line.points
    ]
    # With other probes there are several: tonight's has the latest night.
    line = max(found, key=lambda each: each.points[-1].started_unix_ns, default=None)
    if line is None or len(line.points) < FIRST_NIGHTS:
        nights = len(line.points) if line else 0
        return f"not known: {nights} nights are stored, it takes six"
    if line.confirmed:
        return _since(line, line.confirmed[-1])
    provisional = [change for change in line.changes if change.state == "provisional"]
    if provisional:
        return f"{_since(line, provisional[-1])}; {state_text(line, provisional[-1])}"
    return f"before the first of {len(line.points)} stored nights, or tonight"


def _since(line: Line, change: Announcement) -> str:
    first = line.points[change.at]
    kind = "a drift, " if change.kind == "drift" else ""
    return (
        f"{day(first)} UTC (session {first.session}, {kind}{change_text(line, change)}): "
        f"{why_text(line, change)}"
    )


def _failures(data: ReportData) -> str:
    if not data.failures:
        return ""
    rows = [f"failed, in no statistic: {sum(g.runs for g, _ in data.failures)}"]
    for group, runs in data.failures[:5]:
        rows.append(f"  {group.runs} × {group.reason[:_LONG]} ({', '.join(group.scenarios)})")
        if runs:
            rows.append(f"    {show_command(runs[0].id, data.store)}")
    return "\n".join(rows)


def _unproven(data: ReportData) -> str:
    """Every run whose proof could not be completed, by reason."""
    rows = []
    for group in data.unproven:
        rows.append(f"unproven: {len(group.runs)} × {group.reason} ({', '.join(group.scenarios)})")
        rows += [f"    {show_command(run, data.store)}" for run in group.runs]
    return "\n".join(rows)


def _budgets(data: ReportData) -> str:
    rows = [
        f"  {cell.summary.scenario} on {cell.builds}: {budget_text(cell)}"
        for cell in data.cells
        if cell.budget is not None
    ]
    return "\n".join(["budgets:", *rows]) if rows else ""


def _coverage(data: ReportData, letter: Letter) -> str:
    """What was measured at all: a green night says what it covers."""
    valid, failed = total_runs(data)
    rows = [f"covered: {valid} valid and {failed} failed updates in {len(data.cells)} cells"]
    for cell in data.cells:
        summary = cell.summary
        proofs = ", ".join(f"{word} {count}" for word, count in summary.proofs.items()) or "none"
        rows.append(
            f"  {summary.scenario} on {cell.builds}: {median_text(cell.summary)}, longest "
            f"{ms(summary.max_ns)}, {summary.boots} boots, proof: {proofs}"
        )
    for name, shift in ((n, s) for _, s, n in _shifts(data) if not _bad(s)):
        seen = shift.smallest_detectable_ns
        could = f"; a change of {ms(seen)} would have been seen" if seen else ""
        why = f" ({shift.reason})" if shift.reason else ""
        rows.append(f"  {name}: {shift.verdict}{why}, {shift_text(shift)}{could}")
    rows += [
        f"  {shift.scenario} on {comparison.label_b} against {comparison.label_a}: "
        f"{shift.verdict}, {shift_text(shift)}"
        for comparison, shift in _shifts_before(data)
        if not _bad(shift)
    ]
    for comparison in letter.self_checks:
        rows += [
            f"  {cell.scenario}, {comparison.label_a} against itself: {cell.verdict}, "
            f"{interval_text(cell.shift_ns, cell.low_ns, cell.high_ns)} ms"
            for cell in comparison.cells
        ]
    if letter.resumed:
        rows.append(f"  the night was cut short and resumed {letter.resumed} ×; no unit is lost")
    rows += [f"  {cell_name(c)}: {doubt.line}" for c in data.cells for doubt in c.doubts]
    rows += [f"  {note}" for note in (*data.certificates, *data.notes)]
    return "\n".join(rows)


def _environment(data: ReportData) -> str:
    if data.reference is None:
        return "environment: no earlier session of these scenarios to compare with"
    if not data.changed:
        return f"environment: as in session {data.reference.id}"
    rows = [f"environment, changed since session {data.reference.id}:"]
    rows += [f"  {text[:_LONG]}" for text in data.changed[:_MOST_CHANGED]]
    if len(data.changed) > _MOST_CHANGED:
        rows.append(f"  and {len(data.changed) - _MOST_CHANGED} more")
    return "\n".join(rows)


def _builds(data: ReportData) -> str:
    rows = [
        f"  {build.label}: QEMU {build.version}, build id {build.build_id or 'none'}"
        for build in data.session.builds
    ]
    return "\n".join(["builds:", *rows])


def _closing(data: ReportData, letter: Letter, top: Headline) -> str:
    rows = ["to repeat it:", f"    {letter.repeat}"]
    rows.append("reports:" if letter.files else "")
    rows += [f"    {name}" for name in letter.files]
    sessions = ", ".join(session.id for session in data.sessions)
    rows.append(f"session {sessions} in {data.store}; exit status {top.exit_code}")
    return "\n".join(row for row in rows if row)
