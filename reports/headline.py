"""The top of a report: the verdict, the worst cell, one sentence, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from results.comparison import compare as judged
from results.comparison.verdict import REGRESSED, SAME, UNDECIDED
from results.records.harm import INVALID, exit_status
from results.summary.accelerator import tcg_note
from results.summary.caveats import Figures
from results.summary.failures.unfinished import Unfinished
from results.summary.report_cells import ReportCell
from results.summary.report_data import ReportData

from .finding import TONES, Code, ReportFinding, Tone, Word, known_figures
from .harm_wording import harmed_text, more_failures_text
from .kind_findings import kind_finding
from .wording import cell_name, figure, median_text, ms, shift_text

# Before the sentence of a cell or a verdict, where the kind of session changes what it means.
_PREFIXES = {
    "lab": "In the lab VM: ",
    "self-check": "Self-check (A/A): ",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict over all cells; `cell` names the worst of them.

    `code` and `figures` are the sentence for programs: they stay when it is reworded.
    """

    word: Word
    cell: str
    sentence: str
    code: Code
    figures: Figures
    exit_code: int

    @property
    def tone(self) -> Tone:
        return TONES[self.word]


def headline(data: ReportData, *, strict: bool = False) -> Headline:
    """The worst finding names the verdict. Exit codes: as in compare; a missed budget counts as 1.

    0 fine, 1 regressed, more failures or over budget, 3 a guest was damaged, a run failed where
    nothing was compared, a proof is broken, a claim refuted, a calibration failed or a cell has no
    valid run, 5 undecided when strict. A session that ended early keeps its own: 130 if it
    was interrupted.
    """
    top = _of_what_was_measured(data, strict=strict)
    return top if data.unfinished is None else _unfinished(top, data.unfinished)


def _unfinished(top: Headline, found: Unfinished) -> Headline:
    """Of a session that ended early: what was measured may be bad news, but never good."""
    bad = top.tone == "bad"
    figures: Figures = {"updates": found.updates}
    if found.planned is not None:
        figures["planned_updates"] = found.planned
    return Headline(
        top.word if bad else "interrupted",
        top.cell,
        f"{found.text[0].upper()}{found.text[1:]}. {top.sentence}",
        top.code if bad else "unfinished",
        top.figures | figures,
        found.exit_code,
    )


def _of_what_was_measured(data: ReportData, *, strict: bool) -> Headline:
    own = kind_finding(data)
    if own is not None and (data.claims or data.kind in ("calibration", "overhead")):
        return _of_evidence(own, data)
    prefix = _prefix(data)
    findings = [
        *(found for cell in data.cells for found in _judged(cell, data)),
        *(
            _of_shift(comparison, cell)
            for comparison in data.comparisons
            for cell in comparison.cells
        ),
        *(_of_shift(comparison, cell) for comparison, cell in data.worse_than_before),
    ]
    code = exit_code((found.word for found in findings), data, strict=strict)
    if own is not None:
        return _headline(_worst([own, *_worse_than_measured(findings)]), code, prefix)
    # That a cell was measured is no news where cells were compared.
    if data.comparisons:
        findings = [found for found in findings if found.word != "measured"] or findings
    return _headline(_worst(findings), code, _PREFIXES.get(data.kind, "") + prefix)


def _prefix(data: ReportData) -> str:
    """Figures of TCG must not be read as those of KVM, wherever the sentence stands alone."""
    note = tcg_note(data.session, (cell.summary.dimensions for cell in data.cells))
    return f"{note}: " if note else ""


def night_headline(
    data: ReportData, self_checks: Iterable[judged.Comparison], *, strict: bool = False
) -> Headline:
    """That of a night's sessions, unless a guest was damaged in its self-checks only."""
    top = headline(data, strict=strict)
    damaged = [(c, cell) for c in self_checks for cell in c.cells if cell.damaged]
    if not damaged or top.word in ("damaged", "broken"):
        return top
    comparison, cell = damaged[0]
    boots = cell.failures_a.damaged_boots + cell.failures_b.damaged_boots
    total = cell.failures_a.total_boots + cell.failures_b.total_boots
    name = f"{cell.scenario} on {comparison.label_a}"
    text = f"{name}: guest damaged in {boots} of {total} boots of the self-check"
    which: Figures = {"scenario": cell.scenario, "build": comparison.label_a}
    counts = which | {"damaged_boots": boots, "boots": total}
    found = ReportFinding("damaged", boots, name, text, "guest-damaged", counts)
    return _headline(found, INVALID)


def _of_evidence(own: ReportFinding, data: ReportData) -> Headline:
    """Of a session whose cells are evidence, not results: only damage in them is a finding."""
    damage: tuple[Word, ...] = ("damaged", "broken")
    found = [f for cell in data.cells for f in _of_cell(cell) if f.word in damage]
    invalid = found or own.word in ("damaged", "refuted", "not calibrated")
    return _headline(_worst([own, *found]), INVALID if invalid else SAME)


def _judged(cell: ReportCell, data: ReportData) -> list[ReportFinding]:
    """The findings of a cell.

    Of a baseline, with which others are compared, it is noted that it is slow or that its updates
    fail; that is not tonight's finding. Damage is.
    """
    noted: tuple[Word, ...] = ("over budget", "failed") if data.is_baseline(cell) else ()
    return [found for found in _of_cell(cell) if found.word not in noted]


