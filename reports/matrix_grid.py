"""The result of a matrix: a grid of old builds by new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.summary.matrix import MatrixCell

from .harm_wording import FAILED_PAIRS
from .wording import bounded_text, counted


@dataclass(frozen=True, slots=True)
class GridCell:
    """One pair: its figure or state, what it rests on, and the number of a reason from 1."""

    text: str
    remark: str
    tone: str  # good, bad or none
    reason: int | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows of cells by old build, columns by new build, and the numbered reasons of failures."""

    labels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[GridCell, ...]], ...]
    reasons: tuple[str, ...]


def matrix_grid(pairs: Sequence[MatrixCell]) -> Grid | None:
    """The grid; None without a pair."""
    if not pairs:
        return None
    labels = tuple(dict.fromkeys(pair.new for pair in pairs))
    reasons = tuple(dict.fromkeys(pair.reason for pair in pairs if pair.reason and pair.runs))
    rows = tuple(
        (old, tuple(_cell(pair, reasons) for pair in pairs if pair.old == old)) for old in labels
    )
    return Grid(labels, rows, reasons)


def _cell(pair: MatrixCell, reasons: Sequence[str]) -> GridCell:
    if not pair.runs:
        return GridCell("–", "not measured", "none")
    reason = reasons.index(pair.reason) + 1 if pair.reason else None
    if pair.blackout_ns is None:
        word = FAILED_PAIRS.get(pair.harm, "fails")
        return GridCell(word, f"{pair.runs} of {counted(pair.runs, 'run')}", "bad", reason)
    remark = counted(pair.boots, "boot")
    if pair.valid < pair.runs:
        word = FAILED_PAIRS.get(pair.harm, "failed")
        remark += f", {pair.runs - pair.valid} of {counted(pair.runs, 'run')} {word}"
    tone = "bad" if pair.valid < pair.runs else "good"
    return GridCell(bounded_text(pair.blackout_ns, pair.low_ns, pair.high_ns), remark, tone, reason)
