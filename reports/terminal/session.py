"""The result table of a session, its failed and unproven runs, and what to run next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.harm_wording import harmed_text
from reports.wording import (
    device_text,
    median_text,
    ms,
    phase_text,
    proofs_text,
    qemu_text,
    rollbacks_text,
)
from results.qemu.modes import mode_of
from results.records.run import Run, Summary
from results.stats.intervals import TOO_FEW_BOOTS
from results.summary.accelerator import under_tcg
from results.summary.failures.rollbacks import rollbacks
from results.summary.failures.unproven import unproven_groups
from results.summary.locking_costs import locking_costs

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

_COSTLIEST = 3
_GAP = 2
_HEADER = (
    ("scenario", ""),
    ("boots ×", "updates"),
    ("blackout: median", "[95 % over boots]"),
    ("max", ""),
    ("QEMU reports", "(median ratio)"),
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
    """The end of a session: table, failed and unproven runs, notes, where it is stored, what next.

    `notes` are on how far the figures can be trusted: certificates, doubts.
    """
    from rich.text import Text

    known = list(runs)
    parts = (
        summary_table(summaries, look),
        failures(known, look, store),
        unproven(known, look, store),
        _notes(notes, look),
        closing_lines(store, session, look),
    )
    return Text("\n\n").join(part for part in parts if part)


def summary_table(summaries: Sequence[Summary], look: Look) -> Text:
    """One line per summary; the costliest phases at its end where they fit, else below it.

    The blackout is the longest time in which a vCPU ran no guest instruction; the interval is over
    boots at 95 %. QEMU's own `downtime` is followed by how far it is off.
    """
    page = Page(look)
    if not summaries:
        page.line("nothing was measured")
        return page.text()
    pairs = {(s.old_build, s.new_build) for s in summaries}
    if len(pairs) == 1:
        emulated = " under TCG" if all(under_tcg(s.dimensions) for s in summaries) else ""
        modes = _modes(summaries)
        page.paragraph(f"VM blackout{emulated} by {modes}, {_pair(summaries[0])}", style="bold")
        page.line()
    # The column of the proof is left out where no run has one.
    columns = len(_HEADER) - (0 if any(s.proofs for s in summaries) else 1)
    rows = [_cells(s, look, with_builds=len(pairs) > 1)[:columns] for s in summaries]
    header = [tuple(look.printable(half) for half in cell) for cell in _HEADER[:columns]]
    widths = [
        max(len(header[i][0]), len(header[i][1]), *(len(row[i]) for row in rows))
        for i in range(len(header))
    ]
    costs = [_costliest(s, look) for s in summaries]
    afters = [_after(s, look) for s in summaries]
    total = sum(widths) + _GAP * len(widths)
    one_line = total + max(len(c) for c in costs) <= look.width
    stacked = total - _GAP > look.width
    _draw_header(page, header, widths, one_line=one_line, stacked=stacked)
    for summary, row, cost, after in zip(summaries, rows, costs, afters, strict=True):
        _draw_row(page, summary, row, widths, cost if one_line else "", stacked=stacked)
        if cost and not one_line:
            page.paragraph(cost, indent=4 if stacked else widths[0] + _GAP, style="dim")
        if after:
            page.paragraph(after, indent=4 if stacked else widths[0] + _GAP, style="dim")
        if device := device_text(summary):
            page.paragraph(
                look.printable(device), indent=4 if stacked else widths[0] + _GAP, style="dim"
            )
        if harm := harmed_text(summary):
            page.paragraph(harm, indent=4 if stacked else widths[0] + _GAP, style="bold red")
    _footnotes(page, summaries)
    return page.text()


def _modes(summaries: Sequence[Summary]) -> str:
    """`cpr-transfer`, or all modes in the table."""
    found = list(dict.fromkeys(mode_of(s.dimensions) for s in summaries))
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def _pair(summary: Summary) -> str:
    return f"QEMU {summary.old_build} → QEMU {summary.new_build}"


def _cells(summary: Summary, look: Look, *, with_builds: bool) -> list[str]:
    name = summary.scenario
    if with_builds:
        name += f" {summary.old_build} → {summary.new_build}"
    cells = (
        name,
        f"{summary.boots} × {summary.updates}",
        median_text(summary),
        ms(summary.max_ns),
        qemu_text(summary),
        f"{summary.valid}/{summary.failed}",
        proofs_text(summary),
    )
    return [look.printable(cell) for cell in cells]


def _costliest(summary: Summary, look: Look) -> str:
    """The phases with the largest median share of the blackout, largest first."""
    ordered = sorted(summary.phases.items(), key=lambda item: -item[1])[:_COSTLIEST]
    return look.printable(
        " · ".join(f"{name.replace('_', ' ')} {phase_text(summary, name)}" for name, _ in ordered)
    )


def _after(summary: Summary, look: Look) -> str:
    """The guest's cost beyond the blackout: medians of first progress and of brownout."""
    parts = [
        f"{name} {ms(ns)}"
        for name, ns in (
            ("first progress", summary.first_progress_median_ns),
            ("brownout", summary.brownout_median_ns),
        )
        if ns is not None
    ]
    return look.printable(f"then {' · '.join(parts)}") if parts else ""


