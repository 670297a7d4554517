"""The result table of a session, its failed runs and what to do next, for a terminal or a pipe."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.wording import device_text, figure, ms, percent
from results.qemu.modes import mode_of
from results.records.run import Run, Summary
from results.stats.intervals import TOO_FEW_BOOTS
from results.summary.locking_costs import locking_costs

from .style import Look, Page, look_for, write
from .waterfall import waterfall

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "Look",
    "closing_lines",
    "failures",
    "look_for",
    "ms",
    "session_page",
    "summary_table",
    "waterfall",
    "write",
]

_COSTLIEST = 3
_GAP = 2
_HEADER = (
    ("scenario", ""),
    ("boots ×", "updates"),
    ("blackout: median", "[95 % over boots]"),
    ("max", ""),
    ("QEMU says", "(downtime)"),
    ("valid/", "failed"),
    ("proof", ""),
)


def session_page(
    summaries: Sequence[Summary],
    runs: Iterable[Run],
    store: Path,
    session: str,
    look: Look,
    notes: Iterable[str] = (),
) -> Text:
    """What a session ends with: the table, failed runs, notes, where it is kept, what to do next.

    `notes` say why the figures may be believed: certificates, doubts.
    """
    from rich.text import Text

    parts = (
        summary_table(summaries, look),
        failures(runs, look, store),
        _notes(notes, look),
        closing_lines(store, session, look),
    )
    return Text("\n\n").join(part for part in parts if part)


def summary_table(summaries: Sequence[Summary], look: Look) -> Text:
    """One line per summary; the costliest phases beside it where they fit, else below it.

    The blackout is the longest stretch in which a vCPU ran no guest instruction; the interval is
    over boots at 95 %; beside QEMU's own `downtime` is how far that is off.
    """
    page = Page(look)
    if not summaries:
        page.line("nothing was measured")
        return page.text()
    pairs = {(s.old_build, s.new_build) for s in summaries}
    if len(pairs) == 1:
        page.paragraph(f"VM blackout by {_modes(summaries)}, {_pair(summaries[0])}", style="bold")
        page.line()
    # Without a proof in any run its column is left out.
    columns = len(_HEADER) - (0 if any(s.proofs for s in summaries) else 1)
    rows = [_cells(s, look, with_builds=len(pairs) > 1)[:columns] for s in summaries]
    header = [tuple(look.say(half) for half in cell) for cell in _HEADER[:columns]]
    widths = [
        max(len(header[i][0]), len(header[i][1]), *(len(row[i]) for row in rows))
        for i in range(len(header))
    ]
    costs = [_costliest(s, look) for s in summaries]
    afters = [_after(s, look) for s in summaries]
    total = sum(widths) + _GAP * len(widths)
    beside = total + max(len(c) for c in costs) <= look.width
    stacked = total - _GAP > look.width
    _draw_header(page, header, widths, beside=beside, stacked=stacked)
    for summary, row, cost, after in zip(summaries, rows, costs, afters, strict=True):
        _draw_row(page, summary, row, widths, cost if beside else "", stacked=stacked)
        if cost and not beside:
            page.paragraph(cost, indent=4 if stacked else widths[0] + _GAP, style="dim")
        if after:
            page.paragraph(after, indent=4 if stacked else widths[0] + _GAP, style="dim")
        if device := device_text(summary):
            page.paragraph(look.say(device), indent=4 if stacked else widths[0] + _GAP, style="dim")
    _footnotes(page, summaries)
    return page.text()


def _modes(summaries: Sequence[Summary]) -> str:
    """`cpr-transfer`, or all modes of the table."""
    found = list(dict.fromkeys(mode_of(s.dimensions) for s in summaries))
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def _pair(summary: Summary) -> str:
    return f"QEMU {summary.old_build} → QEMU {summary.new_build}"


def _cells(summary: Summary, look: Look, *, with_builds: bool) -> list[str]:
    name = summary.scenario
    if with_builds:
        name += f" {summary.old_build} → {summary.new_build}"
    claim = "–"
    if summary.qemu_median_ns is not None:
        claim = f"{summary.qemu_median_ns / 1e6:g} ms, {percent(summary.qemu_error_percent)}"
    cells = (
        name,
        f"{summary.boots} × {summary.updates}",
        _interval(summary),
        ms(summary.max_ns),
        claim,
        f"{summary.valid}/{summary.failed}",
        _proofs(summary),
    )
    return [look.say(cell) for cell in cells]


def _interval(summary: Summary) -> str:
    if summary.low_ns is None or summary.high_ns is None:
        return ms(summary.median_ns)
    return f"{ms(summary.median_ns)} [{figure(summary.low_ns)}, {figure(summary.high_ns)}]"


def _costliest(summary: Summary, look: Look) -> str:
    """The phases with the largest median share of the blackout, largest first."""
    ordered = sorted(summary.phases.items(), key=lambda item: -item[1])[:_COSTLIEST]
    return look.say(" · ".join(f"{name.replace('_', ' ')} {ms(ns)}" for name, ns in ordered))


def _after(summary: Summary, look: Look) -> str:
    """What the guest pays beyond the blackout: the medians of first progress and of brownout."""
    parts = [
        f"{name} {ms(ns)}"
        for name, ns in (
            ("first progress", summary.first_progress_median_ns),
            ("brownout", summary.brownout_median_ns),
        )
        if ns is not None
    ]
    return look.say(f"then {' · '.join(parts)}") if parts else ""


def _proofs(summary: Summary) -> str:
    """The verdict on RAM, descriptors and pins; with numbers where the runs differ in it."""
    found = [v for v in ("broken", "unproven", "held") if v in summary.proofs]
    if len(found) == 1:
        return found[0]
    return ", ".join(f"{verdict} {summary.proofs[verdict]}" for verdict in found) or "–"


def _draw_header(
    page: Page,
    header: Sequence[Sequence[str]],
    widths: Sequence[int],
    *,
    beside: bool,
    stacked: bool,
) -> None:
    for half in (0, 1):
        cells = [cell[half].ljust(width) for cell, width in zip(header, widths, strict=True)]
        tail = ("costliest phases", "(median share)")[half] if beside else ""
        if stacked:
            if half == 0:
                page.line((header[0][0], "bold"))
            cells = ["  ", *cells[1:]]
        page.line(((" " * _GAP).join([*cells, tail]), "bold"))


def _draw_row(
    page: Page,
    summary: Summary,
    row: Sequence[str],
    widths: Sequence[int],
    beside: str,
    *,
    stacked: bool,
) -> None:
    gap = " " * _GAP
    cells = [cell.ljust(width) + gap for cell, width in zip(row, widths, strict=True)]
    bad = "bold red" if summary.failed else "green"
    if stacked:
        page.line((row[0], "bold"))
        cells[0] = "    "
    proof = "green" if set(summary.proofs) == {"held"} else "bold red"
    styles = ("bold", "", "bold cyan", "", "yellow", bad, proof if summary.proofs else "")
    page.line(*zip(cells, styles, strict=False), (beside, "dim"))


def _footnotes(page: Page, summaries: Sequence[Summary]) -> None:
    """The method of an interval, where it is not the exact one, belongs to the number."""
    notes = []
    if any(s.interval == "t" for s in summaries):
        notes.append("with fewer than 6 boots the interval is by t on logarithms")
    if any(s.interval == "none" and s.median_ns is not None for s in summaries):
        notes.append(f"{TOO_FEW_BOOTS} have no interval, 6 an exact one")
    for cost in locking_costs(summaries):
        handover = "" if cost.handover_ns is None else f", {_signed(cost.handover_ns)} handover"
        notes.append(
            f"locking RAM ({cost.locked} against {cost.unlocked}): "
            f"{_signed(cost.blackout_ns)} blackout{handover}"
        )
    if notes:
        page.line()
        page.paragraph("; ".join(notes), style="dim")


def _signed(ns: int) -> str:
    return f"{'+' if ns >= 0 else '−'}{ms(abs(ns))}"


def failures(runs: Iterable[Run], look: Look, store: Path | None = None) -> Text:
    """Failed runs by reason with their count and the command to look at the first of each.

    Reasons that differ in numbers only are one group. Empty text when none failed.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.outcome == "failed":
            groups.setdefault(re.sub(r"\d[\d.,]*", "N", run.reason), []).append(run)
    page = Page(look)
    if not groups:
        return page.text()
    count = sum(map(len, groups.values()))
    page.line((f"{count} failed, kept and not averaged:", "bold red"))
    for group in sorted(groups.values(), key=len, reverse=True):
        scenarios = ", ".join(dict.fromkeys(run.scenario for run in group))
        reason = group[0].reason or "no reason was recorded"
        page.paragraph(f"{len(group)} × {reason} ({scenarios})", indent=6, first=2)
        page.line(f"      pausebench show {look.say(group[0].id)}{_option(store)}")
    return page.text()


def _notes(notes: Iterable[str], look: Look) -> Text:
    page = Page(look)
    for note in notes:
        page.paragraph(note, indent=2, first=0, style="dim")
    return page.text()


def closing_lines(store: Path, session: str, look: Look | None = None) -> Text:
    """Where the session is kept and the next command."""
    page = Page(look or Look())
    page.line(f"session {session} is kept in {page.look.say(str(store))}")
    page.line("next: ", (f"pausebench show worst{_option(store)}", "bold"))
    return page.text()


def _option(store: Path | None) -> str:
    """The default store needs no option."""
    return "" if store is None or store == Path("out") else f" --store {shlex.quote(str(store))}"
