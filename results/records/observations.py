"""Observations of a guest, its devices and its host around one transfer.

Units as in results.records.run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .reasons import SENTENCES


@dataclass(frozen=True, slots=True)
class Gap:
    """An interval without a beat, by the guest's own clock (payload ticks)."""

    start_tick: int
    end_tick: int


@dataclass(frozen=True, slots=True)
class Ring:
    """Beats of one vCPU in successive intervals of 2**shift ticks, starting at interval `first`.

    Intervals are numbered by the guest's clock and wrap with it; the last one is complete.
    """

    shift: int
    first: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VcpuBeats:
    """The payload's records in guest RAM for one vCPU.

    `before` and `after` are samples (host ns, guest tick) of the last beat, the freshest of many
    reads; `gaps` are those that began after the last `before` sample. Ticks are raw: 32 bits that
    wrap.
    """

    index: int
    before: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    gaps: tuple[Gap, ...]
    beats_before: int
    beats_after: int
    gaps_overflowed: bool = False  # the log wrapped, so the oldest gaps are lost
    pattern_errors: int = 0
    first_error: str = ""
    ring: Ring | None = None


@dataclass(frozen=True, slots=True)
class ObservedGap:
    """An interval in which the observer saw no beat of a vCPU (host ns).

    The last beat came at most `last_reach_ns` before `last_ns`, the next one at most
    `first_reach_ns` before `first_ns`: the distance between the observer's reads there.
    """

    vcpu: int
    last_ns: int
    last_reach_ns: int
    first_ns: int
    first_reach_ns: int

    @property
    def length_ns(self) -> int:
        return self.first_ns - self.last_ns

    @property
    def reach_ns(self) -> int:
        """How much the true length may differ from `length_ns`, in either direction."""
        return max(self.last_reach_ns, self.first_reach_ns)


@dataclass(frozen=True, slots=True)
class DeviceCounts:
    """The payload's counters of the device that it drives by DMA.

    One operation writes a number to the device and the next reads it back; `wrong` numbers came
    back changed. `silent` operations completed without an interrupt, `surplus` interrupts were
    unexpected.
    """

    operations: int
    number: int
    wrong: int
    wrong_seen: int
    wrong_expected: int
    interrupts: int
    silent: int
    surplus: int


@dataclass(frozen=True, slots=True)
class DeviceWork:
    """A driven device around one transfer: the payload's counters and the host's.

    `interrupts_before` and `interrupts_after` are the host's count of the device's interrupts
    (/proc/interrupts), read together with the payload's. `faults` are IOMMU faults that the kernel
    logged in between; None if its log cannot be read.
    """

    address: str
    before: DeviceCounts
    after: DeviceCounts
    interrupts_before: int
    interrupts_after: int
    faults: int | None = None


@dataclass(frozen=True, slots=True)
class RamCheck:
    """Guest RAM compared byte by byte with the expected pattern, through the shared file."""

    pages: int
    bytes: int
    bad_pages: int
    first_bad: str = ""
    duration_ns: int = 0


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Old QEMU and its guest after a transfer that was refused or abandoned.

    `beats_before` and `beats_after` are counts per vCPU from two readings after it; `migration` is
    the status from query-migrate, empty if it reports none.
    """

    said_by: str  # who refused: `old, asked to migrate`, `new, at its start`, ...
    runstate: str
    migration: str = ""
    beats_before: tuple[int, ...] = ()
    beats_after: tuple[int, ...] = ()
    pattern_errors: int = 0  # changed words, as counted by the guest
    ram: RamCheck | None = None


@dataclass(frozen=True, slots=True)
class HostState:
    """Load and CPU use around one run (psutil), from its start to old QEMU's exit.

    `foreign_ns` is CPU time (of all CPUs together) used by neither QEMU nor pausebench, but by
    other programs and kernel threads. `waiting_ns` is the time in which some task waited for a CPU
    (/proc/pressure/cpu). None if it was not read or the kernel does not report it.

    `others` are other processes that measured on this host meanwhile, as `pid 12 (COMMAND)`.
    `strangers` are the pids of other processes of the probed binaries: probes sit in those too.
    """

    load1: float = 0.0
    cpu_percent: float = 0.0
    steal_ns: int = 0
    context_switches: int = 0
    window_ns: int | None = None
    foreign_ns: int | None = None
    waiting_ns: int | None = None
    cpus: int | None = None
    others: tuple[str, ...] = ()
    strangers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceContinuity:
    """How a device driven by the payload survived: what was lost, and its longest gap.

    `operations` completed between the readings before and after; `during` of them within the VM
    blackout, by the host's count of interrupts. `longest_gap_ns` is the longest time between two
    interrupts of the device around the transfer, `usual_gap_ns` their median.
    """

    address: str
    operations: int
    during: int | None
    wrong: int
    silent: int
    surplus: int
    faults: int | None
    longest_gap_ns: int | None
    usual_gap_ns: int | None
    troubles: tuple[str, ...] = field(default=(), metadata=SENTENCES)


@dataclass(frozen=True, slots=True)
class StreamLog:
    """Arrivals (host ns, number) in order; `wrong` blocks were returned changed to the guest.

    `torn` is the number of bytes of an incomplete line left when a connection ended.
    """

    name: str
    arrivals: tuple[tuple[int, int], ...]
    wrong: int = 0
    torn: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """How one stream survived: numbers `first` to `last`, and the longest gap between arrivals.

    `after` numbers arrived once the guest ran in new QEMU. `longest_gap_ns` is the longest around
    the blackout if that is known, else the longest of all; `usual_gap_ns` is the median.
    """

    name: str
    first: int | None
    last: int | None
    lost: int
    repeated: int
    after: int
    longest_gap_ns: int | None
    usual_gap_ns: int | None
    troubles: tuple[str, ...] = field(default=(), metadata=SENTENCES)
