"""The history of a scenario as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from results.summary.history import Line


def history_document(scenario: str, lines: Sequence[Line]) -> dict[str, Any]:
    """Values that JSON has; times in ns, levels of changes in ms."""
    return {
        "schema": 1,
        "scenario": scenario,
        "lines": [
            {
                "old_build": line.old_build,
                "new_build": line.new_build,
                "dimensions": line.dimensions,
                "host": line.host,
                "points": [asdict(point) for point in line.points],
                "changes": [
                    asdict(change)
                    | {
                        "percent": change.percent,
                        "session": line.points[change.at].session,
                        "why": list(line.why(change)),
                    }
                    for change in line.changes
                ],
                "empty": list(line.empty),
            }
            for line in lines
        ],
    }
