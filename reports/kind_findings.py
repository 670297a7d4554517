"""The first result of sessions that answer a question of their own: claims, growth, pairs, probes.

A plain run and a comparison have none: their cells and verdicts are all there is to report.
"""

from __future__ import annotations

from collections.abc import Sequence

from results.claims.document import ClaimsDocument
from results.instrument.calibration import Calibration
from results.instrument.overhead import ObserverEffect, TierCost
from results.stats.slopes import Growth, SizeMedians
from results.summary.caveats import Figures
from results.summary.matrix import MatrixCell
from results.summary.report_data import ReportData

from .claim_groups import other_failures, summary_line
from .finding import Code, ReportFinding, Word, known_figures
from .growth_tables import DIMENSIONS, blackout_slopes, slope_text
from .wording import counted, ms, percent, signed_us


def kind_finding(data: ReportData) -> ReportFinding | None:
    """The finding of the session's own question; None for a plain run or a comparison."""
    if data.claims is not None:
        return _of_claims(data.claims)
    if data.growth is not None and data.growth.points:
        return _of_growth(data.growth, data.session.builds[-1].label)
    if data.pairs:
        return _of_pairs(data.pairs)
    if data.kind == "calibration":
        return _of_calibration(data)
    if data.kind == "overhead":
        return _of_overhead(data)
    return None


# -- claims --------------------------------------------------------------------------------------


def _of_claims(claims: ClaimsDocument) -> ReportFinding:
    if claims.damaged:
        first, count = claims.damaged[0], len(claims.damaged)
        text = f"{counted(count, 'run')} of the claims damaged a guest, the first {first}"
        return ReportFinding("damaged", count, "claims", text, "guest-damaged", {"runs": count})
    wrong = [row for row in claims.rows if row.found == "refuted"]
    if wrong:
        row = wrong[0]
        text = f"Claim {row.claim.number} is refuted on {row.build}: {row.claim.title}"
        cell = f"claim {row.claim.number} on {row.build}"
        which: Figures = {"claim": row.claim.number, "build": row.build}
        return ReportFinding("refuted", len(wrong), cell, text, "claim-refuted", which)
    text = f"Claims made for cpr-transfer: {summary_line(claims)}"
    found = [row.found for row in claims.rows]
    counts: Figures = {
        "claims": len(found),
        "shown": found.count("shown"),
        "refuted": found.count("refuted"),
        "not_testable": found.count("not testable"),
        "wrong_beside": other_failures(claims),
    }
    word: Word = "shown" if counts["shown"] == len(found) else "partly shown"
    return ReportFinding(word, 0, "claims", text, "claims-tested", counts)


# -- sweeps --------------------------------------------------------------------------------------


def _of_growth(growth: Growth, build: str) -> ReportFinding:
    slopes = blackout_slopes(growth)
    if not slopes:
        return _without_slope(growth, build)
    first = slopes[0]
    verb = "grows by" if first.clear else "does not clearly grow:"
    text = (
        f"Sweep of {DIMENSIONS[growth.dimension]} on {build}: the blackout of {first.scenario} "
        f"{verb} {slope_text(first, growth.unit)}"
    )
    others = [slope for slope in slopes if slope.mode != first.mode]
    if others and others[0].scenario == first.scenario:
        text += f"; with {others[0].mode} {slope_text(others[0], growth.unit)}"
    which: Figures = {
        "scenario": first.scenario, "build": build, "dimension": growth.dimension,
        "mode": first.mode,
    }  # fmt: skip
    times = which | known_figures(first, ("slope_ns", "low_ns", "high_ns"))
    return _growth_finding(growth, f"{first.scenario} on {build}", text, times)


def _without_slope(growth: Growth, build: str) -> ReportFinding:
    """The smallest and the largest guest of the first scenario."""
    scenario, mode = growth.points[0].scenario, growth.points[0].mode
    points = [p for p in growth.points if (p.scenario, p.mode) == (scenario, mode)]
    each = " and ".join(_size_text(point, growth.unit) for point in (points[0], points[-1]))
    text = (
        f"Sweep of {DIMENSIONS[growth.dimension]} on {build}: the blackout of {scenario} is "
        f"{each}; too few sizes or boots for a slope"
    )
    which: Figures = {
        "scenario": scenario, "build": build, "dimension": growth.dimension, "mode": mode,
    }  # fmt: skip
    return _growth_finding(growth, f"{scenario} on {build}", text, which)


def _growth_finding(growth: Growth, name: str, text: str, figures: Figures) -> ReportFinding:
    if growth.failed:
        text += f"; {counted(growth.failed, 'run')} failed"
    word: Word = "failed" if growth.failed else "measured"
    figures = figures | {"failed": growth.failed}
    return ReportFinding(word, growth.failed, name, text, "growth-measured", figures)


