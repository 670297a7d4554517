"""Frozen records: what was asked, what was seen, and what came of it.

Every time is an integer in nanoseconds on CLOCK_MONOTONIC unless its name says otherwise, every
size an integer in bytes. `Recording` is the raw evidence of one transfer, complete enough to be
judged again later without QEMU, root or bcc; `Run` is the judgement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .evidence import Evidence, Proof
from .plugging import Plugging
from .scheduling import Attribution, Scheduling
from .sightings import (
    Aftermath,
    DeviceContinuity,
    DeviceWork,
    HostState,
    ObservedGap,
    RamCheck,
    VcpuBeats,
)
from .streams import Stream, StreamLog

# Schema of Recording and Run as they are stored.
#   1  first version. Later fields with a default are read in older records as what they were:
#      not looked at.
SCHEMA = 1

Backend = Literal["anon", "memfd", "shm", "hugetlb-memfd", "hugetlbfs"]
Accelerator = Literal["auto", "kvm", "tcg"]
Vfio = Literal["", "type1", "iommufd"]
Mode = Literal[
    "cpr-transfer",
    "precopy",
    "precopy-multifd",
    "postcopy",
    "cpr-reboot",
    "cpr-exec",
    "snapshot",
]  # how the guest gets into new QEMU; results.modes says what each promises
Side = Literal["old", "new"]
Outcome = Literal["completed", "failed"]

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is handed over. Two runs are comparable only if all fields but `about` are equal."""

    id: str
    backend: Backend
    about: str = ""
    ram_bytes: int = 256 * MIB
    touched: float = 0.25  # share of RAM that the guest has touched before the first transfer
    vcpus: int = 1
    accel: Accelerator = "auto"  # `auto` is resolved to kvm or tcg before a guest starts
    machine: str = "q35"
    cpu: str = "qemu64"
    mem_lock: bool = False
    return_path: bool = False
    pinned: bool = False  # a process that stands for a DMA device pins all of guest RAM
    vfio: Vfio = ""  # how real PCI devices are assigned; empty: none
    devices: str = ""  # their addresses, separated by commas; named by whoever starts the session
    spare_devices: int = 0  # virtio-rng devices that nobody uses: more state to carry
    no_mmap: bool = False  # BARs are not mapped into QEMU: iommufd's CPR refuses mapped ones (11.1)
    mode: Mode = "cpr-transfer"  # how the guest gets into new QEMU


@dataclass(frozen=True, slots=True)
class Build:
    """One QEMU build as a value.

    `launcher` is the argv prefix that starts it (the binary itself, or an unpacked tree's own
    dynamic loader and the binary); `binary` is the ELF file that uprobes attach to.
    """

    label: str
    binary: str
    version: str
    build_id: str
    sha256: str
    launcher: tuple[str, ...]
    firmware_dirs: tuple[str, ...] = ()
    cpr_modes: tuple[str, ...] = ()
    symbols: dict[str, int] = field(default_factory=dict)  # probed function → file offset
    missing_marks: tuple[str, ...] = ()  # marks of results.phases without any symbol in this build


