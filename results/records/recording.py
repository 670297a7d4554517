"""The raw evidence of one transfer, complete enough to judge it again without QEMU, root or bcc."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from results.records.evidence import Evidence
from results.records.hotplug import Plugging
from results.records.observations import (
    Aftermath,
    DeviceWork,
    HostState,
    ObservedGap,
    RamCheck,
    StreamLog,
    VcpuBeats,
)
from results.records.reasons import SENTENCES
from results.records.rollback import Where
from results.records.run import Side
from results.records.scenario import Scenario
from results.records.scheduler import Scheduling


@dataclass(frozen=True, slots=True)
class Event:
    """One record of a probe: `mark` is a name of results.timeline.marks or a syscall.

    `counters` are running totals of the process at that moment: context switches, migrations,
    page faults, task clock in ns.
    """

    ns: int
    pid: int
    tid: int
    mark: str
    edge: Literal["enter", "return"]
    values: dict[str, int] = field(default_factory=dict)
    data: str = ""  # hexadecimal bytes (SCM_RIGHTS payload), else empty
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VcpuBracket:
    """The kernel's view of one vCPU; None where nothing was seen.

    `run` comes from the KVM_RUN ioctl (kvm) or cpu_exec (tcg); `entry` from the tracepoints
    kvm:kvm_exit and kvm:kvm_entry where they fire.
    """

    index: int
    old_tid: int
    new_tid: int
    run_last_exit_ns: int | None
    run_first_entry_ns: int | None
    entry_last_exit_ns: int | None = None
    entry_first_entry_ns: int | None = None
    # Of new QEMU's thread, until the last reading after the handover: page faults that the host
    # handled for it, and faults of the guest (tracepoint kvm:kvm_page_fault, where it fires).
    host_faults: int | None = None
    guest_faults: int | None = None
    # Of old QEMU's thread, after a transfer that failed: the longest time between two entries into
    # the guest. Where the guest was stopped and came back, that is its pause.
    longest_left_ns: int | None = None
    longest_entered_ns: int | None = None


@dataclass(frozen=True, slots=True)
class QmpStamp:
    """A QMP event: when the controller received it, and QEMU's wall-clock timestamp."""

    ns: int
    side: Side
    name: str
    wall_us: int = 0
    data: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Process:
    """One QEMU of a transfer."""

    pid: int
    argv: tuple[str, ...]
    vcpu_tids: tuple[int, ...]
    runstate: str = ""  # at the end of the transfer
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """All raw evidence of one transfer, judged by `results.judgement.judge.judge`."""

    schema: int
    id: str
    session: str
    boot: int
    update: int
    started_unix_ns: int
    scenario: Scenario
    old_build: str  # label; the session holds the builds themselves
    new_build: str
    old: Process
    new: Process
    # The controller's own timestamps: migrate, monitor, migrate_incoming, completed, old_gone, done
    steps: dict[str, int]
    events: tuple[Event, ...] = ()
    brackets: tuple[VcpuBracket, ...] = ()
    lost: int = 0
    skipped: int = 0  # calls of kernel probes (QEMU's marks excluded) that the kernel skipped
    probed: bool = True  # False: nothing was traced, only the guest and QMP testify
    qmp: tuple[QmpStamp, ...] = ()
    migrate_info: dict[str, int] = field(default_factory=dict)  # query-migrate, numbers only
    beats: tuple[VcpuBeats, ...] = ()
    tick_ns: float = 0.0  # duration of one payload tick, from this boot's calibration
    ram: RamCheck | None = None
    observed: tuple[ObservedGap, ...] | None = None  # by the observer; None if it did not run
    perf: dict[str, dict[str, int]] = field(default_factory=dict)  # side → perf event → count
    host: HostState = field(default_factory=HostState)
    evidence: Evidence | None = None  # for the proof; None if it was not collected
    device: DeviceWork | None = None  # None if the payload drives no device
    failure: str = ""  # set when the transfer itself failed
    # After a transfer that failed: in which QEMU every vCPU beat on. `unknown`: not examined.
    continued_in: Where = "unknown"
    # How often pausebench itself was continued after a stop by a signal, during the transfer.
    controller_stops: int = 0
    # What became of each process of ours that testified and did not last, as a sentence.
    lost_witnesses: tuple[str, ...] = field(default=(), metadata=SENTENCES)
    scheduling: Scheduling | None = None  # None if the scheduler was not traced
    aftermath: Aftermath | None = None  # None unless a refusal was provoked
    plugging: Plugging | None = None  # None if nothing was hotplugged
    # Of a guest that drives ordinary devices, without beats and without a pattern in its RAM. None:
    # the guest runs the payload.
    streams: tuple[StreamLog, ...] | None = None