def _size_text(point: SizeMedians, unit: str) -> str:
    return f"{ms(point.metrics.get('blackout'))} at {point.value:g} {unit}"


# -- matrices ------------------------------------------------------------------------------------


def pair_text(pair: MatrixCell) -> str:
    """`10.0.2 → 11.1.3`."""
    return f"{pair.old} → {pair.new}"


def _of_pairs(pairs: Sequence[MatrixCell]) -> ReportFinding:
    labels = list(dict.fromkeys(pair.old for pair in pairs))
    tried = [pair for pair in pairs if pair.runs]
    failed = [pair for pair in tried if pair.valid < pair.runs]
    measured = [pair for pair in pairs if pair.blackout_ns is not None]
    counts: Figures = {"builds": len(labels), "pairs": len(pairs), "failed_pairs": len(failed)}
    start = f"Matrix of {counted(len(labels), 'build')}:"
    if failed:
        worst = failed[0]
        text = (
            f"{start} {len(failed)} of {counted(len(pairs), 'pair')} failed, the first "
            f"{pair_text(worst)}: {worst.reason}"
        )
        return ReportFinding("failed", len(failed), pair_text(worst), text, "pairs-failed", counts)
    slowest = max(measured, key=lambda pair: pair.blackout_ns or 0)
    text = (
        f"{start} {len(measured)} of {counted(len(pairs), 'pair')} transferred, the slowest "
        f"{pair_text(slowest)} with a median blackout of {ms(slowest.blackout_ns)}"
    )
    size = slowest.blackout_ns or 0
    return ReportFinding("measured", size, pair_text(slowest), text, "pairs-measured", counts)


# -- probes --------------------------------------------------------------------------------------


def _of_calibration(data: ReportData) -> ReportFinding:
    build = data.session.builds[-1].label
    name = f"probes on {build}"
    which: Figures = {"build": build}
    certificate = data.certificate
    if certificate is None or certificate.calibrated is None:
        return _not_stored("Calibration", name, which)
    found = certificate.calibrated
    figures = which | {
        "slope": found.slope,
        "offset_ns": found.offset_ns,
        "worst_error_ns": found.worst_error_ns,
    }
    word, code = _calibrated(found)
    text = (
        f"Calibration of the probes on {build} {'passed' if found.passed else 'failed'}: injected "
        f"pauses recovered with slope {found.slope:.4f}, largest median error "
        f"{signed_us(found.worst_error_ns)} µs"
    )
    if found.faults:
        text += f"; {found.faults[0]}"
    return ReportFinding(word, 0, name, text, code, figures)


def _calibrated(found: Calibration) -> tuple[Word, Code]:
    return ("calibrated", "calibrated") if found.passed else ("not calibrated", "not-calibrated")


def _of_overhead(data: ReportData) -> ReportFinding:
    build = data.session.builds[-1].label
    name = f"probes on {build}"
    which: Figures = {"build": build}
    certificate = data.certificate
    if certificate is None or certificate.effect is None:
        return _not_stored("Overhead", name, which)
    cost = default_cost(certificate.effect)
    if cost is None or cost.percent is None:
        text = f"Overhead of the probes on {build}: too few boots for a figure"
        return ReportFinding("undecided", 0, name, text, "overhead-measured", which)
    bounds = ""
    if cost.low_percent is not None and cost.high_percent is not None:
        bounds = f" [{percent(cost.low_percent)}, {percent(cost.high_percent)}]"
    text = (
        f"Overhead of the probes on {build}: the default ones change the guest's gap of "
        f"{ms(cost.base_ns)} by {percent(cost.percent)}{bounds}, {cost.cell}"
    )
    if cost.verdict == "undecided":
        text += f"; {counted(cost.boots, 'boot')} cannot decide whether that is within the goal"
    figures = which | known_figures(cost, ("shift_ns", "low_ns", "high_ns", "percent"))
    word: Word = "undecided" if cost.verdict == "undecided" else "measured"
    return ReportFinding(word, cost.percent, name, text, "overhead-measured", figures)


def default_cost(effect: ObserverEffect) -> TierCost | None:
    """The largest cost of the default probes."""
    costs = [cost for cost in effect.costs if cost.tier == "default"]
    return max(costs, key=lambda cost: cost.percent or 0.0, default=None)


def _not_stored(what: str, name: str, which: Figures) -> ReportFinding:
    text = (
        f"{what} of the {name}: no result is stored; it judged nothing, or a later session has "
        "replaced it"
    )
    return ReportFinding("undecided", 0, name, text, "no-result", which)
