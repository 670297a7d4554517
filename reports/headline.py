"""What a report says first: the verdict, the worst cell, one sentence, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from reports.claim_groups import other_failures
from reports.claim_groups import summary_line as claims_summary
from reports.wording import cell_name, figure, median_text, ms, shift_text
from results.claims.document import ClaimsDocument
from results.comparison import compare as judged
from results.comparison.verdict import INVALID, REGRESSED, SAME, UNDECIDED
from results.summary.caveats import Figures
from results.summary.report_data import Cell, Material

Word = Literal[
    "refuted",
    "shown",
    "partly shown",
    "broken",
    "regressed",
    "over budget",
    "failed",
    "undecided",
    "improved",
    "same",
    "measured",
]
# What a sentence says, whatever its words.
Code = Literal[
    "claim-refuted",
    "claims-tested",
    "proof-broken",
    "fails-more-often",
    "not-compared",
    "runs-failed",
    "over-budget",
    "measured",
    "regressed",
    "undecided",
    "improved",
    "same",
]
# Whether a word is bad news (red), needs a look (amber) or is fine (green).
TONES: dict[Word, Literal["bad", "doubt", "good"]] = {
    "refuted": "bad",
    "broken": "bad",
    "regressed": "bad",
    "over budget": "bad",
    "failed": "bad",
    "undecided": "doubt",
    "partly shown": "doubt",
    "improved": "good",
    "same": "good",
    "measured": "good",
    "shown": "good",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict over all cells; `cell` names the worst of them.

    `code` and `figures` are the sentence for programs: its words may change, they stay.
    """

    word: Word
    cell: str
    sentence: str
    code: Code
    figures: Figures
    exit_code: int

    @property
    def tone(self) -> Literal["bad", "doubt", "good"]:
        return TONES[self.word]


@dataclass(frozen=True, slots=True)
class _Finding:
    word: Word
    size: float  # of two findings with one word the larger is the worse
    cell: str
    sentence: str
    code: Code
    figures: Figures


def headline(material: Material, *, strict: bool = False) -> Headline:
    """The worst finding names the verdict. Exit codes: as in compare; a missed budget counts as 1.

    0 fine, 1 regressed, more failures or over budget, 3 a run failed where nothing was compared, a
    proof is broken or a cell has no valid run, 5 undecided when strict.
    """
    if material.claims is not None:
        return _of_claims(material.claims)
    findings = [
        *(
            found
            for cell in material.cells
            for found in _of_cell(cell)
            # Others are compared with it: that it is slow is noted, not tonight's finding.
            if not (found.word == "over budget" and material.is_baseline(cell))
        ),
        *(
            _of_shift(comparison, cell)
            for comparison in material.comparisons
            for cell in comparison.cells
        ),
    ]
    order = list(TONES)
    # A cell that is merely measured says nothing where cells were compared.
    if material.comparisons:
        findings = [found for found in findings if found.word != "measured"] or findings
    worst = min(findings, key=lambda found: (order.index(found.word), -found.size))
    code = exit_code(
        (found.word for found in findings),
        material,
        strict=strict,
    )
    return Headline(worst.word, worst.cell, worst.sentence, worst.code, worst.figures, code)


def _of_claims(claims: ClaimsDocument) -> Headline:
    """Of a session that put claims to the test the claims are the verdict."""
    wrong = [row for row in claims.rows if row.found == "refuted"]
    if wrong:
        row = wrong[0]
        text = f"claim {row.claim.number} is refuted on {row.build}: {row.claim.title}"
        cell = f"claim {row.claim.number} on {row.build}"
        which: Figures = {"claim": row.claim.number, "build": row.build}
        return Headline("refuted", cell, text, "claim-refuted", which, INVALID)
    text = f"claims made for cpr-transfer: {claims_summary(claims)}"
    found = [row.found for row in claims.rows]
    counts: Figures = {
        "claims": len(found),
        "shown": found.count("shown"),
        "refuted": found.count("refuted"),
        "not_testable": found.count("not testable"),
        "wrong_beside": other_failures(claims),
    }
    word: Word = "shown" if counts["shown"] == len(found) else "partly shown"
    return Headline(word, "claims", text, "claims-tested", counts, SAME)


def exit_code(words: Iterable[Word], material: Material, *, strict: bool) -> int:
    """Regressed and over budget before all else, then what is invalid, then what is undecided."""
    found = set(words)
    codes = {comparison.exit_code for comparison in material.comparisons}
    if REGRESSED in codes or found & {"regressed", "over budget"}:
        return REGRESSED
    failed = "failed" in found and not material.comparisons
    if INVALID in codes or failed or "broken" in found:
        return INVALID
    return UNDECIDED if strict and "undecided" in found else SAME


def _of_cell(cell: Cell) -> list[_Finding]:
    summary, name = cell.summary, cell_name(cell)
    which: Figures = {"scenario": summary.scenario, "build": cell.builds}
    runs = summary.valid + summary.failed
    found = []
    if broken := summary.proofs.get("broken", 0):
        text = f"the proof is broken in {broken} of {runs} runs of {name}"
        counts = which | {"broken": broken, "runs": runs}
        found.append(_Finding("broken", broken, name, text, "proof-broken", counts))
    if summary.failed:
        text = f"{summary.failed} of {runs} runs failed: {name}"
        counts = which | {"failed": summary.failed, "runs": runs}
        found.append(_Finding("failed", summary.failed, name, text, "runs-failed", counts))
    if cell.over_budget and cell.budget is not None and cell.limit is not None:
        budget = cell.budget
        text = (
            f"{name}: {budget.within} of {budget.total} blackouts under {figure(budget.limit_ns)} "
            f"ms, asked were {cell.limit.share * 100:g} %"
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
        found.append(_Finding("over budget", missed, name, text, "over-budget", counts))
    text = f"{name}: median blackout {median_text(cell)}, longest {ms(summary.max_ns)}"
    times = which | _known(summary, ("median_ns", "low_ns", "high_ns", "max_ns"))
    found.append(_Finding("measured", summary.median_ns or 0, name, text, "measured", times))
    return found


def _of_shift(comparison: judged.Comparison, cell: judged.Cell) -> _Finding:
    name = f"{cell.scenario} on {comparison.label_b}"
    which: Figures = {
        "scenario": cell.scenario,
        "build": comparison.label_b,
        "against": comparison.label_a,
    }
    text = f"{name}: {cell.verdict} against {comparison.label_a}, {shift_text(cell)}"
    if cell.more_failures:
        text = (
            f"{name}: {cell.failures_b.boots} of {cell.failures_b.total_boots} boots failed, "
            f"{cell.failures_a.boots} of {cell.failures_a.total_boots} on {comparison.label_a}"
        )
        counts = which | {
            "failed_boots": cell.failures_b.boots,
            "boots": cell.failures_b.total_boots,
            "failed_boots_against": cell.failures_a.boots,
            "boots_against": cell.failures_a.total_boots,
        }
        # A handover that fails is worse than one that is slower.
        return _Finding("regressed", 1e9, name, text, "fails-more-often", counts)
    if cell.verdict == "undecided" and not cell.valid:
        return _Finding("failed", 1e9, name, f"{name}: {cell.reason}", "not-compared", which)
    names = ("median_a_ns", "median_b_ns", "shift_ns", "low_ns", "high_ns", "shift_percent")
    times = which | _known(cell, names)
    return _Finding(cell.verdict, abs(cell.shift_percent or 0.0), name, text, cell.verdict, times)


def _known(record: object, names: Iterable[str]) -> Figures:
    """The fields of a record that are not None."""
    found = {name: getattr(record, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}
