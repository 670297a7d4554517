"""Phase × fault as a table: what came of it, where the guest is alive, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.wording import ms
from results.summary.failures.faults import PHASES, FaultRow

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

_GAP = "  "
_HEADER = ("fault", "update", "guest in", "pause", "giving up", "exit")


def faults_table(rows: Sequence[FaultRow], look: Look) -> Text:
    """The rows by phase; each reason below its row."""
    page = Page(look)
    cells = [[look.printable(cell) for cell in _cells(row)] for row in rows]
    widths = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(_HEADER)]
    page.line((_joined(_HEADER, widths), "bold"))
    for phase, about in PHASES.items():
        mine = [(row, words) for row, words in zip(rows, cells, strict=True) if row.phase == phase]
        if not mine:
            continue
        page.line()
        page.paragraph(f"{phase}: {about}", style="bold")
        for row, words in mine:
            page.line((_joined(words, widths), "" if row.as_expected else "bold red"))
            if row.reason:
                page.paragraph(row.reason, indent=4, style="dim")
    page.line()
    wrong = [row for row in rows if not row.as_expected]
    where = f"{len(rows) - len(wrong)} of {len(rows)} guests are where they may be"
    page.line((where, "bold red" if wrong else "green"))
    return page.text()


def _cells(row: FaultRow) -> tuple[str, ...]:
    name = row.fault
    if row.old_build != row.new_build:
        name += f" ({row.old_build} → {row.new_build})"
    pause = "never stopped" if row.pause_ns == 0 else ms(row.pause_ns)
    giving_up = f"{row.giving_up} {ms(row.giving_up_ns)}" if row.giving_up_ns is not None else "-"
    where = f"{row.where}" if row.where in ("nowhere", "unknown") else f"{row.where} QEMU"
    return name, row.outcome, where, pause, giving_up, str(row.exit_status)


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
