"""Findings: what may be reported of a cell or a session, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from results.summary.caveats import Figures

Word = Literal[
    "refuted",
    "shown",
    "partly shown",
    "damaged",
    "broken",
    "regressed",
    "over budget",
    "failed",
    "undecided",
    "improved",
    "same",
    "measured",
    "calibrated",
    "not calibrated",
    "interrupted",
]
# The kind of a sentence; it stays when the sentence is reworded.
Code = Literal[
    "claim-refuted",
    "claims-tested",
    "guest-damaged",
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
    "growth-measured",
    "pairs-failed",
    "pairs-measured",
    "calibrated",
    "not-calibrated",
    "overhead-measured",
    "no-result",
    "unfinished",
]
Tone = Literal["bad", "doubt", "good"]
# Bad news (red), needs attention (amber) or fine (green); the worst first.
TONES: dict[Word, Tone] = {
    "damaged": "bad",
    "refuted": "bad",
    "broken": "bad",
    "regressed": "bad",
    "over budget": "bad",
    "failed": "bad",
    "not calibrated": "bad",
    "interrupted": "doubt",
    "undecided": "doubt",
    "partly shown": "doubt",
    "improved": "good",
    "same": "good",
    "measured": "good",
    "shown": "good",
    "calibrated": "good",
}


@dataclass(frozen=True, slots=True)
class ReportFinding:
    """One sentence and what it is about; of two findings with one word the larger is the worse."""

    word: Word
    size: float
    cell: str
    sentence: str
    code: Code
    figures: Figures


def known_figures(record: object, names: Iterable[str]) -> Figures:
    """The fields of a record that are not None."""
    found = {name: getattr(record, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}
