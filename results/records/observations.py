"""What was seen of a guest, its devices and its host around one transfer.

Units as in results.records.run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .reasons import SENTENCES


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without a beat, as the guest's own clock saw it (payload ticks)."""

    start_tick: int
    end_tick: int


@dataclass(frozen=True, slots=True)
class Ring:
    """Beats of one vCPU in successive intervals of 2**shift ticks, from interval `first` on.

    Intervals are numbered by the guest's clock and wrap with it; the last one is complete.
    """

    shift: int
    first: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VcpuBeats:
    """What the payload left in guest RAM for one vCPU.

    `before` and `after` are samples (host ns, guest tick) of the last beat, the freshest of many
    reads; `gaps` are those that began after the last `before` sample. Ticks are unwrapped.
    """

    index: int
    before: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    gaps: tuple[Gap, ...]
    beats_before: int
    beats_after: int
    gaps_overflowed: bool = False  # older gaps than the log holds are gone
    pattern_errors: int = 0
    first_error: str = ""
    ring: Ring | None = None


@dataclass(frozen=True, slots=True)
class ObservedGap:
    """A stretch in which the observer saw no beat of a vCPU (host ns).

    The last beat came at most `last_reach_ns` before `last_ns`, the next one at most
    `first_reach_ns` before `first_ns`: how far the observer's reads lay apart there.
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
        """How far the true length may lie from `length_ns`, to either side."""
        return max(self.last_reach_ns, self.first_reach_ns)


@dataclass(frozen=True, slots=True)
class DeviceCounts:
    """What the payload has counted of the device that it drives by DMA.

    A number goes to the device by one operation and back by the next; `wrong` came back as
    another. `silent` operations ended without an interrupt, `surplus` interrupts came while one
    was on its way.
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
    """A driven device around one transfer: the payload's counts, and the host's.

    `interrupts_before` and `interrupts_after` are the host's own count of the device's interrupts
    (/proc/interrupts), read together with the payload's. `faults` are IOMMU faults that the kernel
    logged in between; None where its log cannot be read.
    """

    address: str
    before: DeviceCounts
    after: DeviceCounts
    interrupts_before: int
    interrupts_after: int
    faults: int | None = None


@dataclass(frozen=True, slots=True)
class RamCheck:
    """Guest RAM compared byte by byte with what was written, through new QEMU's descriptor."""

    pages: int
    bytes: int
    bad_pages: int
    first_bad: str = ""
    duration_ns: int = 0


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Old QEMU and its guest after a transfer that was refused or given up.

    `beats_before` and `beats_after` are counts per vCPU at two looks after it; `migration` is the
    status of query-migrate, empty where it tells none.
    """

    said_by: str  # who refused: `old, asked to migrate`, `new, at its start`, ...
    runstate: str
    migration: str = ""
    beats_before: tuple[int, ...] = ()
    beats_after: tuple[int, ...] = ()
    pattern_errors: int = 0  # words that the guest itself found changed
    ram: RamCheck | None = None


@dataclass(frozen=True, slots=True)
class HostState:
    """Load and CPU use around one run (psutil), from its start to old QEMU's end.

    `foreign_ns` is CPU time (of all CPUs together) that neither QEMU nor pausebench used: other
    programs and the kernel's own threads. `waiting_ns` is time in which some task waited for a CPU
    (/proc/pressure/cpu). None where it was not looked at or the kernel does not tell.
    """

    load1: float = 0.0
    cpu_percent: float = 0.0
    steal_ns: int = 0
    context_switches: int = 0
    window_ns: int | None = None
    foreign_ns: int | None = None
    waiting_ns: int | None = None
    cpus: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceContinuity:
    """How a device that the payload drives came through: what was lost, and its longest gap.

    `operations` ended between the look before and the look after; `during` of them while no vCPU
    ran, by the host's count of interrupts. `longest_gap_ns` is the longest time between two
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
    """Arrivals (host ns, number) in their order; `wrong` blocks came back as others to the guest.

    `torn` bytes of a line were cut off when a connection ended.
    """

    name: str
    arrivals: tuple[tuple[int, int], ...]
    wrong: int = 0
    torn: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """What became of one stream: numbers `first` to `last`, and its longest gap in arrivals.

    `after` numbers arrived once the guest ran in new QEMU. `longest_gap_ns` is that around the
    blackout, where it is known, else the longest of all; `usual_gap_ns` the median.
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
