"""The chart of phases: where the time of the blackout goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.wording import figure, ms, phase_text
from results.store.tables.columns import MISSING, median_of
from results.summary.report_cells import ReportCell
from results.timeline.marks import PHASE_NAMES, SHARING_PHASES, phase_label

from .svg import INK, PANEL, PHASES, Chart, Key, drawing, svg

# The last two colours: of phases that only an older pausebench recorded, and of no phase.
RESIDUAL_COLOUR = len(PHASES) - 1
UNKNOWN_COLOUR = len(PHASES) - 2


def phase_colour(name: str) -> int:
    """A phase has the same colour everywhere."""
    if name == "residual":
        return RESIDUAL_COLOUR
    return SHARING_PHASES.index(name) % UNKNOWN_COLOUR if name in SHARING_PHASES else UNKNOWN_COLOUR


def in_order(names: Sequence[str]) -> list[str]:
    """Phases in the order in which they happen; unknown ones come last."""
    known = {name: i for i, name in enumerate(PHASE_NAMES)}
    return sorted(names, key=lambda name: known.get(name, len(known)))


def phases(cells: Sequence[ReportCell], name: str) -> Chart:
    """Mean shares of the blackout by phase: means add up, medians do not."""
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
    caption = "Phases in the order in which they happen. Means over all runs, as only these add up; the table has medians over boots too."  # noqa: E501
    return Chart("Blackout by phase", caption, picture, keys, header, rows)


def _mean_shares(cell: ReportCell) -> dict[str, int]:
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


def _median_share(cell: ReportCell, phase: str) -> str:
    if phase == "residual":
        return ms(median_of(cell.columns.known("residual_ns")))
    return phase_text(cell.summary, phase)


def _short(text: str, most: int = 22) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