@dataclass(frozen=True, slots=True)
class Event:
    """One record of a probe: `mark` is a name of results.phases or a syscall.

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
    """All raw evidence of one transfer, judged by `results.timeline.judge`."""

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


@dataclass(frozen=True, slots=True)
class Span:
    """One phase as it happened; `blackout_ns` is its share of the VM blackout."""

    name: str
    side: str  # old, new or both
    start_ns: int
    end_ns: int
    blackout_ns: int
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CarriedFd:
    """One descriptor that SCM_RIGHTS carried, as old sent and new received it."""

    name: str
    id: int
    sent_ns: int | None = None
    received_ns: int | None = None
    old_fd: int | None = None
    new_fd: int | None = None


@dataclass(frozen=True, slots=True)
class RamMap:
    """One mmap of guest RAM in new QEMU: which descriptor, where, how long, when."""

    name: str
    fd: int
    address: int
    length_bytes: int
    ns: int


@dataclass(frozen=True, slots=True)
class Witnesses:
    """The same pause as seen by independent witnesses, ns; None where one did not testify."""

    kvm: int | None = None
    kvm_entry: int | None = None
    uprobe: int | None = None
    qmp: int | None = None
    qemu: int | None = None
    guest: int | None = None
    observer: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One judged transfer. A failed run keeps what was seen and never enters a statistic."""

    schema: int
    id: str
    session: str
    scenario: str
    dimensions: str  # all fields of the scenario that must be equal for a comparison, as text
    boot: int
    update: int
    started_unix_ns: int
    outcome: Outcome
    reason: str
    old_build: str
    new_build: str
    old_pid: int
    new_pid: int
    blackout_ns: int | None = None
    blackout_start_ns: int | None = None  # host clock, of the vCPU that stood still the longest
    migrate_ns: int | None = None  # host clock, when `migrate` was sent
    vcpu_blackouts_ns: tuple[int | None, ...] = ()
    first_progress_ns: int | None = None
    guest_gap_ns: int | None = None
    guest_handover_ns: int | None = None  # `migrate` sent to the last vCPU's first beat
    vcpu_guest_gaps_ns: tuple[int, ...] = ()
    # Worst vCPU, from its first beat until its rate was back at 95 %; None when it was not seen or
    # not back within `brownout_watched_ns`.
    brownout_ns: int | None = None
    brownout_watched_ns: int | None = None
    beats_lost: int | None = None  # of that vCPU, meanwhile
    beats_per_s: float | None = None  # of that vCPU, before
    host_faults: int | None = None  # of all vCPU threads of new QEMU, until the look ended
    guest_faults: int | None = None
    guest_clock: str = "unknown"  # runs, freezes or unknown
    clock_step_ns: int | None = None  # what the guest's clock did not see of the pause
    skew_ns: int | None = None
    dark_ns: int | None = None
    handover_ns: int | None = None
    residual_ns: int | None = None
    witnesses: Witnesses = field(default_factory=Witnesses)
    disagreements: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    fds: tuple[CarriedFd, ...] = ()
    ram_maps: tuple[RamMap, ...] = ()
    ram: RamCheck | None = None
    host: HostState = field(default_factory=HostState)
    perf: dict[str, dict[str, int]] = field(default_factory=dict)  # side → perf event → count
    warnings: tuple[str, ...] = ()
    log_tail: str = ""
    proof: Proof | None = None
    device: DeviceContinuity | None = None  # None where the payload drives none
    stop_position: str = "unknown"  # of the VM, relative to old QEMU's save of the CPR state
    attribution: Attribution | None = None  # None where the scheduler was not watched
    aftermath: Aftermath | None = None  # None where no refusal was being tried
    plugging: Plugging | None = None  # None where nothing was plugged
    streams: tuple[Stream, ...] = ()  # of a guest that drives ordinary devices

    @property
    def phases(self) -> dict[str, int]:
        """Phase name → its share of the VM blackout in ns, for phases that have one."""
        return {s.name: s.blackout_ns for s in self.spans if s.blackout_ns > 0}


@dataclass(frozen=True, slots=True)
class Session:
    """One invocation: where, with what, and the seed of its schedule."""

    id: str
    started_unix_ns: int
    command: tuple[str, ...]
    builds: tuple[Build, ...]
    environment: dict[str, str]
    probe_tier: str = "none"


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of the result table: one scenario on one pair of builds.

    The median is that of per-boot medians; `low_ns` and `high_ns` bound it with 95 % confidence
    (None when there are too few boots), by the method named in `interval`.
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
    qemu_median_ns: int | None = None
    qemu_error_percent: float | None = None
    phases: dict[str, int] = field(default_factory=dict)  # median share of the blackout, ns
    handover_median_ns: int | None = None
    guest_gap_median_ns: int | None = None
    first_progress_median_ns: int | None = None
    brownout_median_ns: int | None = None  # a run that was not back counts with what was watched
    dimensions: str = ""  # tells apart two sizes of one scenario
    proofs: dict[str, int] = field(default_factory=dict)  # verdict → runs, failed ones too
    device_operations: int = 0  # of the device that the payload drives, over all runs
    device_troubles: int = 0  # runs in which it lost, repeated or missed something
    device_gap_ns: int | None = None  # the longest time between two operations of any valid run

    @property
    def dimensions_but_id(self) -> str:
        """All dimensions but the scenario's name."""
        return " ".join(w for w in self.dimensions.split() if not w.startswith("id="))
