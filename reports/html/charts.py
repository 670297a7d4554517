"""The charts of one scenario, from columns: what they show is aggregated or thinned by a rule
that the caption states, and their numbers stand in a table beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reports.wording import figure, ms, percent
from results.store.columns import MISSING, Integers, median_of
from results.summary.report_data import Cell
from results.timeline.marks import PHASE_NAMES, SHARING_PHASES, phase_label

from .svg import (
    BAD,
    DASHES,
    INK,
    MARKERS,
    PANEL,
    PHASES,
    SERIES,
    Chart,
    Key,
    drawing,
    series_key,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_STEPS = 300  # of one ECDF
MOST_POINTS = 400  # of one scatter
MOST_VCPUS = 16
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)

# The last two colours are that of phases which an older pausebench told, and that of no phase.
RESIDUAL_COLOUR = len(PHASES) - 1
UNKNOWN_COLOUR = len(PHASES) - 2


def phase_colour(name: str) -> int:
    """A phase has the same colour everywhere."""
    if name == "residual":
        return RESIDUAL_COLOUR
    return SHARING_PHASES.index(name) % UNKNOWN_COLOUR if name in SHARING_PHASES else UNKNOWN_COLOUR


def in_order(names: Sequence[str]) -> list[str]:
    """Phases in the order in which they happen; one that the table does not know comes behind."""
    known = {name: i for i, name in enumerate(PHASE_NAMES)}
    return sorted(names, key=lambda name: known.get(name, len(known)))


def ecdf(cells: Sequence[Cell], name: str) -> Chart:
    """Which share of the handovers stayed below a blackout, a line per build."""
    thinned = False
    limits = {cell.limit.limit_ns for cell in cells if cell.limit}
    with drawing(2.5) as (drawn, axes):
        for i, cell in enumerate(cells):
            values = np.sort(cell.columns.known("blackout_ns")) / 1e6
            if not len(values):
                continue
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
        axes.set_ylabel("% of handovers at or below")
        axes.set_ylim(0, 102)
        picture = svg(drawn, name, "Cumulative distribution of blackouts")
    caption = "Further left is better; the steeper, the steadier."
    if thinned:
        caption += f" Drawn: {MOST_STEPS} evenly spaced ranks of each build, first and last kept."
    header = ("build", "runs", *(_quantile_name(q) for q in QUANTILES))
    return Chart("How long guests stood still", caption, picture, _keys(cells), header,
                 tuple(_quantile_row(cell) for cell in cells))  # fmt: skip


def _ranks(count: int, most: int) -> Integers:
    """Positions of at most `most` of `count` sorted values, evenly spaced, both ends kept."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def _quantile_name(q: float) -> str:
    return {0.5: "median", 1.0: "longest"}.get(q, f"{q * 100:g} %")


def _quantile_row(cell: Cell) -> tuple[str, ...]:
    values = cell.columns.known("blackout_ns")
    if not len(values):
        return (cell.builds, "0", *("–" for _ in QUANTILES))
    found = np.quantile(values, QUANTILES, method="inverted_cdf")
    return (cell.builds, str(len(values)), *(ms(int(v)) for v in found))


def _keys(cells: Sequence[Cell]) -> tuple[Key, ...]:
    return tuple(series_key(i, cell.builds) for i, cell in enumerate(cells))


def phases(cells: Sequence[Cell], name: str) -> Chart:
    """Where the time goes: mean shares of the blackout, which alone add up."""
    means = [_mean_shares(cell) for cell in cells]
    names = in_order(list(dict.fromkeys(n for mean in means for n in mean if n != "residual")))
    names += ["residual"] if any("residual" in mean for mean in means) else []
    names = [n for n in names if any(mean.get(n, 0) > 0 for mean in means)]
    with drawing(0.75 + 0.42 * len(cells)) as (drawn, axes):
        for row, mean in enumerate(means):
            start = 0.0
            for phase in names:
                length = mean.get(phase, 0) / 1e6
                colour = PHASES[phase_colour(phase)]
                axes.barh(row, length, left=start, height=0.62, color=colour, edgecolor=PANEL,
                          linewidth=0.8)  # fmt: skip
                start += length
            axes.text(start, row, f" {figure(round(start * 1e6))}", va="center", fontsize=8)
        axes.set_yticks(range(len(cells)), [_short(cell.builds) for cell in cells])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.set_xlim(left=0)
        axes.set_xlabel("mean share of the blackout, ms")
        picture = svg(drawn, name, "Phases of the blackout, stacked by build")
    keys = tuple(
        Key(f"phase-{phase_colour(n)}", "no phase" if n == "residual" else phase_label(n))
        for n in names
    )
    header = ("phase", *(f"{cell.builds}: {what}" for cell in cells for what in ("mean", "median")))
    rows = tuple(
        (phase_label(n), *(cell for i, mean in enumerate(means)
                                for cell in (ms(mean.get(n, 0)), _median_share(cells[i], n))))
        for n in names
    )  # fmt: skip
    caption = "Phases in the order in which they happen. Only means add up to a whole; the table has medians too."  # noqa: E501
    return Chart("Where the time goes", caption, picture, keys, header, rows)


def _mean_shares(cell: Cell) -> dict[str, int]:
    columns = cell.columns
    valid = columns.completed & (columns.numbers["blackout_ns"] != MISSING)
    if not valid.any():
        return {}
    found = {
        name: round(float(np.maximum(values[valid], 0).mean()))
        for name, values in columns.shares.items()
    }
    residual = columns.numbers["residual_ns"][valid]
    found["residual"] = round(float(np.maximum(residual, 0).mean()))
    return {name: mean for name, mean in found.items() if mean > 0}


