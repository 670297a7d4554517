"""Rows of the store's tables, by the names of their columns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import msgspec

from results.records.run import Run

from .schema import RUNS


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a session ended; both None while it runs or when it was killed."""

    ended_unix_ns: int | None
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class AaEntry:
    """One cell of one A/A comparison: boots of each side, shift, verdict."""

    host: str
    dimensions: str
    boots: int
    shift_ns: int
    verdict: str


_OF_RUN = tuple(
    c.name for c in RUNS.columns if c.name in {f.name for f in fields(Run)} and c.name != "proof"
)
_WITNESSES = ("qemu", "kvm_entry", "uprobe", "qmp", "guest")


def figures_of(run: Run) -> dict[str, Any]:
    """The texts and numbers that reports count; None where one is unknown."""
    return {
        **{name: getattr(run, name) for name in _OF_RUN},
        **{f"{name}_ns": getattr(run.witnesses, name) for name in _WITNESSES},
        "proof": run.proof.verdict if run.proof is not None else None,
        "device_operations": run.device.operations if run.device is not None else None,
        "device_troubles": len(run.device.troubles) if run.device is not None else None,
        "device_gap_ns": run.device.longest_gap_ns if run.device is not None else None,
    }


def shares_of(run: Run) -> dict[str, int]:
    """Each phase's share of the blackout, ns; 0 for one that was seen outside of it."""
    return {span.name: span.blackout_ns for span in run.spans}


def row_of(run: Run) -> dict[str, Any]:
    """The row of RUNS, without `seq` and checksum; lists and objects are JSON."""
    lists = {
        "phases": run.phases,
        "shares": shares_of(run),
        "vcpu_blackouts": run.vcpu_blackouts_ns,
    }
    return figures_of(run) | {n: msgspec.json.encode(v).decode() for n, v in lists.items()}


def aa_row(session: str, entry: AaEntry) -> dict[str, Any]:
    """The row of AA, without `seq` and checksum."""
    return {"session": session, **asdict(entry)}
