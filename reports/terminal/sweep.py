"""A sweep as text: medians by size, and how much each figure grows per unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.growth_tables import missing_slopes, size_header, size_row, slope_text
from reports.wording import interval_text
from results.stats.slopes import Growth, Slope

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text


def growth_page(found: Growth, look: Look) -> Text:
    """A table of medians for every scenario and mode, each with its slopes."""
    page = Page(look)
    for scenario, mode in dict.fromkeys((p.scenario, p.mode) for p in found.points):
        page.paragraph(f"{scenario}, {mode}, by {found.dimension}", style="bold")
        points = [p for p in found.points if (p.scenario, p.mode) == (scenario, mode)]
        _table(page, size_header(found), [size_row(point) for point in points])
        for slope in found.slopes:
            if (slope.scenario, slope.mode) == (scenario, mode) and not slope.is_phase:
                page.paragraph(_slope(slope, found.unit), indent=4, first=2)
        _phases(page, found.phases_of(scenario, mode), found.unit)
        page.line()
    for line in missing_slopes(found):
        page.paragraph(line, indent=2, first=0, style="yellow")
    if found.failed:
        page.paragraph(
            f"{found.failed} runs failed; they are stored and in no figure", style="bold red"
        )
    page.paragraph(
        "medians over boots of each boot's median; slopes by Theil and Sen, 95 % interval",
        style="dim",
    )
    return page.text()


def _table(page: Page, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [[page.look.printable(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        cells = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        page.line(("  " + "  ".join(cells), "" if number else "dim"))


def _slope(slope: Slope, unit: str) -> str:
    doubt = "" if slope.clear else ": not distinguishable from no growth"
    return f"{slope.name.replace('_', ' ')}: {slope_text(slope, unit)}{doubt}"


def _phases(page: Page, clear: Sequence[Slope], unit: str) -> None:
    if not clear:
        return
    each = "; ".join(
        f"{s.name.replace('_', ' ')} {interval_text(s.slope_ns, s.low_ns, s.high_ns)}"
        for s in clear
    )
    page.paragraph(f"phases that grow, ms per {unit}: {each}", indent=4, first=2)
