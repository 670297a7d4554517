"""What a report says first: the verdict, the worst cell, one sentence, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from reports.claim_groups import summary_line as claims_summary
from reports.wording import cell_name, figure, median_text, ms, shift_text
from results.claims.document import ClaimsDocument
from results.comparison import compare as judged
from results.comparison.verdict import INVALID, REGRESSED, SAME, UNDECIDED
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
    """The verdict over all cells; `cell` names the worst of them."""

    word: Word
    cell: str
    sentence: str
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


def headline(material: Material, *, strict: bool = False) -> Headline:
    """The worst finding names the verdict. Exit codes: as in compare; a missed budget counts as 1.

    0 fine, 1 regressed, more failures or over budget, 3 a run failed where nothing was compared, a
    proof is broken or a cell has no valid run, 5 undecided when strict.
    """
    if material.claims is not None:
        return _of_claims(material.claims)
    findings = [
        *(found for cell in material.cells for found in _of_cell(cell)),
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
    return Headline(worst.word, worst.cell, worst.sentence, code)


def _of_claims(claims: ClaimsDocument) -> Headline:
    """Of a session that put claims to the test the claims are the verdict."""
    wrong = [row for row in claims.rows if row.found == "refuted"]
    if wrong:
        row = wrong[0]
        text = f"claim {row.claim.number} is refuted on {row.build}: {row.claim.title}"
        return Headline("refuted", f"claim {row.claim.number} on {row.build}", text, INVALID)
    text = f"claims made for cpr-transfer: {claims_summary(claims)}"
    whole = all(row.found == "shown" for row in claims.rows)
    return Headline("shown" if whole else "partly shown", "claims", text, SAME)


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
    found = []
    if broken := summary.proofs.get("broken", 0):
        text = f"the proof is broken in {broken} of {summary.valid + summary.failed} runs of {name}"
        found.append(_Finding("broken", broken, name, text))
    if summary.failed:
        text = f"{summary.failed} of {summary.valid + summary.failed} runs failed: {name}"
        found.append(_Finding("failed", summary.failed, name, text))
    if cell.over_budget and cell.budget is not None and cell.limit is not None:
        budget = cell.budget
        text = (
            f"{name}: {budget.within} of {budget.total} blackouts under {figure(budget.limit_ns)} "
            f"ms, asked were {cell.limit.share * 100:g} %"
        )
        missed = 1.0 - budget.within / budget.total if budget.total else 1.0
        found.append(_Finding("over budget", missed, name, text))
    text = f"{name}: median blackout {median_text(cell)}, longest {ms(summary.max_ns)}"
    found.append(_Finding("measured", summary.median_ns or 0, name, text))
    return found


def _of_shift(comparison: judged.Comparison, cell: judged.Cell) -> _Finding:
    name = f"{cell.scenario} on {comparison.label_b}"
    word: Word = cell.verdict
    text = f"{name}: {cell.verdict} against {comparison.label_a}, {shift_text(cell)}"
    size = abs(cell.shift_percent or 0.0)
    if cell.more_failures:
        word = "regressed"
        text = (
            f"{name}: {cell.failures_b.boots} of {cell.failures_b.total_boots} boots failed, "
            f"{cell.failures_a.boots} of {cell.failures_a.total_boots} on {comparison.label_a}"
        )
        size = 1e9  # a handover that fails is worse than one that is slower
    elif word == "undecided" and not cell.valid:
        word, text, size = "failed", f"{name}: {cell.reason}", 1e9
    return _Finding(word, size, name, text)
