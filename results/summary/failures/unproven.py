"""Runs whose proof could not be completed, with the reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from results.records.evidence import Proof
from results.records.run import Run, Summary


@dataclass(frozen=True, slots=True)
class UnprovenRun:
    """One run and its cell."""

    id: str
    scenario: str
    old_build: str
    new_build: str

    def is_of(self, summary: Summary) -> bool:
        """Whether the run belongs to the cell of this summary."""
        return (self.scenario, self.old_build, self.new_build) == (
            summary.scenario,
            summary.old_build,
            summary.new_build,
        )


@dataclass(frozen=True, slots=True)
class UnprovenGroup:
    """All runs that are unproven for one reason."""

    reason: str
    members: tuple[UnprovenRun, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of all members."""
        return tuple(member.id for member in self.members)

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The scenarios of the members."""
        return tuple(dict.fromkeys(member.scenario for member in self.members))


def unproven_groups(runs: Iterable[Run]) -> tuple[UnprovenGroup, ...]:
    """All unproven runs by reason, the largest group first."""
    groups: dict[str, list[UnprovenRun]] = {}
    for run in runs:
        if run.proof is not None and run.proof.verdict == "unproven":
            member = UnprovenRun(run.id, run.scenario, run.old_build, run.new_build)
            groups.setdefault(_reason(run.proof), []).append(member)
    found = (UnprovenGroup(reason, tuple(members)) for reason, members in groups.items())
    return tuple(sorted(found, key=lambda group: -len(group.members)))


def _reason(proof: Proof) -> str:
    """The proof's own reason, else the texts of its incomplete checks."""
    missing = [f"{check.name}: {check.text}" for check in proof.checks if check.state == "missing"]
    return proof.reason or "; ".join(missing) or "no reason was recorded"
