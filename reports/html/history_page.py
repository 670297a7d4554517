"""The history of a scenario as one HTML page: a chart for each line, the numbers beside it."""

from __future__ import annotations

from collections.abc import Sequence

from reports.html.page import render
from reports.html.svg import BAD, INK, MUTED, SERIES, Chart, Key, drawing, svg
from reports.wording import (
    about_dimensions,
    change_text,
    counted,
    day,
    figure,
    ms,
    percent,
    state_text,
    why_text,
)
from results.history.lines import Line, Point

_MOST_DRAWN = 400
# State of a change → colour and dashes of the rule at its first night.
_RULES = {"confirmed": (BAD, (4, 2)), "provisional": (MUTED, (1, 2))}


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
        counted=counted,
        change_text=change_text,
        state_text=state_text,
        why_text=why_text,
    )


def history_chart(line: Line, name: str) -> Chart:
    """Medians with their intervals, levels between changes, a rule at each change that stands."""
    points = line.points[-_MOST_DRAWN:]
    first = len(line.points) - len(points)
    x = list(range(1, len(points) + 1))
    with drawing(2.5) as (drawn, axes):
        for at, point in zip(x, points, strict=True):
            if point.low_ns is not None and point.high_ns is not None:
                axes.plot([at, at], [point.low_ns / 1e6, point.high_ns / 1e6], color=SERIES[0],
                          linewidth=1.2, alpha=0.6)  # fmt: skip
        axes.plot(x, [p.median_ns / 1e6 for p in points], "o", color=SERIES[0], markersize=3.8)
        for level in line.levels():
            axes.plot([level.start - first + 0.6, level.end - first + 0.4],
                      [level.first, level.last], color=INK, linewidth=1.4, zorder=3)  # fmt: skip
        for change in line.changes:
            if change.at >= first and change.state in _RULES:
                colour, dashes = _RULES[change.state]
                axes.axvline(change.at - first + 0.5, color=colour, linewidth=1,
                             linestyle=(0, dashes))  # fmt: skip
        axes.set_ylim(0, 1.06 * max(max(p.median_ns, p.high_ns or 0) for p in points) / 1e6)
        axes.set_xlim(0, len(points) + 1)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel(f"nights, {day(points[0])[:10]} to {day(points[-1])[:10]}")
        axes.set_ylabel("median blackout, ms")
        picture = svg(drawn, name, "Median blackout by night")
    caption = "Mark and line: the night's median and its 95 % interval over boots."
    states = {change.state for change in line.changes}
    if "confirmed" in states:
        caption += " Dashed: the first night of another level or of a drift."
    if "provisional" in states:
        caption += " Dotted: one that three nights have not confirmed yet."
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


def _numbers(point: Point) -> tuple[str, ...]:
    bounds = "–"
    if point.low_ns is not None and point.high_ns is not None:
        bounds = f"{figure(point.low_ns)} to {figure(point.high_ns)}"
    return (
        day(point), point.session, ms(point.median_ns), bounds, ms(point.max_ns),
        f"{point.valid}/{point.failed}", point.version.partition(" ")[0], point.kernel,
    )  # fmt: skip
