"""Runs whose proof could not be completed, with the reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from results.records.evidence import Proof
from results.records.run import Run


@dataclass(frozen=True, slots=True)
class UnprovenGroup:
    """Runs that are unproven for one reason; `runs` are all of their ids."""

    reason: str
    runs: tuple[str, ...]
    scenarios: tuple[str, ...]


def unproven_groups(runs: Iterable[Run]) -> tuple[UnprovenGroup, ...]:
    """All unproven runs by reason, the largest group first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.proof is not None and run.proof.verdict == "unproven":
            groups.setdefault(_reason(run.proof), []).append(run)
    found = (
        UnprovenGroup(
            reason,
            tuple(run.id for run in mine),
            tuple(dict.fromkeys(run.scenario for run in mine)),
        )
        for reason, mine in groups.items()
    )
    return tuple(sorted(found, key=lambda group: -len(group.runs)))


def _reason(proof: Proof) -> str:
    """The proof's own reason, else what its open checks say."""
    missing = [f"{c.name}: {c.text}" for c in proof.checks if c.state == "missing"]
    return proof.reason or "; ".join(missing) or "no reason was recorded"
