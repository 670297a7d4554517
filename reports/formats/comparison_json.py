"""A comparison as one JSON document for programs: `compare --json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from results.comparison.compare import Cell, Comparison, PhaseShift
from results.summary.caveats import SideDoubt

# Schema of the document; fields are added within a version, never renamed or removed.
#   1  first version
COMPARISON_SCHEMA = 1


def comparison_document(comparison: Comparison, doubts: Sequence[SideDoubt] = ()) -> dict[str, Any]:
    """Values that JSON has, durations in integer ns, null where a value is not known.

    The keys of a cell are those of results.comparison.compare.Cell; `moved` names the phases that
    made a changed cell change, largest first. `reason` is empty unless a cell is undecided.
    """
    return {
        "schema": COMPARISON_SCHEMA,
        "a": comparison.label_a,
        "b": comparison.label_b,
        "cells": [_cell(cell) for cell in comparison.cells],
        "only_a": list(comparison.only_a),
        "only_b": list(comparison.only_b),
        "forced": list(comparison.forced),
        "thresholds": asdict(comparison.thresholds),
        "comparisons": comparison.comparisons,
        "exit_code": comparison.exit_code,
        "doubts": [
            {"side": found.side, "scenario": found.scenario, "builds": found.builds}
            | asdict(found.doubt)
            for found in doubts
        ],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    entry = asdict(cell)
    entry["budgets_a"] = list(entry["budgets_a"])
    entry["budgets_b"] = list(entry["budgets_b"])
    entry["phases"] = [_phase(phase) for phase in cell.phases]
    entry["moved"] = [phase.name for phase in cell.moved]
    entry["damaged"] = cell.damaged
    return entry


def _phase(phase: PhaseShift) -> dict[str, Any]:
    entry = asdict(phase)
    shift: dict[str, Any] = entry.pop("shift")
    return entry | shift
