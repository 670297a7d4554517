"""The figures at the top of a page: what the first glance gets, by kind of session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.claim_groups import claims_report
from reports.finding import Tone
from reports.growth_tables import blackout_slopes
from reports.kind_findings import default_cost, pair_text
from reports.wording import (
    RATIOS,
    cell_name,
    counted,
    ms,
    percent,
    signed,
    signed_us,
)
from results.claims.document import ClaimsDocument
from results.instrument.certificates import Certificate
from results.qemu.modes import mode_of
from results.stats.slopes import Growth
from results.summary.matrix import MatrixCell
from results.summary.report_cells import ReportCell
from results.summary.report_data import ReportData

_MOST_SLOPES = 3


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure; `tone` colours it where it is not fine."""

    name: str
    figure: str
    remark: str
    tone: Tone = "good"


def tiles(data: ReportData) -> list[Tile]:
    """Harm to guests, then the figures of the session's own result, else those of its cells."""
    return [*_of_harm(data), *_of_result(data)]


def _of_harm(data: ReportData) -> list[Tile]:
    """How many boots damaged or lost their guest, whatever the session's question."""
    found = []
    for harm, name in (("damage", "guests damaged"), ("loss", "guests lost")):
        harmed = [cell for cell in data.cells if cell.summary.harmed_boots.get(harm)]
        if not harmed:
            continue
        count = sum(cell.summary.harmed_boots[harm] for cell in harmed)
        boots = sum(cell.summary.boots for cell in data.cells)
        remark = cell_name(harmed[0]) + (f" and {len(harmed) - 1} more" if harmed[1:] else "")
        found.append(Tile(name, f"{count} of {counted(boots, 'boot')}", remark, "bad"))
    return found


def _of_result(data: ReportData) -> list[Tile]:
    if data.claims is not None:
        return _of_claims(data.claims)
    if data.kind in ("calibration", "overhead"):
        return _of_instrument(data.certificate, data.session.id)
    if data.growth is not None and data.growth.slopes:
        return [*_of_growth(data.growth), *_proofs(data.cells)]
    if data.pairs:
        return [*_of_pairs(data.pairs), *_proofs(data.cells)]
    return [*_of_cells(data.cells), *_proofs(data.cells)]


def _of_cells(cells: Sequence[ReportCell]) -> list[Tile]:
    measured = [cell for cell in cells if cell.summary.median_ns is not None]
    if not measured:
        return []
    slowest = max(measured, key=lambda cell: cell.summary.median_ns or 0)
    longest = max(measured, key=lambda cell: cell.summary.max_ns or 0)
    return [
        Tile("slowest median", ms(slowest.summary.median_ns), cell_name(slowest)),
        Tile("longest blackout", ms(longest.summary.max_ns), cell_name(longest)),
        *_downtime(measured),
    ]


def _downtime(cells: Sequence[ReportCell]) -> list[Tile]:
    """The cell in which QEMU understates the blackout the most, of cpr-transfer where there is any.

    Other modes stop the guest for longer than what QEMU counts as downtime, by design.
    """
    known = [cell for cell in cells if cell.summary.qemu_error_percent is not None]
    transfers = [c for c in known if mode_of(c.summary.dimensions) == "cpr-transfer"]
    if not known:
        return []
    cell = min(transfers or known, key=lambda cell: cell.summary.qemu_error_percent or 0.0)
    off = percent(cell.summary.qemu_error_percent)
    return [Tile("QEMU's downtime is off by", off, f"{RATIOS}, {cell_name(cell)}")]


def _proofs(cells: Sequence[ReportCell]) -> list[Tile]:
    """Green only where every proof held."""
    held = sum(cell.summary.proofs.get("held", 0) for cell in cells)
    broken = sum(cell.summary.proofs.get("broken", 0) for cell in cells)
    total = sum(sum(cell.summary.proofs.values()) for cell in cells)
    if not total:
        return []
    tone: Tone = "bad" if broken else "good" if held == total else "doubt"
    remark = "RAM, descriptors and pins in place"
    if held < total:
        parts = [f"{broken} broken"] if broken else []
        parts += [f"{total - held - broken} unproven"] if total > held + broken else []
        remark = f"{', '.join(parts)}: listed below"
    return [Tile("proof held", f"{held} of {total}", remark, tone)]


def _of_claims(claims: ClaimsDocument) -> list[Tile]:
    """Red where a claim is refuted or another test failed, amber where one could not be tested."""
    tones: dict[str, Tone] = {
        "refuted": "bad",
        "other tests failed": "bad",
        "not testable here": "doubt",
    }
    return [
        Tile(name, figure, remark, tones.get(name, "good") if figure != "0" else "good")
        for name, figure, remark in claims_report(claims).tiles
    ]


def _of_growth(growth: Growth) -> list[Tile]:
    slopes = blackout_slopes(growth)
    found = [
        Tile(
            f"blackout per {growth.unit}",
            f"{signed(slope.slope_ns)} ms",
            f"{slope.scenario}, {slope.mode} [{signed(slope.low_ns)}, {signed(slope.high_ns)}]",
        )
        for slope in slopes[:_MOST_SLOPES]
    ]
    if growth.failed:
        found.append(Tile("failed", counted(growth.failed, "run"), "in no figure", "bad"))
    return found


def _of_pairs(pairs: Sequence[MatrixCell]) -> list[Tile]:
    measured = [pair for pair in pairs if pair.blackout_ns is not None]
    complete = sum(pair.valid == pair.runs > 0 for pair in pairs)
    tone: Tone = "good" if complete == len(pairs) else "bad"
    found = [Tile("pairs without a failure", f"{complete} of {len(pairs)}", "", tone)]
    if measured:
        for name, pick in (("slowest pair", max), ("fastest pair", min)):
            pair = pick(measured, key=lambda pair: pair.blackout_ns or 0)
            found.append(Tile(name, ms(pair.blackout_ns), pair_text(pair)))
    return found


def _of_instrument(certificate: Certificate | None, session: str) -> list[Tile]:
    if certificate is None:
        return []
    if certificate.session == session and certificate.calibrated is not None:
        found = certificate.calibrated
        tone: Tone = "good" if found.passed else "bad"
        lost = sum(found.lost.values())
        return [
            Tile("calibration", "passed" if found.passed else "failed", "", tone),
            Tile("slope", f"{found.slope:.4f}", "recovered by injected"),
            Tile("largest median error", f"{signed_us(found.worst_error_ns)} µs", "of all levels"),
            Tile("transfers", str(sum(level.shots for level in found.levels)),
                 f"{lost} lost" if lost else ""),
        ]  # fmt: skip
    cost = default_cost(certificate.effect) if certificate.effect is not None else None
    if cost is None:
        return []
    return [
        Tile("guest's gap longer by", percent(cost.percent), f"default probes, {cost.cell}"),
        Tile("update longer by", ms(cost.handover_shift_ns), f"default probes, {cost.cell}"),
        Tile("boots", str(cost.boots), "with the default probes"),
    ]
