"""A session as one JSON document for programs: `pausebench report --format json`.

reports/report.schema.json describes it (JSON Schema 2020-12).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

import numpy as np

from reports.headline import headline
from reports.request import Request
from reports.suggested_commands import repeat_command, show_command
from results.claims.document import as_json
from results.comparison.compare import Comparison
from results.records.run import reasons_of
from results.records.scenario import Session
from results.store.tables.columns import Columns
from results.summary.report_cells import ReportCell
from results.summary.report_data import ReportData

from .comparison_json import comparison_document
from .json_values import json_value

# Schema of the document; fields are added within a version, never renamed or removed.
#   1  first version
REPORT_SCHEMA = 1
SCHEMA_FILE = "report.schema.json"
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def report(request: Request) -> str:
    return report_json(request.data, strict=request.strict)


def report_document(data: ReportData, *, strict: bool = False) -> dict[str, Any]:
    """Values that JSON has; durations in integer ns, null where a value is not known."""
    top = headline(data, strict=strict)
    end = data.end
    return {
        "schema": REPORT_SCHEMA,
        "kind": data.kind,
        "verdict": top.word,
        "worst_cell": top.cell,
        "sentence": top.sentence,
        "sentence_key": {"code": top.code, "figures": top.figures},
        "exit_code": top.exit_code,
        "sessions": [_session(session) for session in data.sessions],
        "ended_unix_ns": end.ended_unix_ns,
        "session_exit_code": end.exit_code,
        "cells": [_cell(cell) for cell in data.cells],
        "comparisons": _comparisons(data.comparisons),
        **({"anchors": _comparisons(data.anchors)} if data.anchors else {}),
        "failures": [
            {
                "reason": group.reason,
                "runs": group.runs,
                "scenarios": list(group.scenarios),
                "examples": [
                    {
                        "run": run.id,
                        "reason": run.reason,
                        "reasons": [asdict(reason) for reason in reasons_of(run)],
                        "log_tail": run.log_tail,
                        "show": show_command(run.id, data.store),
                    }
                    for run in runs
                ],
            }
            for group, runs in data.failures
        ],
        "rollbacks": None if data.rollbacks is None else asdict(data.rollbacks),
        "unproven": [
            {"reason": group.reason, "runs": list(group.runs), "scenarios": list(group.scenarios)}
            for group in data.unproven
        ],
        **_own_result(data),
        "reference": None if data.reference is None else data.reference.id,
        "changed": list(data.changed),
        "notes": list(data.notes),
        "certificates": list(data.certificates),
        "repeat": repeat_command(data.session),
    }


def _comparisons(comparisons: Sequence[Comparison]) -> list[Any]:
    return [json_value(comparison_document(comparison)) for comparison in comparisons]


def _own_result(data: ReportData) -> dict[str, Any]:
    """What sessions of one kind found; null or empty for all others."""
    certificate, session = data.certificate, data.session.id
    calibration = overhead = None
    if certificate is not None and certificate.session == session:
        calibration = certificate.calibrated
    if certificate is not None and certificate.watched_session == session:
        overhead = certificate.effect
    return {
        "claims": None if data.claims is None else as_json(data.claims),
        "growth": None
        if data.growth is None
        else {"unit": data.growth.unit, **json_value(data.growth)},
        "pairs": json_value(data.pairs),
        "calibration": json_value(calibration),
        "overhead": json_value(overhead),
    }


def report_json(data: ReportData, *, strict: bool = False) -> str:
    """The document as text, ending in a newline."""
    return json.dumps(report_document(data, strict=strict), indent=2) + "\n"


def schema_text() -> str:
    """The published JSON Schema of the document."""
    return resources.files("reports").joinpath(SCHEMA_FILE).read_text("utf-8")


def _session(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "started_unix_ns": session.started_unix_ns,
        "command": list(session.command),
        "probe_tier": session.probe_tier,
        "environment": dict(session.environment),
        "builds": [
            {
                name: getattr(build, name)
                for name in ("label", "binary", "version", "build_id", "sha256")
            }
            | {"missing_marks": list(build.missing_marks)}
            for build in session.builds
        ],
    }


def _cell(cell: ReportCell) -> dict[str, Any]:
    return {
        **asdict(cell.summary),
        "quantiles_ns": _quantiles(cell.columns),
        "witnesses": {
            t.witness: {"runs": t.runs, "median_ns": t.median_ns, "error_percent": t.error_percent}
            for t in cell.testimonies
        },
        "budget": None
        if cell.budget is None or cell.limit is None
        else asdict(cell.budget) | {"asked_share": cell.limit.share, "kept": not cell.over_budget},
        "doubts": [asdict(doubt) for doubt in cell.doubts],
        "worst_run": cell.worst.id if cell.worst else None,
        "median_run": cell.median.id if cell.median else None,
    }


def _quantiles(columns: Columns) -> dict[str, int]:
    """Order statistics of all valid blackouts: values that were measured, not interpolated."""
    values = columns.known("blackout_ns")
    if not len(values):
        return {}
    found = np.quantile(values, _QUANTILES, method="inverted_cdf")
    return {f"{q:g}": int(value) for q, value in zip(_QUANTILES, found, strict=True)}
