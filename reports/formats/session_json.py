"""The session as one JSON document for programs: `--json` of run and show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from results.records.run import CarriedFd, Run, Summary, reasons_of
from results.records.scenario import Session

from .json_values import json_value

# Schema of the document; fields are added within a version, never renamed or removed.
#   1  first version
DOCUMENT_SCHEMA = 1


def document(session: Session, runs: Iterable[Run], summaries: Iterable[Summary]) -> dict[str, Any]:
    """Values that JSON has, durations in integer ns, null where a value is not known.

    `proof` is null for a run without one. `reason` is empty for a completed run; `reasons` are its
    parts, each as a code with its figures.
    """
    return {
        "schema": DOCUMENT_SCHEMA,
        "session": session.id,
        "started_unix_ns": session.started_unix_ns,
        "command": list(session.command),
        "probe_tier": session.probe_tier,
        "environment": dict(session.environment),
        "builds": [_build(asdict(build)) for build in session.builds],
        "runs": [run_entry(run) for run in runs],
        "summary": [asdict(summary) for summary in summaries],
    }


def _build(fields: dict[str, Any]) -> dict[str, Any]:
    """Without the file offsets of symbols, which only the probes need."""
    fields.pop("symbols")
    value: dict[str, Any] = json_value(fields)
    return value


def run_entry(run: Run) -> dict[str, Any]:
    """One run with all its fields; `phases` are the shares of the blackout by name."""
    entry: dict[str, Any] = json_value(run)
    entry["phases"] = run.phases
    entry["reasons"] = [asdict(reason) for reason in reasons_of(run)]
    entry["fds"] = [_descriptor(fd) for fd in run.fds]
    return entry


def _descriptor(fd: CarriedFd) -> dict[str, Any]:
    return {"name": fd.name, "id": fd.id} | asdict(fd)