def _median_share(cell: Cell, phase: str) -> str:
    if phase == "residual":
        return ms(median_of(cell.columns.known("residual_ns")))
    return ms(cell.summary.phases.get(phase, 0)) if cell.summary.valid else "–"


def _short(text: str, most: int = 22) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def run_order(cells: Sequence[Cell], name: str) -> Chart:
    """Blackouts in the order in which they were measured: drift, bursts and outliers."""
    rule = ""
    seqs = np.sort(np.concatenate([cell.columns.numbers["seq"] for cell in cells]))
    with drawing(2.4) as (drawn, axes):
        failed = np.concatenate([_order(c, seqs)[~c.columns.completed] for c in cells])
        for i, cell in enumerate(cells):
            x, y = _order(cell, seqs), cell.columns.numbers["blackout_ns"]
            kept = cell.columns.completed & (y != MISSING)
            x, y = x[kept], y[kept]
            if len(x) > MOST_POINTS // max(1, len(cells)):
                x, y = _extremes(x, y, MOST_POINTS // len(cells) // 3)
                rule = (
                    " Drawn: of every stretch of equally many runs the shortest, the middle and "
                    "the longest blackout, so that no outlier is lost."
                )
            axes.plot(x, y / 1e6, MARKERS[i % len(MARKERS)], color=SERIES[i % len(SERIES)],
                      markersize=3.4, markeredgewidth=0, alpha=0.85)  # fmt: skip
        if len(failed):
            shown = failed[_ranks(len(failed), MOST_POINTS)]
            axes.plot(shown, np.zeros(len(shown)), "x", color=BAD, markersize=5, clip_on=False)
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, len(seqs) + 1)
        axes.set_xlabel("handovers of this scenario, in their order")
        axes.set_ylabel("blackout, ms")
        picture = svg(drawn, name, "Blackouts in the order of measuring")
    caption = "A slope is a host that drifts; builds that take turns drift together." + rule
    keys = _keys(cells)
    if len(failed):
        caption += (
            f" {len(failed)} failed runs stand as crosses on the axis; they have no blackout."
        )
        keys = (*keys, Key("bad", "failed", "✕"))
    header = ("build", *(f"{part} third" for part in ("first", "second", "last")))
    rows = tuple((cell.builds, *_thirds(cell)) for cell in cells)
    return Chart("In the order of measuring", caption, picture, keys, header, rows)


def _order(cell: Cell, seqs: Integers) -> Integers:
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


def _thirds(cell: Cell) -> list[str]:
    values = cell.columns.known("blackout_ns")
    return [ms(median_of(part)) for part in np.array_split(values, 3)]


def vcpus(cells: Sequence[Cell], name: str) -> Chart | None:
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
    caption = "Line: all runs; bar: the middle half; mark: the median."
    if len(shown) < count:
        caption += f" The {len(shown)} of {count} vCPUs with the longest medians are shown."
    header = ("vCPU", "build", "least", "25 %", "median", "75 %", "longest")
    return Chart("Each vCPU", caption, picture, _keys(cells), header, tuple(rows))


def _widest(cells: Sequence[Cell], count: int) -> list[int]:
    medians = [
        max((median_of(_vcpu(cell, number)) or 0 for cell in cells), default=0)
        for number in range(count)
    ]
    return sorted(sorted(range(count), key=lambda n: -medians[n])[:MOST_VCPUS])


def _vcpu(cell: Cell, number: int) -> Integers:
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


WITNESS_NAMES = {
    "qemu": "QEMU's downtime",
    "qmp": "QMP STOP→RESUME",
    "uprobe": "QEMU's functions",
    "kvm_entry": "kvm_exit/entry",
    "guest": "the guest's beats",
}


def witnesses(cells: Sequence[Cell], name: str) -> Chart:
    """How far each witness is off the blackout."""
    present = [
        w
        for w in WITNESS_NAMES
        if any(t.runs for c in cells for t in c.testimonies if t.witness == w)
    ]
    rows = [("KVM_RUN bracket (the blackout)", *_said(cells, "kvm"))]
    with drawing(0.75 + 0.3 * max(1, len(present))) as (drawn, axes):
        axes.axvline(0, color=INK, linewidth=1.2)
        for place, witness in enumerate(present):
            for i, cell in enumerate(cells):
                heard = next(t for t in cell.testimonies if t.witness == witness)
                if heard.error_percent is None:
                    continue
                at = place + (i - (len(cells) - 1) / 2) * 0.3
                axes.plot([0, heard.error_percent], [at, at], color=SERIES[i % len(SERIES)],
                          linewidth=1.6)  # fmt: skip
                axes.plot([heard.error_percent], [at], MARKERS[i % len(MARKERS)],
                          color=SERIES[i % len(SERIES)], markersize=5.5)  # fmt: skip
            rows.append((WITNESS_NAMES[witness], *_said(cells, witness)))
        axes.set_yticks(range(len(present)), [WITNESS_NAMES[w] for w in present])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(present) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("median of what was claimed, % off the blackout")
        axes.margins(x=0.08)
        picture = svg(drawn, name, "What each witness claimed against what was")
    caption = "Left of the line: claimed shorter than it was. The guest's gap lies around the blackout, so it must be longer."  # noqa: E501
    header = ("witness", *(cell.builds for cell in cells))
    title = "Claimed against what was"
    return Chart(title, caption, picture, _keys(cells), header, tuple(rows), wide=True)


def _said(cells: Sequence[Cell], witness: str) -> list[str]:
    found = []
    for cell in cells:
        heard = next((t for t in cell.testimonies if t.witness == witness), None)
        if heard is None or not heard.runs:
            found.append("–")
        elif witness == "kvm":
            found.append(ms(heard.median_ns))
        else:
            found.append(f"{ms(heard.median_ns)} ({percent(heard.error_percent)})")
    return found
