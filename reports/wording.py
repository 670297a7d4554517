"""Figures and names, written the same way in every report."""

from __future__ import annotations

import time

from results.comparison import compare as judged
from results.history.explanation import explain
from results.history.lines import Line, Point
from results.records.rollback import Rollback
from results.records.run import Summary
from results.stats.announcements import Announcement
from results.summary.failures.rollbacks import Rollbacks
from results.summary.report_cells import ReportCell
from results.summary.session_kind import SessionKind

KIND_TITLES: dict[SessionKind, str] = {
    "run": "Measurement",
    "compare": "Comparison of builds",
    "sweep": "Sweep",
    "matrix": "Matrix of builds",
    "nightly": "Nightly job",
    "lab": "Measurement in the lab VM",
    "claims": "Claims",
    "calibration": "Calibration of the probes",
    "overhead": "Overhead of the probes",
    "self-check": "Self-check: a build against itself (A/A)",
}
# States of a thread on the critical path.
STATE_WORDS = {
    "on-cpu": "on a CPU",
    "runnable": "waiting for a CPU",
    "blocked": "blocked",
    "stopped": "stopped",
    "unknown": "unknown",
}
# Why a shift may differ from the difference of the medians.
_SHIFT_METHODS = {
    "blocks": "between boots of the same blocks",
    "pooled": "the median over all pairs of boots",
    "none": "",
}


def day(point: Point) -> str:
    """`2026-11-25 00:31`, UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(point.started_unix_ns // 10**9))


def change_text(line: Line, change: Announcement) -> str:
    """`4.42 → 5.01 ms (+13 %)`; a drift also over which nights."""
    levels = (
        f"{figure(round(change.before * 1e6))} → {figure(round(change.after * 1e6))} ms "
        f"({percent(change.percent)})"
    )
    if change.kind == "step":
        return levels
    first, last = (day(line.points[night])[:10] for night in (change.at, change.until))
    weeks = (change.until - change.at + 1) / 7
    rate = ((change.after / change.before) ** (1.0 / weeks) - 1.0) * 100.0
    return f"{levels} from {first} to {last}, {percent(rate)} every seven nights"


def state_text(line: Line, change: Announcement) -> str:
    """What is known of an announcement, by the days on which it became known."""

    def on(night: int | None) -> str:
        return "" if night is None else day(line.points[night])[:10]

    if change.state == "confirmed":
        return f"found {on(change.found_on)}, confirmed {on(change.confirmed_on)}"
    if change.state == "provisional":
        return f"found {on(change.found_on)}, not confirmed yet"
    confirmed = f", confirmed {on(change.confirmed_on)}" if change.confirmed_on is not None else ""
    why = f" for a {change.became} there" if change.became else ""
    return f"found {on(change.found_on)}{confirmed}, withdrawn {on(change.withdrawn_on)}{why}"


def why_text(line: Line, change: Announcement, most: int = 6) -> str:
    """What that is recorded changed with it; at most so many facts."""
    found = explain(line, change)
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return ("; ".join(found[:most]) + more) or "nothing that is recorded changed"


# -- single figures ------------------------------------------------------------------------------


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


def signed(ns: int) -> str:
    """`+1.02`, `−0.048`, ms."""
    return f"{'+' if ns > 0 else '−' if ns < 0 else ''}{figure(abs(ns))}"


def signed_us(ns: int) -> str:
    """`+40`, `−12`, in whole µs."""
    return f"{ns / 1e3:+.0f}".replace("-", "−")


def mib(size_bytes: int) -> str:
    """A size in the largest unit that fits: `256 MiB`, `4 GiB`, `128 KiB`."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.4g} {name}"
    return f"{size_bytes} B"


