"""The result of a sweep as tables: medians by size, and slopes."""

from __future__ import annotations

from results.stats.slopes import METRICS, Dimension, Growth, SizeMedians, Slope

from .wording import interval_text, ms, signed

DIMENSIONS: dict[Dimension, str] = {
    "ram": "guest RAM",
    "vcpus": "vCPUs",
    "devices": "additional devices",
}
SLOPES_HEADER = ("scenario", "mode", "what", "ms per unit", "95 %", "")


def slope_text(slope: Slope, unit: str) -> str:
    """`+13.2 [+9.10, +17.0] ms per GiB`."""
    return f"{interval_text(slope.slope_ns, slope.low_ns, slope.high_ns)} ms per {unit}"


def blackout_slopes(growth: Growth) -> list[Slope]:
    """Slopes of the blackout, those of cpr-transfer first, the steepest first."""
    found = [slope for slope in growth.slopes if slope.name == "blackout" and not slope.is_phase]
    return sorted(found, key=lambda slope: (slope.mode != "cpr-transfer", -abs(slope.slope_ns)))


def size_header(growth: Growth) -> tuple[str, ...]:
    """The head of `size_row`."""
    return (growth.unit, "boots", *(metric.replace("_", " ") for metric in METRICS))


def size_row(point: SizeMedians) -> tuple[str, ...]:
    """A size, its boots and the medians of all metrics."""
    return (
        f"{point.value:g}",
        str(point.boots),
        *(length_text(point, metric) for metric in METRICS),
    )


def length_text(point: SizeMedians, metric: str) -> str:
    """`28.0 ms`, or `28.0 ms or more` where the guest was not back when watching ended."""
    text = ms(point.metrics.get(metric))
    return f"{text} or more" if metric in point.at_least else text


def missing_slopes(growth: Growth) -> list[str]:
    """The metrics without a slope, and why."""
    return [
        f"{missing.scenario}, {missing.mode}, {missing.name.replace('_', ' ')}: no slope, "
        f"{missing.reason}"
        for missing in growth.missing
    ]


def slope_rows(growth: Growth) -> list[tuple[str, ...]]:
    """Every metric's slope, then those of the phases that make the blackout grow."""
    groups = list(dict.fromkeys((slope.scenario, slope.mode) for slope in growth.slopes))
    found: list[Slope] = []
    for scenario, mode in groups:
        found += [
            slope
            for slope in growth.slopes
            if (slope.scenario, slope.mode) == (scenario, mode) and not slope.is_phase
        ]
        found += growth.phases_of(scenario, mode)
    return [_slope_row(slope) for slope in found]


def _slope_row(slope: Slope) -> tuple[str, ...]:
    name = slope.name.replace("_", " ")
    return (
        slope.scenario,
        slope.mode,
        f"phase {name}" if slope.is_phase else name,
        signed(slope.slope_ns),
        f"{signed(slope.low_ns)} to {signed(slope.high_ns)}",
        "" if slope.clear else "not distinguishable from no growth",
    )
