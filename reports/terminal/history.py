"""A scenario over the nights: a table with a chart in it for a terminal, a page for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.wording import (
    about_dimensions,
    change_text,
    day,
    figure,
    percent,
    state_text,
    why_text,
)
from results.history.lines import Line, Point
from results.stats.announcements import CONFIRMING_NIGHTS, FIRST_NIGHTS, Announcement

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

_LEAST_CHART = 16
_WORDS = {
    ("confirmed", "step"): "changed",
    ("confirmed", "drift"): "drifts",
    ("provisional", "step"): "may have changed",
    ("provisional", "drift"): "may drift",
    ("withdrawn", "step"): "no change after all",
    ("withdrawn", "drift"): "no drift after all",
}


def history_page(lines: Sequence[Line], look: Look) -> Text:
    """One block per line of the history; a change stands between the nights it parts."""
    page = Page(look)
    for number, line in enumerate(lines):
        if number:
            page.line()
        _draw_line(page, line)
    return page.text()


def _draw_line(page: Page, line: Line) -> None:
    look = page.look
    say = look.printable
    page.line((say(f"{line.name}, host {line.key.host or 'unnamed'}"), "bold"))
    about = f"{about_dimensions(line.key.dimensions)}; probes {line.key.tier}"
    page.paragraph(about, 2, 2, "dim")
    if line.points:
        _draw_points(page, line)
    if line.empty:
        sessions = ", ".join(session.id for session in line.empty)
        page.paragraph(f"without a valid run: {sessions}", 4, 2, "yellow")
    if line.confirmed:
        page.paragraph(_now(line), 2, style="dim")
    elif line.points:
        few = len(line.points) < FIRST_NIGHTS
        hint = " (it takes six nights to see one)" if few else ""
        text = f"no confirmed change of level in {len(line.points)} nights{hint}"
        page.paragraph(text, 2, style="dim")


def _now(line: Line) -> str:
    """The present level, and since when."""
    last = line.confirmed[-1]
    level = figure(round(line.levels()[-1].last * 1e6))
    kind = "a drift" if last.kind == "drift" else "a step"
    since = day(line.points[last.at])[:10]
    return f"now at {level} ms; last change: {kind} of {percent(last.percent)} from {since} on"


def _draw_points(page: Page, line: Line) -> None:
    look = page.look
    highest = max(max(p.high_ns or 0, p.median_ns) for p in line.points)
    rows = [
        (day(p), _interval(p), f"{p.valid}/{p.failed}", look.printable(p.version.partition(" ")[0]))
        for p in line.points
    ]
    header = ("night (UTC)", "median ms [95 %]", "valid/failed", "QEMU")
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(look.printable(word)) for word in column) for column in columns]
    width = max(_LEAST_CHART, look.width - sum(widths) - 12)
    scale = f"0 {'─' * max(0, width - len(figure(highest)) - 6)} {figure(highest)}"
    page.line((_row(look, header, widths, scale), "bold"))
    for at, (point, row) in enumerate(zip(line.points, rows, strict=True)):
        for change in line.changes:
            if change.at == at:
                _draw_change(page, line, change)
        page.line(_row(look, row, widths, _mark(point, highest, width)))


def _row(look: Look, words: Sequence[str], widths: Sequence[int], chart: str) -> str:
    cells = [look.printable(word).ljust(width) for word, width in zip(words, widths, strict=True)]
    return "  " + "  ".join([*cells, look.printable(chart)])


def _interval(point: Point) -> str:
    if point.low_ns is None or point.high_ns is None:
        return figure(point.median_ns)
    return f"{figure(point.median_ns)} [{figure(point.low_ns)}, {figure(point.high_ns)}]"


def _mark(point: Point, highest: int, width: int) -> str:
    """A bar of dashes for the interval, a block for the median, on a scale from 0."""

    def place(ns: int) -> int:
        return min(width - 1, ns * (width - 1) // max(1, highest))

    cells = [" "] * width
    if point.low_ns is not None and point.high_ns is not None:
        for i in range(place(point.low_ns), place(point.high_ns) + 1):
            cells[i] = "─"
    cells[place(point.median_ns)] = "█"
    return "".join(cells).rstrip()


def _draw_change(page: Page, line: Line, change: Announcement) -> None:
    word = _WORDS[change.state, change.kind]
    if change.became is not None:
        word = f"announced as a {change.kind}"
    text = f"{word}: {change_text(line, change)}"
    if change.state == "withdrawn":
        page.paragraph(f"{text}; {state_text(line, change)}", 6, 4, "dim")
        return
    if change.state == "provisional":
        text += f", {_seen(change)}"
    colour = "red" if change.rises else "green"
    style = colour if change.state == "provisional" else f"bold {colour}"
    page.paragraph(f"{text}; {why_text(line, change)}", 6, 4, style)


def _seen(change: Announcement) -> str:
    """How far a provisional change is from being confirmed."""
    if change.found < CONFIRMING_NIGHTS:
        return f"seen by {change.found} of {CONFIRMING_NIGHTS} nights in a row"
    return "not clear enough yet"