def counted(number: int, noun: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


# -- cells ---------------------------------------------------------------------------------------


def cell_name(cell: ReportCell) -> str:
    """`anon on system`."""
    return f"{cell.summary.scenario} on {cell.builds}"


def median_text(summary: Summary) -> str:
    """`4.42 ms [4.31, 4.58]`, without bounds where there are none."""
    return bounded_text(summary.median_ns, summary.low_ns, summary.high_ns)


def bounded_text(ns: int | None, low_ns: int | None, high_ns: int | None) -> str:
    """A figure with its interval: `4.42 ms [4.31, 4.58]`, without bounds where there are none."""
    if low_ns is None or high_ns is None:
        return ms(ns)
    return f"{ms(ns)} [{figure(low_ns)}, {figure(high_ns)}]"


# Names the ratios of `qemu_text` and of the witnesses, which are no quotients of medians.
RATIOS = "median of ratios"


def qemu_text(summary: Summary) -> str:
    """`2 ms, −55 %`: QEMU's downtime in whole ms, as QEMU counts, and how far it is off.

    The percentage is the median of the runs' own ratios to their blackouts, not the quotient of the
    two medians, so `RATIOS` must name it. `–` where QEMU reports no downtime.
    """
    if summary.qemu_median_ns is None:
        return "–"
    return f"{summary.qemu_median_ns / 1e6:g} ms, {percent(summary.qemu_error_percent)}"


def phase_text(summary: Summary, name: str) -> str:
    """`1.20 ms`, and the boots that had the phase where not all of them had it."""
    text = ms(summary.phases.get(name, 0))
    boots = summary.phase_boots.get(name, 0)
    if not 0 < boots < summary.valid_boots:
        return text
    return f"{text} (in {boots} of {summary.valid_boots} boots)"


def budget_text(cell: ReportCell) -> str:
    """`20 of 24 under 5.00 ms, 3 failed`, and the share required where it was not reached."""
    if cell.budget is None or cell.limit is None:
        return "–"
    budget = cell.budget
    failed = f", {budget.failed} failed" if budget.failed else ""
    text = f"{budget.within} of {budget.total} under {figure(budget.limit_ns)} ms{failed}"
    return f"{text} (missed: {cell.limit.share * 100:g} % required)" if cell.over_budget else text


def proofs_text(summary: Summary) -> str:
    """`held`; `held 119, unproven 1` where runs differ; `–` without a proof."""
    found = summary.proofs.items()
    if len(found) == 1:
        return next(iter(summary.proofs))
    return ", ".join(f"{verdict} {count}" for verdict, count in found) or "–"


def device_text(summary: Summary) -> str:
    """The DMA of the device that the payload drives; empty where it drives none."""
    if not summary.device_operations and not summary.device_troubles:
        return ""
    failed = f"errors in {counted(summary.device_troubles, 'run')}"
    state = failed if summary.device_troubles else "none lost or repeated"
    text = f"device: {summary.device_operations} DMA operations, {state}"
    if summary.device_gap_ns is not None:
        text += f", longest gap {ms(summary.device_gap_ns)}"
    return text


# -- comparisons ---------------------------------------------------------------------------------


def interval_text(shift: int | None, low: int | None, high: int | None) -> str:
    """`+1.02 [+0.202, +3.24]`, ms."""
    if shift is None:
        return "–"
    if low is None or high is None:
        return f"{signed(shift)} [no interval]"
    return f"{signed(shift)} [{signed(low)}, {signed(high)}]"


def shift_text(cell: judged.Cell) -> str:
    """`3.86 → 4.95 ms, +1.02 [+0.202, +3.24] ms (+26 %)`.

    Where the medians contradict the shift, the shift alone, with what it is taken over.
    """
    medians = [figure(ns) if ns is not None else "–" for ns in (cell.median_a_ns, cell.median_b_ns)]
    if cell.shift_ns is None:
        return f"{medians[0]} → {medians[1]} ms"
    share = f" ({percent(cell.shift_percent)})" if cell.shift_percent is not None else ""
    shift = f"{interval_text(cell.shift_ns, cell.low_ns, cell.high_ns)} ms{share}"
    if medians_disagree(cell):
        return f"{shift}; {disagreement_text(cell)}"
    return f"{medians[0]} → {medians[1]} ms, {shift}"


def medians_disagree(cell: judged.Cell) -> bool:
    """Whether the difference of the medians lies outside the shift's interval, or against it."""
    if cell.shift_ns is None or cell.median_a_ns is None or cell.median_b_ns is None:
        return False
    difference = cell.median_b_ns - cell.median_a_ns
    if difference * cell.shift_ns < 0:
        return True
    if cell.low_ns is None or cell.high_ns is None:
        return False
    return not cell.low_ns <= difference <= cell.high_ns


def disagreement_text(cell: judged.Cell) -> str:
    """Why the shift is not the difference of the medians; empty where they agree."""
    if not medians_disagree(cell):
        return ""
    return (
        f"the shift is {_SHIFT_METHODS[cell.method]}, the medians over all boots are "
        f"{ms(cell.median_a_ns)} and {ms(cell.median_b_ns)}"
    )


# -- scenarios -----------------------------------------------------------------------------------


def about_dimensions(dimensions: str) -> str:
    """`256 MiB of RAM, 2 vCPUs, …` from a run's dimensions; what is off is left out."""
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


def rollback_text(back: Rollback) -> str:
    """Where the guest of a failed update is, and how long it stood still."""
    giving_up = f", {back.phase} {ms(back.phase_ns)}" if back.phase_ns is not None else ""
    match back.where:
        case "new":
            return f"guest runs in new QEMU{giving_up}"
        case "nowhere":
            return f"guest runs in no QEMU{giving_up}"
    if back.pause_ns == 0:
        return f"guest ran on in old QEMU, never stopped{giving_up}"
    if back.pause_ns is None:
        return f"guest runs on in old QEMU, its pause is unknown{giving_up}"
    return f"guest resumed in old QEMU after {ms(back.pause_ns)}{giving_up}"


def rollbacks_text(found: Rollbacks) -> str:
    """The guests of failed updates in one line."""
    parts = []
    if found.returned:
        longest = f", at most {ms(found.longest_ns)}" if found.returned > 1 else ""
        parts.append(f"{found.returned} resumed in old QEMU after {ms(found.median_ns)}{longest}")
    if found.never_stopped:
        parts.append(f"{found.never_stopped} never stopped")
    if found.in_new:
        parts.append(f"{found.in_new} in new QEMU")
    if found.lost:
        parts.append(f"{found.lost} in no QEMU")
    rest = found.updates - found.returned - found.never_stopped - found.in_new - found.lost
    if rest:
        parts.append(f"{rest} in old QEMU after an unknown pause")
    return f"guests of {found.updates} failed updates: {', '.join(parts)}"
