"""The history of a scenario as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from results.history.explanation import explain
from results.history.lines import Line, Point
from results.stats.announcements import Announcement

# Schema of the document.
#   1  first version
#   2  changes have a kind and a state, withdrawn ones too; lines have the probes as `tier`
SCHEMA = 2
# Fields of a point in their order in the document.
_POINT = (
    "session", "started_unix_ns", "median_ns", "low_ns", "high_ns", "max_ns", "boots", "valid",
    "failed", "qemu_median_ns", "handover_median_ns", "phases", "version", "build_id", "identity",
    "kernel",
)  # fmt: skip
_NIGHTS = ("until", "found_on", "confirmed_on", "withdrawn_on")


def history_document(scenario: str, lines: Sequence[Line]) -> dict[str, Any]:
    """Values that JSON has; times in ns, levels of changes in ms, nights by their session.

    A change of state `confirmed` stands; `provisional` ones may still go, `withdrawn` ones have.
    """
    return {
        "schema": SCHEMA,
        "scenario": scenario,
        "lines": [
            {
                **asdict(line.key),
                "points": [_point(point) for point in line.points],
                "changes": [_change(line, change) for change in line.changes],
                "empty": [session.id for session in line.empty],
            }
            for line in lines
        ],
    }


def _point(point: Point) -> dict[str, Any]:
    return {name: getattr(point, name) for name in _POINT}


def _change(line: Line, change: Announcement) -> dict[str, Any]:
    nights = {name: getattr(change, name) for name in _NIGHTS}
    return {
        "kind": change.kind,
        "state": change.state,
        "at": change.at,
        "before": change.before,
        "after": change.after,
        "percent": change.percent,
        "session": line.points[change.at].session,
        **{
            name: None if night is None else line.points[night].session
            for name, night in nights.items()
        },
        "became": change.became,
        "why": list(explain(line, change)),
    }
