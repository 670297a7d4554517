"""What runs did to their guests, in the words of every report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from results.comparison import compare as judged
from results.records.harm import HARMS
from results.records.run import Summary
from results.records.sentences.kind import Harm
from results.stats.proportions import Failures

from .finding import Tone

# Of one guest, before "in 3 of 6 boots"; a measurement that failed did nothing to a guest.
_STATES: dict[str, str] = {
    "damage": "guest damaged",
    "loss": "guest lost",
    "update-failed": "guest not updated",
}
# Of a build, before the same.
_DEEDS: dict[str, str] = {
    "damage": "damaged its guest",
    "loss": "lost its guest",
    "update-failed": "failed to update its guest",
}


# Of a pair of builds without a valid run.
FAILED_PAIRS: dict[str, str] = {"damage": "damages guest", "loss": "loses guest"}


@dataclass(frozen=True, slots=True)
class HarmLine:
    """One kind of harm in a cell of a comparison, side by side."""

    text: str
    tone: Tone


def harmed_text(summary: Summary) -> str:
    """`guest damaged in 3 of 6 boots, guest lost in 1 of 6`; empty where no guest was harmed."""
    found = [
        f"{state} in {count} of {summary.boots}"
        for harm, state in _STATES.items()
        if (count := summary.harmed_boots.get(harm, 0))
    ]
    if not found:
        return ""
    return ", ".join([f"{found[0]} boots", *found[1:]])


def harm_lines(cell: judged.Cell) -> list[HarmLine]:
    """`guest lost: A 0 of 4 boots, B 3 of 4`, the worst first; nothing where no guest was harmed.

    Damage is bad on either side, all else where B has more of it; what A alone did is noted.
    """
    a, b = cell.failures_a, cell.failures_b
    in_a, in_b = _boots(a), _boots(b)
    lines = []
    for harm, state in _STATES.items():
        if not in_a[harm] and not in_b[harm]:
            continue
        text = (
            f"{state}: A {in_a[harm]} of {a.total_boots} boots, B {in_b[harm]} of {b.total_boots}"
        )
        worse = harm == "damage" or in_b[harm] * a.total_boots > in_a[harm] * b.total_boots
        lines.append(HarmLine(text, "bad" if worse else "doubt"))
    return lines


def verdict_text(cell: judged.Cell) -> str:
    """`same`, `same, guest damaged`, `regressed, fails more often`."""
    if cell.damaged:
        return f"{cell.verdict}, guest damaged"
    return f"{cell.verdict}, fails more often" if cell.more_failures else cell.verdict


def more_failures_text(cell: judged.Cell, label_a: str) -> str:
    """`lost its guest in 3 of 4 boots, baseline in 0 of 4`: what B does more often than A.

    Empty where B does not fail more often.
    """
    if not cell.more_failures:
        return ""
    a, b = cell.failures_a, cell.failures_b
    harm = _more_of(a, b)
    deed = _DEEDS[harm] if harm else "failed"
    in_a, in_b = (_boots(side)[harm] if harm else side.boots for side in (a, b))
    return f"{deed} in {in_b} of {b.total_boots} boots, {label_a} in {in_a} of {a.total_boots}"


def _more_of(a: Failures, b: Failures) -> Harm | None:
    """The worst harm that a larger share of B's boots came to than of A's."""
    both = zip(HARMS, a.by_severity, b.by_severity, strict=False)
    found = (harm for harm, in_a, in_b in both if in_b * a.total_boots > in_a * b.total_boots)
    return next(found, None)


def _boots(failures: Failures) -> Mapping[str, int]:
    return {
        "damage": failures.damaged_boots,
        "loss": failures.lost_boots,
        "update-failed": failures.not_updated_boots,
    }
