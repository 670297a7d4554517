"""The chart of the other witnesses of the pause: how far each is off the blackout."""

from __future__ import annotations

from collections.abc import Sequence

from reports.wording import RATIOS, ms, percent
from results.summary.cells import Testimony
from results.summary.report_cells import ReportCell

from .charts import build_keys
from .svg import INK, MARKERS, SERIES, Chart, drawing, svg

WITNESS_NAMES = {
    "qemu": "QEMU's downtime",
    "qmp": "QMP STOP→RESUME",
    "uprobe": "QEMU's functions",
    "kvm_entry": "kvm_exit/entry",
    "guest": "the guest's beats",
}


def witnesses(cells: Sequence[ReportCell], name: str) -> Chart:
    """How far each witness is off the blackout."""
    present = [
        w
        for w in WITNESS_NAMES
        if any(t.runs for c in cells for t in c.testimonies if t.witness == w)
    ]
    with drawing(0.75 + 0.3 * max(1, len(present))) as (drawn, axes):
        axes.axvline(0, color=INK, linewidth=1.2)
        for place, witness in enumerate(present):
            for i, cell in enumerate(cells):
                off = _testimony(cell, witness).error_percent
                if off is None:
                    continue
                at = place + (i - (len(cells) - 1) / 2) * 0.8 / max(3, len(cells))
                colour = SERIES[i % len(SERIES)]
                axes.plot([0, off], [at, at], color=colour, linewidth=1.6)
                axes.plot([off], [at], MARKERS[i % len(MARKERS)], color=colour, markersize=5.5)
        axes.set_yticks(range(len(present)), [WITNESS_NAMES[w] for w in present])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(present) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"off the run's blackout by, %, {RATIOS}")
        axes.margins(x=0.08)
        picture = svg(drawn, name, "How far each witness is off the blackout")
    caption = (
        "Left of the line: shorter than the blackout. Each run's witness is divided by the "
        "blackout of the same run. The guest's own gap encloses the blackout and must be longer."
    )
    header = ("witness", *(f"{c.builds}: {what}" for c in cells for what in ("median", RATIOS)))
    blackout = (text for cell in cells for text in (ms(cell.summary.median_ns), ""))
    rows = [("KVM_RUN bracket (the blackout)", *blackout)]
    rows += [
        (WITNESS_NAMES[w], *(text for cell in cells for text in _figures(_testimony(cell, w))))
        for w in present
    ]
    title = "Other witnesses against the blackout"
    return Chart(title, caption, picture, build_keys(cells), header, tuple(rows), wide=True)


def _testimony(cell: ReportCell, witness: str) -> Testimony:
    return next(t for t in cell.testimonies if t.witness == witness)


def _figures(testimony: Testimony) -> tuple[str, str]:
    return ms(testimony.median_ns), percent(testimony.error_percent)
