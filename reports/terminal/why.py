"""Why a blackout took as long as it did: a few lines of text, and one document for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.wording import STATE_WORDS, figure, ms
from results.causes.explain import STATES, Compared, Explanation, explain
from results.records.run import Run
from results.records.scheduler import Cause, Segment
from results.stats.proportions import is_within

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

# Schema of the document; fields are added within a version, never renamed or removed.
#   1  first version
WHY_SCHEMA = 1

_SHOWN = 3
_LEAST_NS = 1_000  # an excess below this explains nothing


def why_page(explanation: Explanation, look: Look, path: Sequence[Segment] = ()) -> Text:
    """The reasons, by how much more than usual each took; `path` adds every segment."""
    page = Page(look)
    page.paragraph(headline(explanation), indent=2, first=0, style="bold")
    for number, compared in enumerate(reasons(explanation), 1):
        page.paragraph(f"{number}. {_reason_text(explanation, compared)}", indent=5, first=2)
    page.paragraph(_totals(explanation), indent=2, first=0)
    if path:
        _draw_path(page, path)
    return page.text()


def headline(explanation: Explanation) -> str:
    run, usual = explanation.run, explanation.usual
    text = f"{run.id}: blackout {ms(run.blackout_ns)}"
    if run.outcome == "failed":
        text += " (a failed run)"
    if usual is None:
        return f"{text}; its session has no other valid run to compare with"
    more = (run.blackout_ns or 0) - (usual.blackout_ns or 0)
    word = "longer" if more >= 0 else "shorter"
    return (
        f"{text}, {ms(abs(more))} {word} than the median of {explanation.compared_with} other "
        f"run{'s' * (explanation.compared_with != 1)} ({ms(usual.blackout_ns)}, {_short(usual)})"
    )


def reasons(explanation: Explanation, most: int = _SHOWN) -> list[Compared]:
    """What made the run long: the largest excesses, or else the largest causes."""
    if explanation.usual is not None:
        grown = [c for c in explanation.causes if c.more_ns >= _LEAST_NS]
        more = (explanation.run.blackout_ns or 0) - (explanation.usual.blackout_ns or 0)
        if grown and more >= _LEAST_NS:
            return grown[:most]
    return sorted(explanation.causes, key=lambda c: -c.cause.ns)[:most]


def reason_line(explanation: Explanation) -> str:
    """The first reason alone, on one line."""
    found = reasons(explanation, 1)
    return _reason_text(explanation, found[0]) if found else "its causes are unknown"


def _reason_text(explanation: Explanation, compared: Compared) -> str:
    text = sentence(compared.cause)
    return text if explanation.usual is None else f"{text} (median run: {ms(compared.usual_ns)})"


def sentence(cause: Cause) -> str:
    """One cause as a sentence: which thread did what for how long, in which phase, and why."""
    who = f"{cause.side} QEMU's {cause.thread}" if cause.thread else "an unknown thread"
    took = ms(cause.ns)
    if cause.state == "on-cpu":
        text = f"{who} ran for {took}"
    elif cause.state == "runnable":
        text = f"{who} waited {took} for a CPU"
    elif cause.state == "blocked":
        text = f"{who} was blocked {took} in {cause.on}"
    elif cause.state == "stopped":
        text = f"{who} was stopped by a signal for {took}"
    else:
        text = f"{who} was in an unknown state for {took}"
    if cause.count > 1:
        text += f", {cause.count} times"
    text += f", in {cause.phase.replace('_', ' ')}" if cause.phase else ", in no phase"
    return text + _because(cause)


def _because(cause: Cause) -> str:
    if not cause.by:
        return ""
    if cause.state == "runnable":
        # Its CPU only took the interrupt that woke the thread.
        idle = cause.by == "an interrupt"
        return ", while its CPU was idle" if idle else f", while {cause.by} ran"
    if cause.state == "blocked":
        return f", until {cause.by} woke it"
    return f", until {cause.by} continued it" if cause.state == "stopped" else ""


def _totals(explanation: Explanation) -> str:
    """The blackout by state; the parts add up to all of it."""
    parts = []
    for state in STATES:
        here, usual = explanation.in_state(state)
        if not here and (state in ("stopped", "unknown") or not usual):
            continue
        difference = (
            ""
            if explanation.usual is None
            else f" ({'+' if here >= usual else '-'}{figure(abs(here - usual))})"
        )
        parts.append(f"{STATE_WORDS[state]} {ms(here)}{difference}")
    run = explanation.run
    left = run.attribution.unattributed_ns if run.attribution else 0
    share = 100.0 * left / run.blackout_ns if run.blackout_ns else 0.0
    text = f"all of it: {' · '.join(parts)}; unattributed {ms(left)} ({share:.1f} %)"
    skipped = run.attribution.skipped if run.attribution else 0
    if skipped:
        text += f"; the kernel skipped {skipped} probe calls, so parts may be wrong"
    return text


def _draw_path(page: Page, path: Sequence[Segment]) -> None:
    start = path[0].start_ns
    page.line()
    page.line(("the critical path, from the last guest exit to the first entry", "bold"))
    page.line((f"{'at ms':>8} {'for ms':>8}  phase, thread, what it did", "dim"))
    for s in path:
        who = f"{s.side} {s.thread}" if s.thread else "?"
        did = STATE_WORDS[s.state] + (f": {s.on}" if s.on else "") + (f" < {s.by}" if s.by else "")
        text = f"{s.phase.replace('_', ' ') or 'no phase'} · {who} · {did}"
        lines = page.look.wrap(text, indent=19)
        lines[0] = f"{(s.start_ns - start) / 1e6:8.3f} {s.length_ns / 1e6:8.3f}  {lines[0][19:]}"
        for line in lines:
            page.line(line)


# -- budgets -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OverBudget:
    """A valid run that exceeded its budget, and why."""

    run: str
    blackout_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """How many runs of a session kept a budget, the valid ones that did not, and the failed."""

    limit_ns: int
    within: int
    total: int
    over: tuple[OverBudget, ...]
    failed: int = 0


def budget_of(runs: Sequence[Run], limit_ns: int) -> BudgetReport:
    """Count the runs within `limit_ns`; valid ones that are not carry their reason, longest first.

    A failed run kept no budget (results.stats.proportions.is_within).
    """
    valid = [(run.blackout_ns, run) for run in runs
             if run.outcome == "completed" and run.blackout_ns is not None]  # fmt: skip
    failed = sum(run.outcome != "completed" for run in runs)
    over = sorted((pair for pair in valid if not is_within(pair[0], limit_ns)),
                  key=lambda pair: -pair[0])  # fmt: skip
    return BudgetReport(
        limit_ns,
        len(valid) - len(over),
        len(valid) + failed,
        tuple(OverBudget(run.id, ns, _why(run, runs)) for ns, run in over),
        failed,
    )


def _why(run: Run, runs: Sequence[Run]) -> str:
    if run.attribution is None:
        return "the scheduler was not traced"
    if run.attribution.missing:
        return f"unknown: {run.attribution.missing}"
    return reason_line(explain(run, runs))


def budget_notes(report: BudgetReport, store: Path) -> list[str]:
    """Lines for the end of a session."""
    kept = f"budget {ms(report.limit_ns)}: kept by {report.within} of {report.total} runs"
    if report.failed:
        kept += f" ({report.failed} failed)"
    lines = [f"over budget: {o.run}, {ms(o.blackout_ns)}: {o.reason}" for o in report.over]
    if lines:
        lines.append(
            f"their raw traces are kept: pausebench why RUN --path --store {store}"
            if store != Path("out")
            else "their raw traces are kept: pausebench why RUN --path"
        )
    return [kept, *lines]


def why_document(explanation: Explanation, path: Iterable[Segment]) -> dict[str, Any]:
    """Values that JSON has, durations in ns; times of the path are on the host's clock."""
    run, usual = explanation.run, explanation.usual
    return {
        "schema": WHY_SCHEMA,
        "run": run.id,
        "outcome": run.outcome,
        "blackout_ns": run.blackout_ns,
        "unattributed_ns": run.attribution.unattributed_ns if run.attribution else None,
        "skipped": run.attribution.skipped if run.attribution else None,
        "compared_with": None
        if usual is None
        else {"run": usual.id, "blackout_ns": usual.blackout_ns, "of": explanation.compared_with},
        "reason": reason_line(explanation),
        "states": {state: explanation.in_state(state)[0] for state in STATES},
        "causes": [asdict(c.cause) | {"usual_ns": c.usual_ns} for c in explanation.causes],
        "path": [asdict(segment) for segment in path],
    }


def _short(run: Run) -> str:
    """A run's id without that of its session."""
    return run.id.partition(".")[2]
