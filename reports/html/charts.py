"""The charts of one scenario, from columns, each with its numbers in a table.

What is drawn is aggregated or thinned by a rule that the caption states. A chart takes cells that
have a blackout (`with_data`): nothing is drawn, and no 0, for a pair of builds without data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reports.wording import counted, figure, ms
from results.store.tables.columns import MISSING, Integers, median_of
from results.summary.report_cells import ReportCell

from .svg import BAD, DASHES, INK, MARKERS, PANEL, SERIES, Chart, Key, drawing, series_key, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_STEPS = 300  # of one ECDF
MOST_POINTS = 400  # of one scatter
MOST_VCPUS = 16
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)


def with_data(cells: Sequence[ReportCell]) -> list[ReportCell]:
    """The cells that have a blackout."""
    return [cell for cell in cells if cell.summary.median_ns is not None]


def build_keys(cells: Sequence[ReportCell]) -> tuple[Key, ...]:
    """The legend of a chart with a series per build."""
    return tuple(series_key(i, cell.builds) for i, cell in enumerate(cells))


def ecdf(cells: Sequence[ReportCell], name: str) -> Chart:
    """The share of updates at or below a blackout, a line per build."""
    thinned = False
    limits = {cell.limit.limit_ns for cell in cells if cell.limit}
    with drawing(2.5) as (drawn, axes):
        for i, cell in enumerate(cells):
            values = np.sort(cell.columns.known("blackout_ns")) / 1e6
            at = _ranks(len(values), MOST_STEPS)
            thinned |= len(at) < len(values)
            share = (at + 1) / len(values) * 100.0
            axes.step(
                np.concatenate(([values[0]], values[at])),
                np.concatenate(([0.0], share)),
                where="post",
                color=SERIES[i % len(SERIES)],
                linestyle=DASHES[i % len(DASHES)],
                linewidth=1.8,
            )
        axes.set_xlim(left=0)
        for limit in limits:
            axes.axvline(limit / 1e6, color=BAD, linewidth=1.2, linestyle=(0, (2, 2)))
            right = limit / 1e6 > 0.6 * axes.get_xlim()[1]
            axes.annotate(
                f"budget {figure(limit)} ms", (limit / 1e6, 4), xytext=(-4 if right else 4, 0),
                ha="right" if right else "left", textcoords="offset points", color=BAD, fontsize=8,
            )  # fmt: skip
        axes.set_xlabel("blackout, ms")
        axes.set_ylabel("% of updates at or below")
        axes.set_ylim(0, 102)
        picture = svg(drawn, name, "Cumulative distribution of blackouts")
    caption = "Left is faster; a steep line is consistent."
    if thinned:
        caption += f" Drawn: {MOST_STEPS} evenly spaced ranks of each build, with both ends."
    header = ("build", "runs", *(_quantile_name(q) for q in QUANTILES))
    return Chart("Distribution of blackouts", caption, picture, build_keys(cells), header,
                 tuple(_quantile_row(cell) for cell in cells))  # fmt: skip


def _ranks(count: int, most: int) -> Integers:
    """Positions of at most `most` of `count` sorted values, evenly spaced, both ends kept."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def _quantile_name(q: float) -> str:
    return "longest" if q == 1.0 else f"{q * 100:g} %"


def _quantile_row(cell: ReportCell) -> tuple[str, ...]:
    values = cell.columns.known("blackout_ns")
    found = np.quantile(values, QUANTILES, method="inverted_cdf")
    return (cell.builds, str(len(values)), *(ms(int(v)) for v in found))


def run_order(cells: Sequence[ReportCell], name: str) -> Chart:
    """Blackouts in the order in which they were measured: drift, bursts and outliers.

    `cells` are all of the scenario, as failed runs are marked too.
    """
    rule = ""
    shown = with_data(cells)
    seqs = np.sort(np.concatenate([cell.columns.numbers["seq"] for cell in cells]))
    with drawing(2.4) as (drawn, axes):
        failed = np.concatenate([_order(c, seqs)[~c.columns.completed] for c in cells])
        for i, cell in enumerate(shown):
            x, y = _order(cell, seqs), cell.columns.numbers["blackout_ns"]
            kept = cell.columns.completed & (y != MISSING)
            x, y = x[kept], y[kept]
            if len(x) > MOST_POINTS // len(shown):
                x, y = _extremes(x, y, MOST_POINTS // len(shown) // 3)
                rule = (
                    " Drawn: the shortest, the middle and the longest blackout of each of equally "
                    "long stretches, so that no outlier is lost."
                )
            axes.plot(x, y / 1e6, MARKERS[i % len(MARKERS)], color=SERIES[i % len(SERIES)],
                      markersize=3.4, markeredgewidth=0, alpha=0.85)  # fmt: skip
        if len(failed):
            at = failed[_ranks(len(failed), MOST_POINTS)]
            axes.plot(at, np.zeros(len(at)), "x", color=BAD, markersize=5, clip_on=False)
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, len(seqs) + 1)
        axes.set_xlabel("updates of this scenario, in run order")
        axes.set_ylabel("blackout, ms")
        picture = svg(drawn, name, "Blackouts in run order")
    caption = "A slope means that the host drifts; interleaved builds drift together." + rule
    keys = build_keys(shown)
    if len(failed):
        caption += (
            f" Crosses on the axis: {counted(len(failed), 'failed run')}, without a blackout."
        )
        keys = (*keys, Key("bad", "failed", "✕"))
    header = ("build", *(f"median of the {part} third" for part in ("first", "second", "last")))
    rows = tuple((cell.builds, *_thirds(cell)) for cell in shown)
    return Chart("Blackouts in run order", caption, picture, keys, header, rows)