def _draw_header(
    page: Page,
    header: Sequence[Sequence[str]],
    widths: Sequence[int],
    *,
    one_line: bool,
    stacked: bool,
) -> None:
    for half in (0, 1):
        cells = [cell[half].ljust(width) for cell, width in zip(header, widths, strict=True)]
        tail = ("costliest phases", "(median share)")[half] if one_line else ""
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
    end: str,
    *,
    stacked: bool,
) -> None:
    gap = " " * _GAP
    cells = [cell.ljust(width) + gap for cell, width in zip(row, widths, strict=True)]
    bad = "bold red" if summary.failed else "green"
    if stacked:
        page.line((row[0], "bold"))
        cells[0] = "    "
    styles = ("bold", "", "bold cyan", "", "yellow", bad, _proof_style(summary))
    page.line(*zip(cells, styles, strict=False), (end, "dim"))


def _proof_style(summary: Summary) -> str:
    """Green only where every proof held."""
    if summary.proofs.get("broken"):
        return "bold red"
    if summary.proofs.get("unproven"):
        return "yellow"
    return "green" if summary.proofs else ""


def _footnotes(page: Page, summaries: Sequence[Summary]) -> None:
    """How an interval was found where it is not exact, and what locking RAM costs."""
    notes = []
    if any(s.interval == "t" for s in summaries):
        notes.append("with fewer than 6 boots the interval is Student's t on logarithms")
    if any(s.interval == "none" and s.median_ns is not None for s in summaries):
        notes.append(f"{TOO_FEW_BOOTS} have no interval, 6 have an exact one")
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
    """Failed runs by reason, each with its count and the command that shows the first of them.

    Reasons that differ only in numbers are one group. Empty text when none failed.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.outcome == "failed":
            groups.setdefault(re.sub(r"\d[\d.,]*", "N", run.reason), []).append(run)
    page = Page(look)
    if not groups:
        return page.text()
    count = sum(map(len, groups.values()))
    page.line((f"{count} failed, in no statistic:", "bold red"))
    for group in sorted(groups.values(), key=len, reverse=True):
        scenarios = ", ".join(dict.fromkeys(run.scenario for run in group))
        reason = group[0].reason or "no reason was recorded"
        page.paragraph(f"{len(group)} × {reason} ({scenarios})", indent=6, first=2)
        if (found := rollbacks(group)) is not None:
            page.paragraph(rollbacks_text(found), indent=6, first=6, style="dim")
        page.line(f"      pausebench show {look.printable(group[0].id)}{_option(store)}")
    return page.text()


def unproven(runs: Iterable[Run], look: Look, store: Path | None = None) -> Text:
    """Every unproven run below its reason; empty text when there is none."""
    page = Page(look)
    groups = unproven_groups(runs)
    if not groups:
        return page.text()
    page.line((f"{sum(len(group.members) for group in groups)} unproven:", "yellow"))
    for group in groups:
        scenarios = ", ".join(group.scenarios)
        page.paragraph(f"{len(group.members)} × {group.reason} ({scenarios})", indent=6, first=2)
        for run in group.runs:
            page.line(f"      pausebench show {look.printable(run)}{_option(store)}")
    return page.text()


def _notes(notes: Iterable[str], look: Look) -> Text:
    page = Page(look)
    for note in notes:
        page.paragraph(note, indent=2, first=0, style="dim")
    return page.text()


def closing_lines(
    store: Path, session: str, look: Look | None = None, following: str = "show worst"
) -> Text:
    """Where the session is stored, and the command that may follow."""
    page = Page(look or Look())
    page.line(f"session {session} is stored in {page.look.printable(str(store))}")
    page.line("next: ", (f"pausebench {following}{_option(store)}", "bold"))
    return page.text()


def _option(store: Path | None) -> str:
    """The default store needs no option."""
    return "" if store is None or store == Path("out") else f" --store {shlex.quote(str(store))}"
