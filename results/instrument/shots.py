"""One transfer of a calibration: the pause injected into its blackout, and what was measured of it.

A shot is one transfer with a pause of known length in its blackout, or with none. Blackouts of one
guest scatter by tenths of a millisecond, more than the error to be found, so the pause is recovered
from a section of the blackout: the time between the marks on either side of the pause, some 0.1 ms
when nothing is injected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from results.records.run import Run
from results.timeline.moments import Marks

# How the pause is made; see probes.pause_injector and runners.transfer.delay_proxy.
#   new     new QEMU is stopped by a signal when it is about to resume the vCPUs
#   old     old QEMU is stopped by a signal when it drains its block devices, the vCPUs paused
#   main    the end of the device state is held back on the main channel
Kind = Literal["new", "old", "main"]
KINDS: tuple[Kind, ...] = ("new", "old", "main")
KIND_TEXTS: dict[Kind, str] = {
    "new": "new QEMU stopped by SIGSTOP before it resumes its vCPUs",
    "old": "old QEMU stopped by SIGSTOP after its vCPUs",
    "main": "last byte of device state held back on the main channel",
}


@dataclass(frozen=True, slots=True)
class Shot:
    """One transfer, durations in ns.

    `asked_ns` is the length of pause that was asked for, 0 for none; `injected_ns` its length by
    the injector's own clock. `guest_gap_ns` and `uprobe_ns` are None where that witness did not
    testify.
    """

    run: str
    cell: str  # scenario and accelerator
    kind: Kind
    asked_ns: int
    injected_ns: int
    section_ns: int
    blackout_ns: int
    guest_gap_ns: int | None = None
    uprobe_ns: int | None = None


@dataclass(frozen=True, slots=True)
class LostShot:
    """A planned transfer that gave no shot, and why."""

    cell: str
    kind: Kind
    asked_ns: int
    reason: str


def section_length(run: Run, marks: Marks, kind: Kind, held_ns: int | None = None) -> int | None:
    """The section of a run's blackout that holds a pause of `kind`, ns; None if it was not seen.

    It is short, because a process that stood still for long is slower for a while afterwards (cold
    caches, a sleeping CPU): measured up to the first guest entry, 100 ms seemed to be 0.6 ms
    longer. `held_ns` is when the main channel was held back (host clock), for that kind alone.
    """
    if run.blackout_ns is None or run.blackout_start_ns is None:
        return None
    start, end = _around(run, marks, kind, held_ns)
    if start is None or end is None:
        return None
    start = max(start, run.blackout_start_ns)
    end = min(end, run.blackout_start_ns + run.blackout_ns)
    return end - start if end > start else None


def _around(
    run: Run, marks: Marks, kind: Kind, held_ns: int | None
) -> tuple[int | None, int | None]:
    if kind == "old":
        return marks.old("pause_vcpus", "return"), marks.old("vm_stop", "return")
    if kind == "new":
        return marks.new("resume_vcpus", "enter"), marks.new("resume_vcpus", "return")
    loaded = next((span.start_ns for span in run.spans if span.name == "activation"), None)
    return held_ns, loaded


def inside(run: Run, start_ns: int, end_ns: int) -> bool:
    """Whether a pause lies within the run's blackout: only then can it be recovered from it."""
    if run.blackout_ns is None or run.blackout_start_ns is None:
        return False
    return run.blackout_start_ns <= start_ns <= end_ns <= run.blackout_start_ns + run.blackout_ns


def guest_is_blind(cell: str, kind: Kind) -> bool:
    """Whether the guest cannot see a pause of this kind.

    Under TCG vm_start starts the guest's clock before new QEMU is stopped: that clock then sees a
    part of the blackout only, and cannot be laid on the host's.
    """
    return kind == "new" and cell.endswith(" on tcg")
