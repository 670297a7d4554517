"""What QEMU's faults did to guests: one row for each phase and fault."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from results.records.harm import exit_status, harm_of
from results.records.rollback import Where
from results.records.run import Run
from results.records.sentences.kind import Harm

# Schema of the document `faults --json`; fields are added within a version.
#   1  first version
SCHEMA = 1

Phase = Literal["start", "cpr-state", "hold", "stopped", "load", "resumed"]

# Phase → the moment of the fault.
PHASES: dict[Phase, str] = {
    "start": "new QEMU was started, `migrate` was not sent yet",
    "cpr-state": "new QEMU has the CPR state and makes its machine",
    "hold": "both QEMUs are ready, before `migrate-incoming`",
    "stopped": "old QEMU has stopped the guest and saved nothing yet",
    "load": "new QEMU begins to load the guest",
    "resumed": "the guest runs in new QEMU, old still exists",
}


@dataclass(frozen=True, slots=True)
class FaultRow:
    """One fault in one phase, and what came of it.

    `expected` are the places where the guest may be alive afterwards. `exit_status` is that of
    `pausebench run`.
    """

    phase: Phase
    fault: str
    old_build: str
    new_build: str
    outcome: str
    reason: str
    where: Where
    pause_ns: int | None
    giving_up: str  # the phase in which old QEMU gives up
    giving_up_ns: int | None
    harm: Harm | None  # what the run says was done to the guest
    exit_status: int
    took_s: float
    run: str  # id
    expected: tuple[Where, ...] = ()

    @property
    def as_expected(self) -> bool:
        return self.where in self.expected


def fault_row(
    phase: Phase, fault: str, run: Run, took_s: float, expected: Iterable[Where]
) -> FaultRow:
    """The row of a fault that was injected into `run`."""
    back = run.rollback
    done = run.outcome == "completed"
    where: Where = "new" if done else back.where if back else "unknown"
    return FaultRow(
        phase=phase,
        fault=fault,
        old_build=run.old_build,
        new_build=run.new_build,
        outcome=run.outcome,
        reason=run.reason,
        where=where,
        pause_ns=run.blackout_ns if done else back.pause_ns if back else None,
        giving_up=back.phase if back else "",
        giving_up_ns=back.phase_ns if back else None,
        harm=harm_of(run),
        exit_status=exit_status([harm_of(run)]),
        took_s=round(took_s, 1),
        run=run.id,
        expected=tuple(expected),
    )
