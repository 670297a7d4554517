"""A calibration as text: what was injected, what was recovered, and the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reports.wording import figure, signed_us
from results.instrument.calibration import Calibration
from results.instrument.certificates import Certificate
from results.instrument.constant_offset import OffsetBound
from results.instrument.levels import Level
from results.instrument.shots import KIND_TEXTS

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

_HEADER = ("injected", "recovered", "error", "scatter", "worst", "allowed", "blackout", "guest")
_UNITS = ("ms", "ms", "µs", "µs", "µs", "µs", "+ms", "µs [95 %]")


def calibration_page(certificate: Certificate, path: Path | None, look: Look) -> Text:
    """The certificate's table, its faults and where it is kept (`path`), if it was."""
    found = certificate.calibration
    page = Page(look)
    if found is None:
        return page.text()
    page.paragraph(
        f"pauses of known length on QEMU {certificate.build} ({certificate.qemu_version}), host "
        f"{certificate.host}, kernel {certificate.kernel}",
        style="bold",
    )
    rows = [_cells(level, look) for level in found.levels]
    header = [
        tuple(look.printable(half) for half in pair) for pair in zip(_HEADER, _UNITS, strict=True)
    ]
    widths = [
        max(len(header[i][0]), len(header[i][1]), *(len(row[i]) for row in rows), 0)
        for i in range(len(header))
    ]
    group = None
    for level, row in zip(found.levels, rows, strict=True):
        if group != (level.cell, level.kind):
            group = (level.cell, level.kind)
            page.line()
            page.paragraph(f"{level.cell}: {KIND_TEXTS[level.kind]}", style="bold")
            for half in (0, 1):
                page.line(("  " + _row([pair[half] for pair in header], widths), "dim"))
        page.line(("  " + _row(row, widths), "bold red" if level.faults else ""))
    page.line()
    _verdict(page, found)
    page.line()
    if path is None:
        page.paragraph("no certificate was stored; an earlier one stays as it is")
        return page.text()
    page.paragraph(f"certificate: {path}")
    page.line("every report quotes it:")
    for line in certificate.lines:
        page.paragraph(line, indent=2, first=2)
    return page.text()


def _cells(level: Level, look: Look) -> list[str]:
    guest = "–" if level.guest_ns is None else signed_us(level.guest_ns)
    if level.guest_low_ns is not None and level.guest_high_ns is not None:
        guest += f" [{signed_us(level.guest_low_ns)}, {signed_us(level.guest_high_ns)}]"
    cells = (
        figure(level.injected_ns),
        figure(level.recovered_ns),
        signed_us(level.error_ns),
        f"{level.scatter_ns / 1e3:.0f}",
        signed_us(level.worst_ns),
        f"{level.allowed_ns / 1e3:.0f}",
        "–" if level.shift_ns is None else figure(level.shift_ns),
        guest,
    )
    return [look.printable(cell) for cell in cells]


def _row(cells: list[str], widths: list[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _verdict(page: Page, found: Calibration) -> None:
    if found.judged:
        page.paragraph(
            f"{'passed' if found.passed else 'FAILED'}: recovered = "
            f"{found.offset_ns / 1e3:+.1f} µs + {found.slope:.4f} × injected; largest median "
            f"error {signed_us(found.worst_error_ns)} µs",
            style="bold green" if found.passed else "bold red",
        )
    else:
        page.paragraph("NOT JUDGED: nothing was measured that could be checked", style="bold red")
    for line in (*found.faults, *found.notes):
        page.paragraph(line, indent=4, first=2)
    for reason, count in sorted(found.lost.items(), key=lambda item: -item[1]):
        page.paragraph(f"{count} lost: {reason}", indent=4, first=2)
    _constant(page, found.constant)
    page.paragraph(
        "error: recovered minus injected, median over transfers; scatter: median distance from it; "
        "recovered: from the section of the blackout that holds the pause, less what that section "
        "takes without one; injected: by the injector's own clock; blackout: how much longer all "
        "of it was than without a pause; guest: how much more the guest's gap grew than the "
        "blackout, with an interval that holds for all rows together",
        style="dim",
    )


def _constant(page: Page, bounds: tuple[OffsetBound, ...]) -> None:
    """What these differences cannot show, and which witness bounds it."""
    page.paragraph(
        "A constant offset of every blackout cancels out above. Only other witnesses of the "
        "transfers without a pause bound it:"
    )
    for bound in bounds:
        short = "too short: not bounded, as the guest did not testify"
        if bound.low_ns is not None:
            most = figure(max(0, -bound.low_ns))
            short = f"too short: at most {most} ms, by the guest's own gap around the blackout"
        long = "too long: not bounded, as no uprobes were seen"
        if bound.high_ns is not None:
            most = figure(max(0, bound.high_ns))
            long = f"too long: at most {most} ms, by QEMU's own functions inside it (uprobes)"
        page.paragraph(f"{bound.cell}: {short}; {long}", indent=4, first=2)
