"""The charts of a sweep: the blackout by size, and its slope where it is clear."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from reports.growth_tables import DIMENSIONS, size_header, size_row, slope_text
from results.stats.slopes import Growth, Slope

from .svg import MUTED, SERIES, Chart, Key, drawing, svg


def growth_charts(growth: Growth) -> list[Chart]:
    """A chart for each scenario and mode."""
    groups = list(dict.fromkeys((point.scenario, point.mode) for point in growth.points))
    return [_chart(growth, *group, f"growth{i}") for i, group in enumerate(groups)]


def _chart(growth: Growth, scenario: str, mode: str, name: str) -> Chart:
    points = [p for p in growth.points if (p.scenario, p.mode) == (scenario, mode)]
    slopes = [s for s in growth.slopes if (s.scenario, s.mode) == (scenario, mode)]
    blackout = next((s for s in slopes if s.name == "blackout" and not s.is_phase), None)
    drawn = [point for point in points if "blackout" in point.metrics]
    with drawing(2.4) as (canvas, axes):
        x = [point.value for point in drawn]
        y = [point.metrics["blackout"] / 1e6 for point in drawn]
        if blackout is not None and blackout.clear and len(drawn) > 1:
            line = _line(x, y, blackout.slope_ns / 1e6)
            axes.plot([x[0], x[-1]], line, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.plot(x, y, "o", color=SERIES[0], markersize=6)
        axes.set_ylim(0, 1.15 * max(y, default=1.0))
        axes.set_xlim(0, 1.05 * max(x, default=1.0))
        axes.set_xlabel(f"{DIMENSIONS[growth.dimension]}, {growth.unit}")
        axes.set_ylabel("median blackout, ms")
        picture = svg(canvas, name, f"Blackout of {scenario} by size, {mode}")
    keys = (Key("series-0", "median over boots", "●"), Key("muted", "slope", "┄"))
    return Chart(
        f"{scenario}, {mode}",
        _caption(growth, blackout),
        picture,
        keys if blackout is not None and blackout.clear else keys[:1],
        size_header(growth),
        tuple(size_row(point) for point in points),
    )


def _line(x: Sequence[float], y: Sequence[float], slope: float) -> list[float]:
    """The ends of the line of that slope through the medians, as Theil and Sen's estimate has."""
    offset = median(y) - slope * median(x)
    return [offset + slope * x[0], offset + slope * x[-1]]


def _caption(growth: Growth, slope: Slope | None) -> str:
    if slope is None:
        return "Too few sizes or boots for a slope."
    clear = "" if slope.clear else ": not distinguishable from no growth"
    return f"Blackout {slope_text(slope, growth.unit)}{clear} (Theil-Sen, 95 % interval)."
