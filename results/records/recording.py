"""The raw evidence of one transfer, enough to judge it again without QEMU, root or bcc."""

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
    """Kernel's view of one vCPU; None where nothing was seen.

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
    # Of the new QEMU's thread, until the end of the look after the handover: page faults that the
    # host served for it, and faults of the guest (tracepoint kvm:kvm_page_fault, where it fires).
    host_faults: int | None = None
    guest_faults: int | None = None


@dataclass(frozen=True, slots=True)
class QmpStamp:
    """A QMP event or command answer: when the controller saw it, and QEMU's wall-clock label."""

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
    steps: dict[str, int]  # controller's own stamps: migrate, hold, migrate_incoming, done
    events: tuple[Event, ...] = ()
    brackets: tuple[VcpuBracket, ...] = ()
    lost: int = 0
    skipped: int = 0  # calls of probes beside QEMU's marks that the kernel left out
    probed: bool = True  # False: nothing was traced, only the guest and QMP witnesses exist
    qmp: tuple[QmpStamp, ...] = ()
    migrate_info: dict[str, int] = field(default_factory=dict)  # query-migrate, numbers only
    beats: tuple[VcpuBeats, ...] = ()
    tick_ns: float = 0.0  # duration of one payload tick, from this boot's calibration
    ram: RamCheck | None = None
    observed: tuple[ObservedGap, ...] | None = None  # by the observer; None where it did not run
    perf: dict[str, dict[str, int]] = field(default_factory=dict)  # side → perf event → count
    host: HostState = field(default_factory=HostState)
    evidence: Evidence | None = None  # of the proof; None where none was gathered
    device: DeviceWork | None = None  # None where the payload drives none
    failure: str = ""  # set when the transfer itself failed
    scheduling: Scheduling | None = None  # None where the scheduler was not watched
    aftermath: Aftermath | None = None  # None where no refusal was being tried
    plugging: Plugging | None = None  # None where nothing was plugged
    # Of a guest that drives ordinary devices: it has no beats and no pattern in its RAM. None: the
    # payload.
    streams: tuple[StreamLog, ...] | None = None
