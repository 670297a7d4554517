"""The history of a scenario as one HTML page: a chart for each line, the numbers beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from reports.html.page import render
from reports.html.svg import BAD, SERIES, Chart, Key, drawing, svg
from reports.wording import about_dimensions, day, figure, ms, percent
from results.summary.history import Line, Point

_MOST_DRAWN = 400


def history_html(scenario: str, lines: Sequence[Line]) -> str:
    """One self-contained page with a chart per line of the history."""
    drawn = [(line, history_chart(line, f"h{i}")) for i, line in enumerate(lines) if line.points]
    return render(
        "history.html.j2",
        scenario=scenario,
        drawn=drawn,
        about=about_dimensions,
        day=day,
        percent=percent,
    )


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
    from results.stats.intervals import median_ns

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
