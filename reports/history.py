"""A scenario over the nights: a table with a chart in it for a terminal, a page for a browser."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from results.change_points import Change
from results.history import Line, Point

from .drawing import BAD, SERIES, Chart, Key, drawing, svg
from .html import about_dimensions, style, template
from .look import Look, Page, figure, ms, percent

if TYPE_CHECKING:
    from rich.text import Text

_MOST_DRAWN = 400
_LEAST_CHART = 16


def day(point: Point) -> str:
    """`2026-11-25 00:31`, UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(point.started_unix_ns // 10**9))


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
    say = look.say
    page.line((say(f"{line.name}, host {line.host or 'unnamed'}"), "bold"))
    page.paragraph(about_dimensions(line.dimensions), 2, 2, "dim")
    if line.points:
        _draw_points(page, line)
    if line.empty:
        page.paragraph(f"without a valid run: {', '.join(line.empty)}", 4, 2, "yellow")
    if not line.changes and line.points:
        few = " (it takes six nights to see one)" if len(line.points) < 6 else ""
        page.paragraph(f"no change of level in {len(line.points)} nights{few}", 2, style="dim")


def _draw_points(page: Page, line: Line) -> None:
    look = page.look
    highest = max(max(p.high_ns or 0, p.median_ns) for p in line.points)
    rows = [
        (day(p), _interval(p), f"{p.valid}/{p.failed}", look.say(p.version.partition(" ")[0]))
        for p in line.points
    ]
    header = ("night (UTC)", "median ms [95 %]", "valid/failed", "QEMU")
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(look.say(word)) for word in column) for column in columns]
    width = max(_LEAST_CHART, look.width - sum(widths) - 12)
    changes = {change.at: change for change in line.changes}
    scale = f"0 {'─' * max(0, width - len(figure(highest)) - 6)} {figure(highest)}"
    page.line((_row(look, header, widths, scale), "bold"))
    for at, (point, row) in enumerate(zip(line.points, rows, strict=True)):
        if at in changes:
            _draw_change(page, line, changes[at])
        page.line(_row(look, row, widths, _mark(point, highest, width)))


def _row(look: Look, words: Sequence[str], widths: Sequence[int], chart: str) -> str:
    cells = [look.say(word).ljust(width) for word, width in zip(words, widths, strict=True)]
    return "  " + "  ".join([*cells, look.say(chart)])


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


def _draw_change(page: Page, line: Line, change: Change) -> None:
    why = "; ".join(line.why(change)) or "nothing that is recorded changed"
    text = (
        f"changed: {figure(round(change.before * 1e6))} → {figure(round(change.after * 1e6))} ms "
        f"({percent(change.percent)}); {why}"
    )
    page.paragraph(text, 6, 4, "bold red" if change.percent > 0 else "bold green")


# -- for machines and browsers --------------------------------------------------------------


def history_document(scenario: str, lines: Sequence[Line]) -> dict[str, Any]:
    """Values that JSON has; times in ns, levels of changes in ms."""
    return {
        "schema": 1,
        "scenario": scenario,
        "lines": [
            {
                "old_build": line.old_build,
                "new_build": line.new_build,
                "dimensions": line.dimensions,
                "host": line.host,
                "points": [asdict(point) for point in line.points],
                "changes": [
                    asdict(change)
                    | {
                        "percent": change.percent,
                        "session": line.points[change.at].session,
                        "why": list(line.why(change)),
                    }
                    for change in line.changes
                ],
                "empty": list(line.empty),
            }
            for line in lines
        ],
    }


def history_html(scenario: str, lines: Sequence[Line]) -> str:
    """One self-contained page with a chart per line of the history."""
    drawn = [(line, history_chart(line, f"h{i}")) for i, line in enumerate(lines) if line.points]
    return template("history.html.j2").render(
        scenario=scenario, drawn=drawn, style=style(), about=about_dimensions, day=day,
        percent=percent,
    )  # fmt: skip


def history_chart(line: Line, name: str) -> Chart:
    """Medians with their intervals, levels between changes, a rule at each change."""
    points = line.points[-_MOST_DRAWN:]
    first = len(line.points) - len(points)
    x = list(range(1, len(points) + 1))
    with drawing(2.5) as (drawn, axes):
        for at, point in zip(x, points, strict=True):
            if point.low_ns is not None and point.high_ns is not None:
                axes.plot([at, at], [point.low_ns / 1e6, point.high_ns / 1e6], color=SERIES[0],
                          linewidth=1.2, alpha=0.6)  # fmt: skip
        axes.plot(x, [p.median_ns / 1e6 for p in points], "o", color=SERIES[0], markersize=3.8)
        for start, end, level in _levels(line):
            if end > first:
                axes.plot([max(start, first) - first + 0.6, end - first + 0.4], [level, level],
                          color=SERIES[0], linewidth=1.6)  # fmt: skip
        for change in line.changes:
            if change.at >= first:
                axes.axvline(change.at - first + 0.5, color=BAD, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, len(points) + 1)
        axes.set_xlabel(f"nights, {day(points[0])[:10]} to {day(points[-1])[:10]}")
        axes.set_ylabel("median blackout, ms")
        picture = svg(drawn, name, "Median blackout by night")
    caption = "Mark and line: the night's median and its 95 % interval over boots."
    if line.changes:
        caption += " A change of level stands at the dashed line; a single outlier is none."
    if first:
        caption += f" The last {_MOST_DRAWN} of {len(line.points)} nights are drawn."
    header = (
        "night (UTC)",
        "session",
        "median",
        "95 %",
        "longest",
        "valid/failed",
        "QEMU",
        "kernel",
    )
    return Chart(line.name, caption, picture, (Key("series-0", line.builds, "●"),), header,
                 tuple(_numbers(point) for point in points))  # fmt: skip


def _levels(line: Line) -> list[tuple[int, int, float]]:
    """(first night, end, median of medians in ms) of the stretches between changes."""
    from results.statistics import median_ns

    edges = [0, *(change.at for change in line.changes), len(line.points)]
    return [
        (a, b, (median_ns(p.median_ns for p in line.points[a:b]) or 0) / 1e6)
        for a, b in pairwise(edges)
    ]


def _numbers(point: Point) -> tuple[str, ...]:
    bounds = "–"
    if point.low_ns is not None and point.high_ns is not None:
        bounds = f"{figure(point.low_ns)} to {figure(point.high_ns)}"
    return (
        day(point), point.session, ms(point.median_ns), bounds, ms(point.max_ns),
        f"{point.valid}/{point.failed}", point.version.partition(" ")[0], point.kernel,
    )  # fmt: skip