def _headline(found: ReportFinding, code: int, prefix: str = "") -> Headline:
    return Headline(
        found.word, found.cell, prefix + found.sentence, found.code, found.figures, code
    )


def _worst(findings: Iterable[ReportFinding]) -> ReportFinding:
    order = list(TONES)
    return min(findings, key=lambda found: (order.index(found.word), -found.size))


def _worse_than_measured(findings: Iterable[ReportFinding]) -> list[ReportFinding]:
    """What outweighs a session's own result; its failed runs are a part of that."""
    return [f for f in findings if f.word in ("damaged", "broken", "regressed", "over budget")]


def exit_code(words: Iterable[Word], data: ReportData, *, strict: bool) -> int:
    """Damage before all else, then regressed and over budget, what is invalid, what is undecided.

    A lost guest of a pair of builds that no comparison judges is invalid too.
    """
    found = set(words)
    codes = {comparison.exit_code for comparison in data.comparisons}
    if found & {"damaged", "broken"}:
        return INVALID
    if REGRESSED in codes or found & {"regressed", "over budget"}:
        return REGRESSED
    failed = "failed" in found and not data.comparisons
    pairs = [cell for cell in data.cells if cell.is_upgrade or data.kind == "matrix"]
    lost = exit_status((harm for cell in pairs for harm in cell.harms), "loss")
    if INVALID in codes or failed or lost:
        return INVALID
    return UNDECIDED if strict and "undecided" in found else SAME


def _of_cell(cell: ReportCell) -> list[ReportFinding]:
    summary, name = cell.summary, cell_name(cell)
    which: Figures = {"scenario": summary.scenario, "build": cell.builds}
    runs = summary.valid + summary.failed
    found = []
    broken = summary.proofs.get("broken", 0)
    harm = harmed_text(summary)
    # A broken proof is damage too, and has a finding of its own.
    if summary.harmed_runs.get("damage", 0) > broken:
        boots = summary.harmed_boots.get("damage", 0)
        counts = which | {"damaged_boots": boots, "boots": summary.boots}
        text = f"{name}: {harm}"
        found.append(ReportFinding("damaged", boots, name, text, "guest-damaged", counts))
    if broken:
        text = f"the proof is broken in {broken} of {runs} runs of {name}"
        counts = which | {"broken": broken, "runs": runs}
        found.append(ReportFinding("broken", broken, name, text, "proof-broken", counts))
    if summary.failed:
        text = f"{summary.failed} of {runs} runs failed: {name}{f', {harm}' if harm else ''}"
        counts = which | {"failed": summary.failed, "runs": runs}
        found.append(ReportFinding("failed", summary.failed, name, text, "runs-failed", counts))
    if cell.over_budget and cell.budget is not None and cell.limit is not None:
        budget = cell.budget
        text = (
            f"{name}: {budget.within} of {budget.total} blackouts under {figure(budget.limit_ns)} "
            f"ms, required are {cell.limit.share * 100:g} %"
            + (f" ({budget.failed} runs failed)" if budget.failed else "")
        )
        missed = 1.0 - budget.within / budget.total if budget.total else 1.0
        counts = which | {
            "within": budget.within,
            "total": budget.total,
            "failed": budget.failed,
            "limit_ns": budget.limit_ns,
            "asked_percent": cell.limit.share * 100,
        }
        found.append(ReportFinding("over budget", missed, name, text, "over-budget", counts))
    text = f"{name}: median blackout {median_text(summary)}, longest {ms(summary.max_ns)}"
    times = which | known_figures(summary, ("median_ns", "low_ns", "high_ns", "max_ns"))
    found.append(ReportFinding("measured", summary.median_ns or 0, name, text, "measured", times))
    return found


def _of_shift(comparison: judged.Comparison, cell: judged.Cell) -> ReportFinding:
    name = f"{cell.scenario} on {comparison.label_b}"
    which: Figures = {
        "scenario": cell.scenario,
        "build": comparison.label_b,
        "against": comparison.label_a,
    }
    text = f"{cell.verdict} against {comparison.label_a}, {shift_text(cell)}"
    names = ("median_a_ns", "median_b_ns", "shift_ns", "low_ns", "high_ns", "shift_percent")
    times = which | known_figures(cell, names)
    if cell.more_failures:
        said = f"{name}: {more_failures_text(cell, comparison.label_a)}"
        if cell.verdict == "regressed":
            said += f"; {text}"
        counts = (times if cell.verdict == "regressed" else which) | {
            "failed_boots": cell.failures_b.boots,
            "boots": cell.failures_b.total_boots,
            "failed_boots_against": cell.failures_a.boots,
            "boots_against": cell.failures_a.total_boots,
        }
        # An update that fails is worse than one that is slower.
        return ReportFinding("regressed", 1e9, name, said, "fails-more-often", counts)
    if cell.verdict == "undecided" and not cell.valid:
        return ReportFinding("failed", 1e9, name, f"{name}: {cell.reason}", "not-compared", which)
    size = abs(cell.shift_percent or 0.0)
    return ReportFinding(cell.verdict, size, name, f"{name}: {text}", cell.verdict, times)
