"""The judgement of one transfer, and its summary over many.

Every time is an integer in nanoseconds on CLOCK_MONOTONIC unless its name says otherwise, every
size an integer in bytes. `results.records.recording.Recording` is the raw evidence of one transfer,
`Run` the judgement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from results.records.hotplug import Plugging
from results.records.observations import Stream

from .evidence import Proof
from .observations import (
    Aftermath,
    DeviceContinuity,
    HostState,
    RamCheck,
)
from .reasons import SENTENCES, Reason, joined, read_reasons
from .rollback import Rollback
from .scheduler import Attribution

# Schema of Recording and Run as they are stored.
#   1  first version. Fields added since then have a default that means "not recorded".
SCHEMA = 1

Side = Literal["old", "new"]
Outcome = Literal["completed", "failed"]


@dataclass(frozen=True, slots=True)
class Span:
    """One phase of a transfer; `blackout_ns` is its share of the VM blackout."""

    name: str
    side: str  # old, new or both
    start_ns: int
    end_ns: int
    blackout_ns: int
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CarriedFd:
    """One descriptor passed by SCM_RIGHTS, as old sent and new received it."""

    name: str
    id: int
    sent_ns: int | None = None
    received_ns: int | None = None
    old_fd: int | None = None
    new_fd: int | None = None


@dataclass(frozen=True, slots=True)
class RamMap:
    """One mmap of guest RAM in new QEMU."""

    name: str
    fd: int
    address: int
    length_bytes: int
    ns: int


@dataclass(frozen=True, slots=True)
class Witnesses:
    """The same pause as seen by independent witnesses, ns; None if one did not testify."""

    kvm: int | None = None
    kvm_entry: int | None = None
    uprobe: int | None = None
    qmp: int | None = None
    qemu: int | None = None
    guest: int | None = None
    observer: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One judged transfer. A failed run keeps its observations and never enters a statistic."""

    schema: int
    id: str
    session: str
    scenario: str
    dimensions: str  # all fields of the scenario that must be equal for a comparison, as text
    boot: int
    update: int
    started_unix_ns: int
    outcome: Outcome
    reason: str = field(metadata=SENTENCES)
    old_build: str
    new_build: str
    old_pid: int
    new_pid: int
    blackout_ns: int | None = None
    blackout_start_ns: int | None = None  # host clock, of the vCPU with the longest blackout
    migrate_ns: int | None = None  # host clock, when `migrate` was sent
    vcpu_blackouts_ns: tuple[int | None, ...] = ()
    first_progress_ns: int | None = None
    guest_gap_ns: int | None = None
    guest_handover_ns: int | None = None  # `migrate` sent to the last vCPU's first beat
    vcpu_guest_gaps_ns: tuple[int, ...] = ()
    # Worst vCPU, from its first beat until its rate is back at 95 %; None if it was not seen or not
    # back within `brownout_watched_ns`.
    brownout_ns: int | None = None
    brownout_watched_ns: int | None = None
    beats_lost: int | None = None  # of that vCPU, meanwhile
    beats_per_s: float | None = None  # of that vCPU, before
    host_faults: int | None = None  # of all vCPU threads of new QEMU, until the last reading
    guest_faults: int | None = None
    guest_clock: str = "unknown"  # runs, freezes or unknown
    clock_step_ns: int | None = None  # part of the pause that the guest's clock did not see
    skew_ns: int | None = None
    dark_ns: int | None = None
    handover_ns: int | None = None
    residual_ns: int | None = None
    witnesses: Witnesses = field(default_factory=Witnesses)
    disagreements: tuple[str, ...] = field(default=(), metadata=SENTENCES)
    spans: tuple[Span, ...] = ()
    fds: tuple[CarriedFd, ...] = ()
    ram_maps: tuple[RamMap, ...] = ()
    ram: RamCheck | None = None
    host: HostState = field(default_factory=HostState)
    perf: dict[str, dict[str, int]] = field(default_factory=dict)  # side → perf event → count
    warnings: tuple[str, ...] = field(default=(), metadata=SENTENCES)
    log_tail: str = ""
    proof: Proof | None = None
    device: DeviceContinuity | None = None  # None if the payload drives no device
    stop_position: str = "unknown"  # of the VM, relative to old QEMU's save of the CPR state
    attribution: Attribution | None = None  # None if the scheduler was not traced
    aftermath: Aftermath | None = None  # None unless a refusal was provoked
    plugging: Plugging | None = None  # None if nothing was hotplugged
    streams: tuple[Stream, ...] = ()  # of a guest that drives ordinary devices
    rollback: Rollback | None = None  # None unless the transfer failed
    reasons: tuple[Reason, ...] = ()  # `reason` as codes and figures; see `reasons_of`

    @property
    def phases(self) -> dict[str, int]:
        """Phase name → its share of the VM blackout in ns, for phases that have one."""
        return {s.name: s.blackout_ns for s in self.spans if s.blackout_ns > 0}


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of the result table: one scenario on one pair of builds.

    The median is the median of per-boot medians; `low_ns` and `high_ns` bound it with 95 %
    confidence (None with too few boots), by the method named in `interval`.
    """

    scenario: str
    old_build: str
    new_build: str
    boots: int
    updates: int
    valid: int
    failed: int
    median_ns: int | None
    low_ns: int | None
    high_ns: int | None
    max_ns: int | None
    interval: str = "none"
    qemu_median_ns: int | None = None  # of its downtime, over boots
    qemu_error_percent: float | None = None  # median of the runs' own ratios to their blackouts
    # Median over boots of each boot's median share of the blackout, ns, where it is not 0; a phase
    # that did not occur counts as 0. In how many of the boots with a valid run each occurred.
    phases: dict[str, int] = field(default_factory=dict)
    phase_boots: dict[str, int] = field(default_factory=dict)
    valid_boots: int = 0
    handover_median_ns: int | None = None
    guest_gap_median_ns: int | None = None
    first_progress_median_ns: int | None = None
    # A guest whose rate was not back counts with the time that it was watched for.
    brownout_median_ns: int | None = None
    dimensions: str = ""  # distinguishes two sizes of one scenario
    proofs: dict[str, int] = field(default_factory=dict)  # verdict → runs, including failed ones
    device_operations: int = 0  # of the device that the payload drives, over all runs
    device_troubles: int = 0  # runs in which it lost, repeated or missed something
    device_gap_ns: int | None = None  # the longest time between two operations of any valid run
    # Harm (results.records.harm) → failed runs, and the boots of which it was the worst; the worst
    # first.
    harmed_runs: dict[str, int] = field(default_factory=dict)
    harmed_boots: dict[str, int] = field(default_factory=dict)

    @property
    def dimensions_but_id(self) -> str:
        """All dimensions except the scenario's name."""
        return " ".join(w for w in self.dimensions.split() if not w.startswith("id="))


def reasons_of(run: Run) -> tuple[Reason, ...]:
    """Why a run failed; parsed from the text if the run was stored without reasons."""
    if joined(run.reasons) == run.reason:
        return run.reasons
    return read_reasons(run.reason)


def blackout_window(run: Run) -> tuple[int, int] | None:
    """Start and end of the VM blackout (host ns), or None if it is not known."""
    if not run.blackout_ns or run.blackout_start_ns is None:
        return None
    return run.blackout_start_ns, run.blackout_start_ns + run.blackout_ns
