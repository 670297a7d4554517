"""The session as one JSON document for machines: `--json` of run and show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from results.records.run import CarriedFd, Run, Summary, reasons_of
from results.records.scenario import Session

# Schema of the document; fields are added within a version, never renamed or removed.
#   1  first version
DOCUMENT_SCHEMA = 1


def document(session: Session, runs: Iterable[Run], summaries: Iterable[Summary]) -> dict[str, Any]:
    """Values that JSON has, durations in integer ns, null where a value is not known.

    `proof` is null where none was gathered. An empty `reason` belongs to a completed run; `reasons`
    are what it says, each as a code with its figures.
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
    """File offsets of symbols serve the probes alone."""
    fields.pop("symbols")
    listed: dict[str, Any] = _listed(fields)
    return listed


def run_entry(run: Run) -> dict[str, Any]:
    """One run with all its fields; `phases` are the shares of the blackout by name."""
    entry: dict[str, Any] = _listed(asdict(run))
    entry["phases"] = run.phases
    entry["reasons"] = [asdict(reason) for reason in reasons_of(run)]
    entry["fds"] = [_descriptor(fd) for fd in run.fds]
    return entry


def _descriptor(fd: CarriedFd) -> dict[str, Any]:
    return {"name": fd.name, "id": fd.id} | asdict(fd)


def _listed(value: Any) -> Any:
    """Tuples as lists, so that the document equals what is read back from its text."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value
