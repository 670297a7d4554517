"""The table of a comparison: one line per scenario, the phases that moved below it, then notes.

As benchstat does: both medians, the shift with its interval, p and a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.finding import Tone
from reports.harm_wording import harm_lines, more_failures_text
from reports.wording import disagreement_text, figure, interval_text, ms, percent
from results.comparison.compare import Budget, Cell, Comparison, Failures, PhaseShift
from results.comparison.plan import SIGNIFICANCE, family
from results.summary.caveats import SideDoubt

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

_GAP = "  "
_MOST_PHASES = 3
_HEADER = ("scenario", "A ms", "B ms", "shift ms [95 %]", "%", "p", "verdict")
_LEFT = (0, 3, 6)  # columns of text; the others are numbers, right-aligned
_METHODS = {
    "blocks": "permutation within blocks",
    "pooled": "Mann-Whitney over all boots",
}
_HARM_STYLES: dict[Tone, str] = {"bad": "bold red", "doubt": "yellow", "good": ""}
_STYLES = {"regressed": "bold red", "improved": "bold green", "same": "", "undecided": "yellow"}


def comparison_table(comparison: Comparison, look: Look, doubts: Sequence[SideDoubt] = ()) -> Text:
    """All cells of a comparison, wrapped to the width; below 80 columns a scenario has two lines.

    Times are medians over boots in ms, the shift is B minus A, p is adjusted for all cells.
    `doubts` about both sides are printed at the end.
    """
    page = Page(look)
    a, b = comparison.label_a, comparison.label_b
    metrics = dict.fromkeys(cell.metric.replace("_", " ") for cell in comparison.cells)
    page.paragraph(f"{', '.join(metrics) or 'blackout'}: A = QEMU {a}, B = QEMU {b}", style="bold")
    if any(found.doubt.kind == "tcg" for found in doubts):
        page.paragraph("measured under TCG: no verdict on KVM", 2, style="red")
    for difference in comparison.forced:
        page.paragraph(f"compared with --force; they differ in {difference}", 2, style="red")
    page.line()
    if comparison.cells:
        _draw(page, comparison.cells)
    else:
        page.line("nothing to compare: A and B have no scenario in common")
    _closing(page, comparison)
    for doubt in doubts:
        page.paragraph(doubt.line, 2, 0, style="yellow")
    return page.text()


def _draw(page: Page, cells: Sequence[Cell]) -> None:
    look = page.look
    rows = [[look.printable(word) for word in _row(cell)] for cell in cells]
    header = [look.printable(name) for name in _HEADER]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    stacked = sum(widths) + len(_GAP) * (len(widths) - 1) > look.width
    _draw_row(page, header, widths, "bold", stacked=stacked)
    for cell, row in zip(cells, rows, strict=True):
        worse = cell.damaged or cell.more_failures
        style = "bold red" if worse else _STYLES[cell.verdict]
        _draw_row(page, row, widths, style, stacked=stacked)
        indent = 4 if stacked else min(widths[0] + len(_GAP), look.width // 3)
        for text, style in _below(cell):
            page.paragraph(text, indent + 2, first=indent, style=style)


def _row(cell: Cell) -> list[str]:
    return [
        cell.scenario,
        _bare(cell.median_a_ns),
        _bare(cell.median_b_ns),
        interval_text(cell.shift_ns, cell.low_ns, cell.high_ns),
        _percent(cell.shift_percent),
        _probability(cell.p_adjusted),
        cell.verdict,
    ]


def _draw_row(
    page: Page, row: Sequence[str], widths: Sequence[int], style: str, *, stacked: bool
) -> None:
    words = [
        word.ljust(width) if i in _LEFT else word.rjust(width)
        for i, (word, width) in enumerate(zip(row, widths, strict=True))
    ]
    if stacked:
        page.line((row[0], "bold"))
        words[0] = "  "
    else:
        words[0] += _GAP
    page.line((words[0], "bold"), _GAP.join(words[1:-1]) + _GAP, (words[-1], style))


def _below(cell: Cell) -> list[tuple[str, str]]:
    """The notes on a cell, each with its style."""
    lines = [(line.text, _HARM_STYLES[line.tone]) for line in harm_lines(cell)]
    if disagreement := disagreement_text(cell):
        lines.append((disagreement, "dim"))
    if cell.moved:
        lines.append((_moved(cell), ""))
    elif cell.verdict in ("regressed", "improved") and cell.phases:
        lines.append(("no single phase clearly moved", "dim"))
    if cell.verdict == "undecided":
        lines.append((_undecided(cell), "yellow"))
    if cell.failures_a.runs or cell.failures_b.runs:
        style = "bold red" if cell.more_failures else ""
        lines.append((_failures(cell), style))
    lines += [
        (f"under {figure(in_a.limit_ns)} ms: A {_kept(in_a)}, B {_kept(in_b)}", "dim")
        for in_a, in_b in zip(cell.budgets_a, cell.budgets_b, strict=True)
    ]
    return lines


def _moved(cell: Cell) -> str:
    words = [
        f"{phase.name.replace('_', ' ')} "
        f"{interval_text(phase.shift.shift_ns, phase.shift.low_ns, phase.shift.high_ns)} ms"
        f"{_occurs(phase, cell)}"
        for phase in cell.moved[:_MOST_PHASES]
    ]
    more = f" and {len(cell.moved) - _MOST_PHASES} more" if len(cell.moved) > _MOST_PHASES else ""
    return f"moved: {' · '.join(words)}{more}"


def _occurs(phase: PhaseShift, cell: Cell) -> str:
    """In how many boots, where it was not in all: elsewhere the phase counts as 0."""
    sides = [
        f"{name} {seen} of {boots}"
        for name, seen, boots in (("A", phase.boots_a, cell.n_a), ("B", phase.boots_b, cell.n_b))
        if seen < boots
    ]
    return f" (in boots: {', '.join(sides)})" if sides else ""


def _undecided(cell: Cell) -> str:
    """Why, and which change would have been detected."""
    detectable = ""
    if cell.smallest_detectable_ns is not None:
        detectable = f"; a change of {ms(cell.smallest_detectable_ns)} would have been detected"
        if cell.median_a_ns:
            share = percent(cell.smallest_detectable_ns / cell.median_a_ns * 100.0)
            detectable += f" ({share.lstrip('+')})"
    return f"{cell.reason}{detectable}"


def _failures(cell: Cell) -> str:
    words = f"failed: A {_failed(cell.failures_a)}, B {_failed(cell.failures_b)}"
    if not cell.more_failures:
        return words
    p = cell.failures_p
    chance = f" (p {_probability(p)})" if p is not None and p <= SIGNIFICANCE else ""
    return f"{words}; B fails more often{chance}"


def _failed(failures: Failures) -> str:
    boots = f" in {failures.boots} of {failures.total_boots} boots" if failures.runs else ""
    return f"{failures.runs} of {failures.total_runs}{boots}"


def _kept(budget: Budget) -> str:
    if budget.low_share is None:
        return "nothing measured"
    # Rounded down: no bound is printed higher than it is.
    low = int(budget.low_share * 100)
    notes = [f"{budget.failed} failed"] if budget.failed else []
    notes += [f"at least {low} %"] if low else []
    more = f" ({', '.join(notes)})" if notes else ""
    return f"{budget.within} of {budget.total}{more}"


def _closing(page: Page, comparison: Comparison) -> None:
    page.line()
    for text in _harm(comparison):
        page.paragraph(text, 2, 0, style="bold red")
    for side, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            page.paragraph(f"only in {side}, not compared: {', '.join(names)}", 2, 0)
    if any(cell.apart for cell in comparison.cells):
        page.paragraph(
            "A and B were measured one after the other: drift of the host looks like a shift",
            2,
            0,
            style="yellow",
        )
    if comparison.cells:
        page.paragraph(_legend(comparison), style="dim")


def _harm(comparison: Comparison) -> list[str]:
    """What outweighs every verdict on time."""
    if any(cell.damaged for cell in comparison.cells):
        return ["A guest was damaged: the comparison is invalid, whatever its verdicts on time."]
    return [
        f"{cell.scenario}: B {more_failures_text(cell, 'A')}"
        for cell in comparison.cells
        if cell.more_failures
    ]


def _legend(comparison: Comparison) -> str:
    """What the columns mean and how a verdict is reached."""
    cells, sizes = comparison.cells, comparison.thresholds
    words = "Medians over boots; shift: B minus A, Hodges-Lehmann, with its 95 % interval"
    used = dict.fromkeys(_METHODS[cell.method] for cell in cells if cell.method in _METHODS)
    if used:
        many = f", Benjamini-Hochberg over {family(len(cells), comparison.comparisons)} comparisons"
        words += f"; p: {' or '.join(used)}{many}"
    words += (
        f". A change counts from the larger of {sizes.relative * 100:g} % and "
        f"{figure(sizes.absolute_ns)} ms on, and takes an adjusted p of at most "
        f"{SIGNIFICANCE:.2g}; same: the whole interval is smaller."
    )
    if any(cell.noise_floor_ns for cell in cells):
        words += " A verdict within the host's noise floor is undecided."
    if any(cell.verdict == "undecided" and cell.smallest_detectable_ns for cell in cells):
        words += " A detectable change is found in 80 of 100 such comparisons."
    if any(cell.budgets_a for cell in cells):
        words += " At least: of all such runs, with 95 % confidence, by boots."
    return words


def _bare(ns: int | None) -> str:
    return ms(ns).removesuffix(" ms")


def _percent(value: float | None) -> str:
    """Without a sign where it rounds to 0.0, which has no direction."""
    if value is not None and abs(value) < 0.05:
        return "0.0"
    return percent(value).removesuffix(" %")


def _probability(p: float | None) -> str:
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"
