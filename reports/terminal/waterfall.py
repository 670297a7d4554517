"""One update as a waterfall: all of it, then its blackout magnified, then the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.wording import figure, ms
from results.qemu.modes import mode_of
from results.records.run import Run, Span, blackout_window
from results.timeline.marks import phase_label

from .evidence import draw_evidence, draw_failure
from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {"old": "cyan", "new": "magenta", "both": "yellow", "controller": "blue"}
_GLYPHS = {"old": "█", "new": "▒", "both": "█", "controller": "░"}
_SIDES = {"controller": "ctl"}
_SIDE_WIDTH = 5
_SHARE_WIDTH = 17  # "  0.412 ms   9.3 %"
_LEAST_BAR = 20


@dataclass(frozen=True, slots=True)
class _Bar:
    """One row: what ran from when to when (host ns), and the figures after it."""

    side: str
    name: str
    start_ns: int
    end_ns: int
    figures: str
    style: str = ""
    glyph: str = ""


def waterfall(run: Run, look: Look) -> Text:
    """Everything recorded of one run, with its spans on a time axis.

    Two scales: the handover from `migrate` to the end of the source, and the blackout alone, which
    is a few percent of its time.
    """
    page = Page(look)
    _draw_head(page, run)
    window = blackout_window(run)
    if run.spans:
        _draw_handover(page, run, window)
    if window is not None:
        _draw_blackout(page, run, window)
    draw_evidence(page, run)
    if run.outcome == "failed":
        draw_failure(page, run)
    return page.text()


def _draw_head(page: Page, run: Run) -> None:
    printable = page.look.printable
    style = "bold green" if run.outcome == "completed" else "bold red"
    page.line((printable(run.id), "bold"), "  ", (run.outcome.upper(), style))
    mode = mode_of(run.dimensions)
    by = "" if mode == "cpr-transfer" else f" by {mode}"
    page.paragraph(
        f"{run.scenario}, boot {run.boot}, update {run.update}{by}: old QEMU {run.old_build} "
        f"(pid {run.old_pid}) → new QEMU {run.new_build} (pid {run.new_pid})"
    )
    if run.outcome == "failed":
        page.paragraph(f"reason: {run.reason or 'not recorded'}", indent=8, first=0, style="red")
    facts = (
        ("blackout", run.blackout_ns),
        ("handover", run.handover_ns),
        ("dark time", run.dark_ns),
        ("guest gap", run.guest_gap_ns),
        ("first progress", run.first_progress_ns),
        ("residual", run.residual_ns),
    )
    page.paragraph(" · ".join(f"{name} {ms(ns)}" for name, ns in facts), style="bold")


def _draw_handover(page: Page, run: Run, window: tuple[int, int] | None) -> None:
    start = min(s.start_ns for s in run.spans)
    end = max(s.end_ns for s in run.spans)
    if window is not None:
        start = min(start, run.migrate_ns or start)
        end = max(end, window[1])
    bars = []
    if window is not None:
        bars.append(_Bar("old", "guest runs", start, window[0], "", "green", "─"))
        bars.append(_Bar("", "blackout", *window, ms(run.blackout_ns), "bold red", "█"))
        bars.append(_Bar("new", "guest runs", window[1], end, "", "green", "─"))
    bars += [_span_bar(s, ms(s.end_ns - s.start_ns)) for s in _ordered(run.spans)]
    page.line()
    page.line((f"the handover: {ms(end - start)} from migrate to the end of the source", "bold"))
    _draw_bars(page, bars, start, end)


def _draw_blackout(page: Page, run: Run, window: tuple[int, int]) -> None:
    start, end = window
    bars = []
    for span in _ordered(run.spans):
        if span.end_ns <= start or span.start_ns >= end:
            continue
        share = 100.0 * span.blackout_ns / (end - start)
        figures = (
            f"{ms(span.blackout_ns):>9} {share:5.1f} %" if span.blackout_ns > 0 else "overlaps"
        )
        bars.append(_span_bar(span, figures))
    page.line()
    page.line((f"the blackout, magnified: {ms(end - start)}", "bold"), "; a share counts once")
    _draw_bars(page, bars, start, end)
    if run.residual_ns is not None:
        share = 100.0 * run.residual_ns / (end - start)
        page.line(_behind(page, "no phase (residual)", f"{ms(run.residual_ns):>9} {share:5.1f} %"))


def _ordered(spans: Iterable[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: (span.start_ns, span.end_ns))


def _span_bar(span: Span, figures: str) -> _Bar:
    return _Bar(span.side, phase_label(span.name), span.start_ns, span.end_ns, figures)


def _draw_bars(page: Page, bars: Sequence[_Bar], start: int, end: int) -> None:
    look = page.look
    names = max((len(look.printable(bar.name)) for bar in bars), default=0)
    left = _SIDE_WIDTH + names + 1
    width = max(_LEAST_BAR, look.width - left - _SHARE_WIDTH - 2)
    page.line((" " * left + _axis(end - start, width), "dim"))
    for bar in bars:
        style = bar.style or _STYLES.get(bar.side, "")
        drawn = _bar(bar, look, start, end, width)
        page.line(
            (look.printable(_SIDES.get(bar.side, bar.side)).ljust(_SIDE_WIDTH), style),
            look.printable(bar.name).ljust(names) + " ",
            (look.printable("│"), "dim"),
            (drawn, style),
            (look.printable("│"), "dim"),
            f"{look.printable(bar.figures):>{_SHARE_WIDTH}}",
        )


def _bar(bar: _Bar, look: Look, start: int, end: int, width: int) -> str:
    """A bar of at least one character, clipped to the axis."""
    length = max(1, end - start)
    first = (max(bar.start_ns, start) - start) * width // length
    last = -((start - min(bar.end_ns, end)) * width // length)  # rounded up
    first = min(max(first, 0), width - 1)
    last = min(max(last, first + 1), width)
    glyph = look.printable(bar.glyph or _GLYPHS.get(bar.side, "█"))
    return " " * first + glyph * (last - first) + " " * (width - last)


def _axis(length: int, width: int) -> str:
    """Labels in ms at the quarters of the axis, as many as fit."""
    cells = [" "] * (width + 2)
    end = f"{figure(length)} ms"
    for quarter in range(4):
        label = figure(length * quarter // 4)
        at = 1 + width * quarter // 4
        if at + len(label) + 1 <= len(cells) - len(end):
            cells[at : at + len(label)] = label
    cells[len(cells) - len(end) :] = end
    return "".join(cells)


def _behind(page: Page, text: str, figures: str) -> str:
    """A line whose figures are aligned with those of the bars."""
    width = max(page.look.width - _SHARE_WIDTH, len(text) + _SIDE_WIDTH)
    return (" " * _SIDE_WIDTH + text).ljust(width) + f"{figures:>{_SHARE_WIDTH}}"
