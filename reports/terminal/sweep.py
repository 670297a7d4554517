"""A sweep as text: medians by size, and how much each figure grows per unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.wording import figure, ms
from results.stats.slopes import Growth, Point, Slope

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

_METRICS = (
    ("blackout", "blackout"),
    ("handover", "handover"),
    ("first progress", "first_progress"),
    ("brownout", "brownout"),
)


def growth_page(found: Growth, look: Look) -> Text:
    """A table of medians for every scenario and mode, then the slopes."""
    page = Page(look)
    for scenario, mode in dict.fromkeys((p.scenario, p.mode) for p in found.points):
        page.paragraph(f"{scenario}, {mode}, by {found.dimension}", style="bold")
        header = [found.unit, "boots", *(title for title, _ in _METRICS)]
        rows = [
            [
                f"{point.value:g}",
                str(point.boots),
                *(_length(point, name) for _, name in _METRICS),
            ]
            for point in found.points
            if (point.scenario, point.mode) == (scenario, mode)
        ]
        rows = [[look.say(cell) for cell in row] for row in rows]
        widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
        for line in (header, *rows):
            cells = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            page.line(("  " + "  ".join(cells), "dim" if line is header else ""))
        mine = [s for s in found.slopes if (s.scenario, s.mode) == (scenario, mode)]
        for slope in mine:
            if not slope.is_phase:
                page.paragraph(_said(slope, found.unit), indent=4, first=2)
        for missing in found.missing:
            if (missing.scenario, missing.mode) == (scenario, mode):
                name = missing.name.replace("_", " ")
                page.paragraph(f"{name}: no slope: {missing.reason}", indent=4, first=2)
        _phases(page, found.phases_of(scenario, mode), found.unit)
        page.line()
    if found.failed:
        page.paragraph(
            f"{found.failed} runs failed; they are stored and in no figure", style="bold red"
        )
    page.paragraph(
        "medians over boots of each boot's median; slopes by Theil and Sen, 95 % interval",
        style="dim",
    )
    return page.text()


def _length(point: Point, name: str) -> str:
    """`28.0 ms`, or `28.0 ms or more` where the guest was not back."""
    text = ms(point.metrics.get(name))
    return f"{text} or more" if name in point.at_least else text


def _said(slope: Slope, unit: str) -> str:
    name = slope.name.replace("_", " ")
    doubt = "" if slope.clear else ": cannot be distinguished from 0"
    return (
        f"{name}: {_signed(slope.slope_ns)} ms per {unit} [{_signed(slope.low_ns)}, "
        f"{_signed(slope.high_ns)}]{doubt}"
    )


def _phases(page: Page, clear: Sequence[Slope], unit: str) -> None:
    if not clear:
        return
    each = "; ".join(
        f"{s.name.replace('_', ' ')} {_signed(s.slope_ns)} [{_signed(s.low_ns)}, "
        f"{_signed(s.high_ns)}]"
        for s in clear
    )
    page.paragraph(f"phases that grow, ms per {unit}: {each}", indent=4, first=2)


def _signed(ns: int) -> str:
    return f"+{figure(ns)}" if ns >= 0 else figure(ns)
