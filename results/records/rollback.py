"""What became of the guest of a transfer that failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Where = Literal["old", "new", "nowhere", "unknown"]
# Status of the migration that an update which fails passes through. `failing` came with QEMU 11.0.
FAILING, FAILURE = "failing → failed", "failed → RESUME"


@dataclass(frozen=True, slots=True)
class Rollback:
    """Where the guest runs after an update that failed, and how long it stood still for it.

    `pause_ns` is the longest of all vCPUs', from the last return of KVM_RUN to the next entry, both
    in old QEMU: 0 if the guest was never stopped, None if it did not come back or is unknown. It is
    no blackout, and enters no statistic of blackouts. `phase_ns` is the time between two events of
    old QEMU, by its own clock: FAILING, or FAILURE where QEMU does not report `failing`.
    """

    where: Where
    pause_ns: int | None = None
    start_ns: int | None = None  # host clock
    vcpu_pauses_ns: tuple[int | None, ...] = ()
    phase: str = ""
    phase_ns: int | None = None
