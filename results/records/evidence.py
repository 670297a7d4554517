"""Records of what was read to prove that RAM, descriptors and pins survived the transfer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .reasons import SENTENCES, Figure, because
from .sentences.reason_kinds import KINDS

Point = Literal["before", "hold", "resumed", "end"]
CheckState = Literal["held", "broken", "missing"]
Verdict = Literal["held", "broken", "unproven"]


@dataclass(frozen=True, slots=True)
class Frames:
    """Page frames behind guest RAM, in old QEMU before and in new QEMU after the transfer.

    A page is `unit_bytes` long; of a huge page the head is compared. `differing` of `compared`
    pages lie in another frame; `first` lists the first few as (page number, old frame, new frame).
    """

    unit_bytes: int = 4096
    pages: int = 0  # touched by the guest
    compared: int = 0
    absent: int = 0  # examined, but not mapped in old or in new
    differing: int = 0
    first: tuple[tuple[int, int, int], ...] = ()
    old_address: int = 0
    new_address: int = 0
    duration_ns: int = 0
    missing: str = ""  # why no frame could be read, and the fix


@dataclass(frozen=True, slots=True)
class SameFile:
    """Whether a carried descriptor is the same open file in both processes (kcmp)."""

    name: str
    id: int
    old_fd: int
    new_fd: int
    same: bool | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Memory accounting at one point: per process (old, new, holder) and for the host, bytes.

    `pins` is the host-wide nr_foll_pin_acquired - nr_foll_pin_released, in pages; `migrated` counts
    the pages that the kernel has migrated to other frames so far (compaction, NUMA).
    """

    point: Point
    processes: dict[str, dict[str, int]] = field(default_factory=dict)
    host: dict[str, int] = field(default_factory=dict)
    pins: int | None = None
    migrated: int | None = None


@dataclass(frozen=True, slots=True)
class Dma:
    """One write by the emulated device into a pinned page, and what QEMU's mapping contained."""

    point: Point
    written: int
    seen: int | None
    error: str = ""
    answered: bool = True  # False: the error is the pin holder's silence, not its answer


@dataclass(frozen=True, slots=True)
class PinEvents:
    """Calls of pin and unpin functions between `migrate` and old QEMU's exit, by function."""

    tier: str  # kprobes, tracepoints or none
    counts: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """A fault injected on purpose: whether a check caught it, and which one."""

    name: str
    caught: bool
    by: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All evidence that the proof of one transfer is based on."""

    frames: Frames
    files: tuple[SameFile, ...] = ()
    accounts: tuple[Accounts, ...] = ()
    dma: tuple[Dma, ...] = ()
    pin_events: PinEvents | None = None
    pinned_bytes: int = 0  # 0: nothing is pinned
    pins_missing: str = ""  # why pages that should be pinned could not be, and the fix
    holder_lost: str = ""  # what became of the process that held the pins, if it did not survive
    controls: tuple[Control, ...] = ()
    duration_ns: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a proof."""

    name: str
    state: CheckState
    text: str = field(metadata=SENTENCES)


def check_line(state: CheckState, code: str, **figures: Figure) -> Check:
    """A check with the sentence of its kind, which also names the check."""
    return Check(KINDS[code].check, state, because(code, **figures).text)


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict of one run: `held`, `broken` or `unproven`, with every check."""

    verdict: Verdict
    reason: str = field(metadata=SENTENCES)
    checks: tuple[Check, ...] = ()
    controls: tuple[Control, ...] = ()
    duration_ns: int = 0
