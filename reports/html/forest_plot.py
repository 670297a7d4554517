"""The forest plot of a comparison: each scenario's shift, its interval and the threshold."""

from __future__ import annotations

from reports.harm_wording import verdict_text
from reports.wording import figure, interval_text, ms, percent
from results.comparison.compare import Cell, Comparison

from .svg import BAD, GRID, INK, MUTED, SERIES, Chart, Key, drawing, svg

# Verdict → colour, marker of the drawing, the same marker as text.
_LOOKS = {
    "regressed": (BAD, "^", "▲", "bad"),
    "improved": (SERIES[0], "v", "▼", "series-0"),
    "same": (SERIES[2], "o", "●", "series-2"),
    "undecided": (MUTED, "D", "◆", "muted"),
}


def forest(comparison: Comparison, name: str) -> Chart:
    """Right of 0 is slower; the grey band is below the threshold."""
    cells = comparison.cells
    with drawing(0.8 + 0.36 * max(1, len(cells))) as (drawn, axes):
        axes.axvline(0, color=INK, linewidth=1.0)
        for row, cell in enumerate(cells):
            if cell.threshold_ns is not None:
                limit = cell.threshold_ns / 1e6
                axes.barh(row, 2 * limit, left=-limit, height=0.8, color=GRID, alpha=0.75)
            if cell.shift_ns is None:
                continue
            colour, marker, _, _ = _LOOKS[cell.verdict]
            if cell.low_ns is not None and cell.high_ns is not None:
                axes.plot([cell.low_ns / 1e6, cell.high_ns / 1e6], [row, row], color=colour,
                          linewidth=2.4, solid_capstyle="butt")  # fmt: skip
            axes.plot([cell.shift_ns / 1e6], [row], marker, color=colour, markersize=7)
        axes.set_yticks(range(len(cells)), [cell.scenario for cell in cells])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(cells) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.08)
        axes.set_xlabel(f"{comparison.label_b} minus {comparison.label_a}, ms of blackout")
        picture = svg(drawn, name, "Shift of every scenario with its 95 % interval")
    present = dict.fromkeys(cell.verdict for cell in cells)
    keys = tuple(Key(_LOOKS[v][3], v, _LOOKS[v][2]) for v in present)
    header = ("scenario", "A", "B", "shift [95 %] ms", "%", "p", "threshold", "detectable",
              "boots", "verdict")  # fmt: skip
    return Chart(
        f"{comparison.label_b} against {comparison.label_a}",
        "Right of the line is slower. Mark and line: shift and its 95 % interval over boots; "
        "grey: below the threshold. Slower or faster takes a mark beyond the grey and a p that is "
        "small enough for all comparisons; the same, a line that lies within the grey.",
        picture,
        (*keys, Key("grid", "below the threshold", "■")),
        header,
        tuple(_row(cell) for cell in cells),
    )


def _row(cell: Cell) -> tuple[str, ...]:
    return (
        cell.scenario,
        ms(cell.median_a_ns),
        ms(cell.median_b_ns),
        interval_text(cell.shift_ns, cell.low_ns, cell.high_ns),
        percent(cell.shift_percent),
        "–" if cell.p_adjusted is None else f"{cell.p_adjusted:.3f}",
        "–" if cell.threshold_ns is None else f"{figure(cell.threshold_ns)} ms",
        ms(cell.smallest_detectable_ns),
        f"{cell.n_a} / {cell.n_b}",
        verdict_text(cell),
    )
