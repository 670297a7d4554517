"""The results of a calibration and of an overhead measurement as tables."""

from __future__ import annotations

from dataclasses import dataclass

from results.instrument.calibration import Calibration
from results.instrument.certificates import Certificate
from results.instrument.constant_offset import OffsetBound
from results.instrument.levels import Level
from results.instrument.overhead import GOAL, ObserverEffect, Tier, TierCost
from results.instrument.shots import KIND_TEXTS

from .wording import interval_text, ms, percent, signed, signed_us

_LEVEL_HEADER = (
    "injected", "recovered", "error, µs", "scatter, µs", "worst, µs", "allowed, µs",
    "blackout longer by", "guest's gap beyond that, µs [95 %]", "transfers",
)  # fmt: skip
_COST_HEADER = ("probes", "boots", "guest's gap", "longer by [95 %]", "", "update longer by [95 %]")
TIER_TEXTS: dict[Tier, str] = {
    "none": "none",
    "bracket": "guest entry and exit",
    "default": "default",
    "perf": "--why and --perf",
}


@dataclass(frozen=True, slots=True)
class InstrumentTable:
    """One group of rows; those in `bad` (positions) failed."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bad: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InstrumentResult:
    """Tables, what is wrong (`faults`), `notes`, and how to read them."""

    title: str
    tables: tuple[InstrumentTable, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    legend: str


def instrument_result(certificate: Certificate | None, session: str) -> InstrumentResult | None:
    """What `session` found of the probes; None where it found nothing that is still stored."""
    if certificate is None:
        return None
    if certificate.session == session and certificate.calibrated is not None:
        return _calibration(certificate.calibrated)
    if certificate.watched_session == session and certificate.effect is not None:
        return _overhead(certificate.effect)
    return None


def _calibration(found: Calibration) -> InstrumentResult:
    groups = dict.fromkeys((level.cell, level.kind) for level in found.levels)
    tables = []
    for cell, kind in groups:
        levels = [level for level in found.levels if (level.cell, level.kind) == (cell, kind)]
        bad = tuple(i for i, level in enumerate(levels) if level.faults)
        title = f"{cell}: {KIND_TEXTS[kind]}"
        rows = tuple(_level_row(level) for level in levels)
        tables.append(InstrumentTable(title, _LEVEL_HEADER, rows, bad))
    lost = sorted(found.lost.items(), key=lambda item: -item[1])
    return InstrumentResult(
        "Injected pauses and what was recovered",
        tuple(tables),
        (*found.faults, *(f"{count} lost: {reason}" for reason, count in lost)),
        (*found.notes, *(_offset_text(bound) for bound in found.constant)),
        f"Recovered = {found.offset_ns / 1e3:+.1f} µs + {found.slope:.4f} × injected. ".replace(
            "-", "−"
        )
        + "Error: recovered minus injected, median over transfers; scatter: median distance from "
        "it. Recovered: from the section of the blackout that holds the pause, less what that "
        "section takes without one. Injected: by the injector's own clock. The guest's interval "
        "holds for all rows together. A constant offset of every blackout cancels out; only other "
        "witnesses of the transfers without a pause bound it.",
    )


def _offset_text(bound: OffsetBound) -> str:
    """How far all blackouts of a cell may be off by a constant, and by which witness."""
    short = "unbounded, the guest did not testify"
    if bound.low_ns is not None:
        short = f"at most {ms(max(0, -bound.low_ns))}, by the guest's own gap around the blackout"
    long = "unbounded, no uprobes fired"
    if bound.high_ns is not None:
        long = f"at most {ms(max(0, bound.high_ns))}, by QEMU's own functions inside it"
    return f"{bound.cell}, constant offset: too short by {short}; too long by {long}"


def _level_row(level: Level) -> tuple[str, ...]:
    guest = "–" if level.guest_ns is None else signed_us(level.guest_ns)
    if level.guest_low_ns is not None and level.guest_high_ns is not None:
        guest += f" [{signed_us(level.guest_low_ns)}, {signed_us(level.guest_high_ns)}]"
    return (
        ms(level.injected_ns),
        ms(level.recovered_ns),
        signed_us(level.error_ns),
        f"{level.scatter_ns / 1e3:.0f}",
        signed_us(level.worst_ns),
        f"{level.allowed_ns / 1e3:.0f}",
        ms(level.shift_ns),
        guest,
        str(level.shots),
    )


def _overhead(found: ObserverEffect) -> InstrumentResult:
    cells = dict.fromkeys(cost.cell for cost in found.costs)
    tables = tuple(
        InstrumentTable(
            cell, _COST_HEADER, tuple(_cost_row(cost) for cost in found.costs if cost.cell == cell)
        )
        for cell in cells
    )
    faults = (f"{found.lost} boots left out: no guest testimony",) if found.lost else ()
    return InstrumentResult(
        "Cost of the probes",
        tables,
        faults,
        (),
        f"By the guest's own beats, against boots without probes. The goal is at most "
        f"{GOAL * 100:.0f} % for the default probes; both sides of a comparison pay it.",
    )


def _cost_row(cost: TierCost) -> tuple[str, ...]:
    return (
        TIER_TEXTS[cost.tier],
        str(cost.boots),
        ms(cost.gap_ns),
        _bounded(cost.shift_ns, cost.low_ns, cost.high_ns),
        percent(cost.percent) if cost.tier != "none" else "",
        _bounded(cost.handover_shift_ns, cost.handover_low_ns, cost.handover_high_ns),
    )


def _bounded(ns: int | None, low_ns: int | None, high_ns: int | None) -> str:
    """`+0.031 ms [−0.012, +0.075]`; empty for None."""
    if ns is None:
        return ""
    if low_ns is None or high_ns is None:
        return f"{signed(ns)} ms"
    shift, _, bounds = interval_text(ns, low_ns, high_ns).partition(" ")
    return f"{shift} ms {bounds}"
