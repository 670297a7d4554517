"""What the probes cost, as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reports.instrument_tables import TIER_TEXTS
from reports.wording import figure, ms, percent
from results.instrument.certificates import Certificate
from results.instrument.overhead import GOAL, TierCost

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

_HEADER = ("probes", "boots", "guest gap", "longer by [95 %]", "", "handover longer by")


def effect_page(certificate: Certificate, path: Path | None, look: Look) -> Text:
    """A table by tier, the verdict on the default one, and where it is kept, if it is."""
    page = Page(look)
    effect = certificate.effect
    if effect is None:
        return page.text()
    rows = [_cells(cost, look) for cost in effect.costs]
    widths = [max(len(name), *(len(row[i]) for row in rows)) for i, name in enumerate(_HEADER)]
    cell = ""
    for cost, row in zip(effect.costs, rows, strict=True):
        if cost.cell != cell:
            if cell:
                page.line()
            cell = cost.cell
            page.paragraph(
                f"{cell}: what the probes cost, QEMU {certificate.build} "
                f"({certificate.qemu_version}), by the guest's own gap",
                style="bold",
            )
            page.line()
            page.line((_row(_HEADER, widths), "dim"))
        page.line(_row(row, widths))
    page.line()
    for cost in effect.costs:
        if cost.tier == "default":
            page.paragraph(_verdict(cost), style="bold green" if cost.verdict == "within" else "")
    if effect.lost:
        page.paragraph(f"{effect.lost} boots are left out: the guest did not testify", style="red")
    page.line()
    if path is None:
        page.paragraph("NOT JUDGED: too few boots gave a value; nothing was stored")
    else:
        page.paragraph(f"certificate: {path}")
    return page.text()


def _cells(cost: TierCost, look: Look) -> list[str]:
    cells = (
        TIER_TEXTS[cost.tier],
        str(cost.boots),
        ms(cost.gap_ns),
        _interval(cost.shift_ns, cost.low_ns, cost.high_ns),
        percent(cost.percent) if cost.tier != "none" else "",
        _interval(cost.handover_shift_ns, cost.handover_low_ns, cost.handover_high_ns),
    )
    return [look.printable(cell) for cell in cells]


def _interval(ns: int | None, low: int | None, high: int | None) -> str:
    if ns is None:
        return ""
    text = f"{figure(ns)} ms"
    return text if low is None or high is None else f"{text} [{figure(low)}, {figure(high)}]"


def _row(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _verdict(cost: TierCost) -> str:
    goal = f"the goal of at most {GOAL * 100:.0f} %"
    match cost.verdict:
        case "within":
            return f"{cost.cell}: within {goal}"
        case "beyond":
            return (
                f"{cost.cell}: beyond {goal}, by {percent((cost.percent or 0) - GOAL * 100)} of "
                "the gap; both sides of a comparison pay it"
            )
        case _:
            return f"{cost.cell}: undecided against {goal}; more --boots narrow the interval"
