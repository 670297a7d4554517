"""One judged run as the table of runs has it, by the names of its columns."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec

from results.records.run import Run

from .schema import RUNS

_OF_RUN = tuple(
    c.name for c in RUNS.columns if c.name in {f.name for f in fields(Run)} and c.name != "proof"
)
_WITNESSES = ("qemu", "kvm_entry", "uprobe", "qmp", "guest")


def figures_of(run: Run) -> dict[str, Any]:
    """The texts and numbers that reports count; None where the run does not know one."""
    return {
        **{name: getattr(run, name) for name in _OF_RUN},
        **{f"{name}_ns": getattr(run.witnesses, name) for name in _WITNESSES},
        "proof": run.proof.verdict if run.proof is not None else None,
        "device_operations": run.device.operations if run.device is not None else None,
        "device_troubles": len(run.device.troubles) if run.device is not None else None,
        "device_gap_ns": run.device.longest_gap_ns if run.device is not None else None,
    }


def shares_of(run: Run) -> dict[str, int]:
    """Each phase's share of the blackout, ns; 0 of one that was seen and has none."""
    return {span.name: span.blackout_ns for span in run.spans}


def row_of(run: Run) -> dict[str, Any]:
    """The whole row; what is not one number is JSON."""
    lists = {
        "phases": run.phases,
        "shares": shares_of(run),
        "vcpu_blackouts": run.vcpu_blackouts_ns,
    }
    return figures_of(run) | {n: msgspec.json.encode(v).decode() for n, v in lists.items()}
