"""Figures and names in the words that every report uses."""

from __future__ import annotations

import time

from results.comparison import compare as judged
from results.records.run import Summary
from results.summary.history import Point
from results.summary.report_data import Cell


def day(point: Point) -> str:
    """`2026-11-25 00:31`, UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(point.started_unix_ns // 10**9))


def budget_text(cell: Cell) -> str:
    """`20 of 24 under 5.00 ms, 3 failed`, and what was asked if it was not kept."""
    if cell.budget is None or cell.limit is None:
        return "–"
    budget = cell.budget
    failed = f", {budget.failed} failed" if budget.failed else ""
    text = f"{budget.within} of {budget.total} under {figure(budget.limit_ns)} ms{failed}"
    return f"{text} (missed: {cell.limit.share * 100:g} % asked)" if cell.over_budget else text


def device_text(summary: Summary) -> str:
    """What became of the device that the payload drives; empty where it drives none."""
    if not summary.device_operations and not summary.device_troubles:
        return ""
    trouble = f"in trouble in {summary.device_troubles} runs"
    state = trouble if summary.device_troubles else "none lost or repeated"
    text = f"device: {summary.device_operations} DMA operations, {state}"
    if summary.device_gap_ns is not None:
        text += f", longest gap {ms(summary.device_gap_ns)}"
    return text


# States of a thread on the critical path, in words.
STATE_WORDS = {
    "on-cpu": "on a CPU",
    "runnable": "waiting for a CPU",
    "blocked": "blocked",
    "stopped": "stopped",
    "unknown": "unknown",
}


def figure(ns: int) -> str:
    """Milliseconds with three digits, without the unit: 4.42, 0.031, 118; below 1 µs exact."""
    size = abs(ns)
    if size == 0:
        return "0"
    if size < 1_000:
        return f"{ns / 1e6:.6f}".rstrip("0")
    digits = 3 if size < 999_500 else 2 if size < 9_995_000 else 1 if size < 99_950_000 else 0
    return f"{ns / 1e6:.{digits}f}"


def ms(ns: int | None) -> str:
    """A duration in ms with three digits: `4.42 ms`, `0.031 ms`, `118 ms`; `–` for None."""
    return "–" if ns is None else f"{figure(ns)} ms"


def percent(value: float | None) -> str:
    """A signed difference: `−52 %`, `+5.6 %`; `–` for None."""
    if value is None:
        return "–"
    return f"{value:+.{0 if abs(value) >= 9.95 else 1}f} %".replace("-", "−")


def mib(size_bytes: int) -> str:
    """A size in the unit that leaves it short: `256 MiB`, `4 GiB`, `128 KiB`."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.4g} {name}"
    return f"{size_bytes} B"


def cell_name(cell: Cell) -> str:
    """`anon on system`."""
    return f"{cell.summary.scenario} on {cell.builds}"


def median_text(cell: Cell) -> str:
    """`4.42 ms [4.31, 4.58]`, without bounds where there are none."""
    summary = cell.summary
    if summary.low_ns is None or summary.high_ns is None:
        return ms(summary.median_ns)
    return f"{ms(summary.median_ns)} [{figure(summary.low_ns)}, {figure(summary.high_ns)}]"


def shift_text(cell: judged.Cell) -> str:
    """`3.86 → 4.95 ms, +1.02 [+0.202, +3.24] ms (+26 %)`."""
    old, new = (
        figure(ns) if ns is not None else "–" for ns in (cell.median_a_ns, cell.median_b_ns)
    )
    if cell.shift_ns is None:
        return f"{old} → {new} ms"
    share = f" ({percent(cell.shift_percent)})" if cell.shift_percent is not None else ""
    return f"{old} → {new} ms, {interval_text(cell.shift_ns, cell.low_ns, cell.high_ns)} ms{share}"


def interval_text(shift: int | None, low: int | None, high: int | None) -> str:
    """`+1.02 [+0.202, +3.24]`, ms."""
    if shift is None:
        return "–"
    if low is None or high is None:
        return f"{signed(shift)} [no interval]"
    return f"{signed(shift)} [{signed(low)}, {signed(high)}]"


def signed(ns: int) -> str:
    """`+1.02`, `−0.048`, ms."""
    return f"{'+' if ns > 0 else '−' if ns < 0 else ''}{figure(abs(ns))}"


def about_dimensions(dimensions: str) -> str:
    """`256 MiB, 2 vCPUs, …` of the text that tells scenarios apart; what is off is left out."""
    words = dict(word.partition("=")[::2] for word in dimensions.split())
    found = []
    if (ram := words.pop("ram_bytes", "")).isdecimal():
        found.append(f"{mib(int(ram))} of RAM")
    if vcpus := words.pop("vcpus", ""):
        found.append(f"{vcpus} vCPU{'' if vcpus == '1' else 's'}")
    words.pop("id", None)
    for name, value in words.items():
        if value == "True":
            found.append(name.replace("_", " "))
        elif value != "False":
            found.append(f"{name} {value}" if value else name)
    return ", ".join(found)