def _order(cell: ReportCell, seqs: Integers) -> Integers:
    """Each run's number among all runs of the scenario, from 1."""
    return np.searchsorted(seqs, cell.columns.numbers["seq"]) + 1


def _extremes(x: Integers, y: Integers, bins: int) -> tuple[Integers, Integers]:
    """Of each of `bins` stretches: the positions of its smallest, middle and largest value."""
    kept = []
    for part in np.array_split(np.arange(len(y)), max(1, bins)):
        order = part[np.argsort(y[part], kind="stable")]
        kept += [order[0], order[len(order) // 2], order[-1]]
    chosen = np.unique(np.array(kept, dtype=np.int64))
    return x[chosen], y[chosen]


def _thirds(cell: ReportCell) -> list[str]:
    values = cell.columns.known("blackout_ns")
    return [ms(median_of(part)) for part in np.array_split(values, 3)]


def vcpus(cells: Sequence[ReportCell], name: str) -> Chart | None:
    """Spread of each vCPU's blackout; None where guests have one vCPU."""
    count = max((len(cell.columns.vcpus) for cell in cells), default=0)
    if count < 2:
        return None
    shown = _widest(cells, count)
    with drawing(0.8 + 0.2 * len(shown) * len(cells)) as (drawn, axes):
        ticks, rows = [], []
        for place, number in enumerate(shown):
            for i, cell in enumerate(cells):
                at = place + (i - (len(cells) - 1) / 2) * 0.8 / len(cells)
                values = _vcpu(cell, number)
                rows.append((f"vCPU {number}", cell.builds, *_spread(axes, at, values, i)))
            ticks.append(f"vCPU {number}")
        axes.set_yticks(range(len(shown)), ticks)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(left=0)
        axes.set_xlabel("blackout of the vCPU, ms")
        picture = svg(drawn, name, "Spread of the blackout by vCPU")
    caption = "Line: all runs; bar: the middle half; mark: the middle one."
    if len(shown) < count:
        caption += f" Shown: the {len(shown)} of {count} vCPUs with the longest blackouts."
    header = ("vCPU", "build", "shortest", "25 %", "50 %", "75 %", "longest")
    return Chart("Blackout by vCPU", caption, picture, build_keys(cells), header, tuple(rows))


def _widest(cells: Sequence[ReportCell], count: int) -> list[int]:
    medians = [
        max((median_of(_vcpu(cell, number)) or 0 for cell in cells), default=0)
        for number in range(count)
    ]
    return sorted(sorted(range(count), key=lambda n: -medians[n])[:MOST_VCPUS])


def _vcpu(cell: ReportCell, number: int) -> Integers:
    if number >= len(cell.columns.vcpus):
        return np.empty(0, dtype=np.int64)
    values = cell.columns.vcpus[number]
    known: Integers = values[cell.columns.completed & (values != MISSING)]
    return known


def _spread(axes: Axes, at: float, values: Integers, i: int) -> list[str]:
    if not len(values):
        return ["–"] * 5
    found = np.quantile(values, (0, 0.25, 0.5, 0.75, 1), method="inverted_cdf")
    low, q1, middle, q3, high = (found / 1e6).tolist()
    colour = SERIES[i % len(SERIES)]
    axes.plot([low, high], [at, at], color=colour, linewidth=1.0, solid_capstyle="butt")
    axes.plot([q1, q3], [at, at], color=colour, linewidth=5, alpha=0.55, solid_capstyle="butt")
    axes.plot([middle], [at], MARKERS[i % len(MARKERS)], color=colour, markersize=5,
              markeredgecolor=PANEL, markeredgewidth=0.8)  # fmt: skip
    return [ms(int(value)) for value in found]
