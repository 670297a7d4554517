"""Gathering the evidence of a proof around a transfer, never inside its blackout."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from probes.kcmp import same_open_file
from probes.memory_accounts import read_accounts
from probes.pagemap import HUGE_PAGE_BYTES, PAGE_BYTES, Numbers, choose_pages, populate, read_frames
from probes.pin_events import PinProbe
from results.errors import PausebenchError
from results.records.evidence import (
    Accounts,
    Control,
    Dma,
    Evidence,
    Frames,
    PinEvents,
    Point,
    SameFile,
)
from results.records.run import CarriedFd
from results.records.scenario import Scenario
from runners.pins.holder import DMA_OFFSET, PinHolder
from runners.qemu.guest import Guest
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_mapping, read_memory

_SHOWN = 8  # differing pages that are kept by number


@dataclass(slots=True)
class View:
    """Frames of one process's guest RAM at one time; `missing` says why there are none."""

    address: int = 0
    frames: Numbers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    duration_ns: int = 0
    missing: str = ""


class Prover:
    """Looks at one transfer: `hold`, `resumed` and `ended` are called at those steps of it."""

    def __init__(
        self,
        guest: Guest,
        controls: tuple[Control, ...],
        holder: PinHolder | None,
        pin_probe: PinProbe | None,
        seed: int,
        pins_missing: str = "",
    ) -> None:
        self._guest = guest
        self._scenario = guest.scenario
        self._controls = controls
        self._holder = holder
        self._pin_probe = pin_probe
        self._pins_missing = pins_missing
        self._calls_before: dict[str, int] = {}
        self._pin_events: PinEvents | None = None
        self._pids: set[int] = {holder.pid} if holder is not None else set()
        plan = guest.plan
        self._unit = unit_bytes(guest.scenario)
        self._units = choose_pages(plan.first_page, plan.end_page, self._unit, seed)
        self._touched = -(-plan.pages * PAGE_BYTES // self._unit)
        self._accounts: list[Accounts] = []
        self._dma: list[Dma] = []
        self._files: tuple[SameFile, ...] = ()
        self._old = View(missing="the transfer did not get that far")
        self._new = View(missing="the transfer did not get that far")
        self._spent_ns = 0

    def before(self, old: int, new: int) -> None:
        """Before `migrate`: accounting of old QEMU alone; the watch over pin paths begins."""
        self._pids |= {old, new}
        if self._pin_probe is not None:
            for pid in self._pids:
                self._pin_probe.watch(pid)
            self._calls_before = self._pin_probe.totals()
        self._timed(lambda: self._account("before", {"old": old}))

    def hold(self, old: Qemu, new: Qemu) -> None:
        """In the hold, before `migrate-incoming`: old still runs the guest."""

        def look() -> None:
            self._old = look_at(old.pid, self._scenario.ram_bytes, self._units, self._unit)
            self._write("hold", old.pid)
            self._account("hold", {"old": old.pid, "new": new.pid})

        self._timed(look)

    def resumed(self, old: Qemu, new: Qemu, carried: tuple[CarriedFd, ...]) -> None:
        """The guest runs in new QEMU and old still lives: the only time to compare descriptors."""

        def look() -> None:
            self._files = compare_descriptors(old.pid, new.pid, carried)
            self._write("resumed", new.pid)
            self._account("resumed", {"old": old.pid, "new": new.pid})

        self._timed(look)

    def ended(self, new: Qemu) -> None:
        """Old QEMU is gone and RAM was read through new, which filled new's page table."""
        if self._pin_probe is not None:
            self._pin_events = self._pin_probe.since(self._calls_before)

        def look() -> None:
            self._write("end", new.pid)
            self._account("end", {"new": new.pid})
            self._new = look_at(new.pid, self._scenario.ram_bytes, self._units, self._unit)

        self._timed(look)

    def forget(self) -> None:
        """End the watch over pin paths, however the transfer went."""
        if self._pin_probe is not None:
            for pid in self._pids:
                self._pin_probe.forget(pid)

    def evidence(self) -> Evidence:
        """All that was seen."""
        return Evidence(
            frames=compare_views(self._units, self._unit, self._touched, self._old, self._new),
            files=self._files,
            accounts=tuple(self._accounts),
            dma=tuple(self._dma),
            pin_events=self._pin_events,
            pinned_bytes=self._holder.bytes if self._holder else 0,
            pins_missing=self._pins_missing,
            controls=self._controls,
            duration_ns=self._spent_ns,
        )

    def _timed(self, work: Callable[[], None]) -> None:
        start = time.monotonic_ns()
        # A process that vanishes while it is looked at is the transfer's failure, told elsewhere.
        with suppress(ProcessLookupError, FileNotFoundError):
            work()
        self._spent_ns += time.monotonic_ns() - start

    def _account(self, point: Point, pids: dict[str, int]) -> None:
        if self._holder is not None:
            pids = pids | {"holder": self._holder.pid}
        self._accounts.append(read_accounts(point, pids, exact_pins=self._holder is not None))

    def _write(self, point: Point, pid: int) -> None:
        """Let the stand-in device write, and see it through QEMU's own mapping."""
        if self._holder is None:
            return
        value = time.monotonic_ns()
        try:
            self._holder.dma(value)
            seen = read_word(pid, ram_mapping(pid, self._scenario.ram_bytes).start + DMA_OFFSET)
        except (PausebenchError, OSError) as error:
            self._dma.append(Dma(point, value, None, str(error)))
            return
        self._dma.append(Dma(point, value, seen))


def unit_bytes(scenario: Scenario) -> int:
    """Length of one page of guest RAM."""
    huge = scenario.backend in ("hugetlb-memfd", "hugetlbfs")
    return HUGE_PAGE_BYTES if huge else PAGE_BYTES


def read_word(pid: int, address: int) -> int:
    """Eight bytes of a process's memory, little endian. Raises OSError."""
    return int.from_bytes(read_memory(pid, address, 8), "little")


def look_at(pid: int, ram_bytes: int, units: Numbers, unit: int) -> View:
    """Frames of guest RAM in a QEMU."""
    try:
        address = ram_mapping(pid, ram_bytes).start
    except (PausebenchError, OSError) as error:
        return View(missing=str(error))
    return look_from(pid, address, units, unit)


def look_from(pid: int, address: int, units: Numbers, unit: int) -> View:
    """Frames of the memory from `address` on; what is not mapped yet is mapped first."""
    start = time.monotonic_ns()
    try:
        frames = read_frames(pid, address, units, unit)
        if not frames.all():
            populate(pid, address, units, frames, unit)
            frames = read_frames(pid, address, units, unit)
    except PermissionError as error:
        return View(missing=f"page frames are hidden: {error}; run as root with CAP_SYS_ADMIN")
    except OSError as error:
        return View(missing=f"/proc/{pid}/pagemap cannot be read: {error}")
    return View(address, frames, time.monotonic_ns() - start)


def compare_views(units: Numbers, unit: int, touched: int, old: View, new: View) -> Frames:
    """Which units lie in the same frame in both views."""
    if old.missing or new.missing:
        return Frames(unit_bytes=unit, pages=touched, missing=old.missing or new.missing)
    both = (old.frames != 0) & (new.frames != 0)
    differs = np.flatnonzero(both & (old.frames != new.frames))
    return Frames(
        unit_bytes=unit,
        pages=touched,
        compared=int(both.sum()),
        absent=int((~both).sum()),
        differing=len(differs),
        first=tuple(
            (int(units[i]), int(old.frames[i]), int(new.frames[i])) for i in differs[:_SHOWN]
        ),
        old_address=old.address,
        new_address=new.address,
        duration_ns=old.duration_ns + new.duration_ns,
    )


def compare_descriptors(old: int, new: int, carried: tuple[CarriedFd, ...]) -> tuple[SameFile, ...]:
    """kcmp of all carried descriptors.

    Old QEMU names the descriptor of a VFIO container once for each group in it, so that SCM_RIGHTS
    makes several of one; new keeps the first and closes the others, whose numbers are then given
    to other files ("De-dup it", vfio_cpr_container_match in QEMU's hw/vfio/cpr-legacy.c). Such a
    one is compared as the one that was kept.
    """
    found = [compare_descriptor(old, new, fd) for fd in carried]
    kept = {file.old_fd: file for file in found if file.same}
    return tuple(
        replace(file, new_fd=kept[file.old_fd].new_fd, same=True, missing="")
        if not file.same and file.old_fd in kept and file.name == kept[file.old_fd].name
        else file
        for file in found
    )


def compare_descriptor(old: int, new: int, carried: CarriedFd) -> SameFile:
    """kcmp of one carried descriptor; both processes must be alive."""
    if carried.old_fd is None or carried.new_fd is None:
        return SameFile(carried.name, carried.id, -1, -1, None, "was not received")
    try:
        same = same_open_file(old, carried.old_fd, new, carried.new_fd)
    except OSError as error:
        fix = "needs CONFIG_KCMP and root" if error.errno in (1, 38) else "is it closed already?"
        return SameFile(
            carried.name, carried.id, carried.old_fd, carried.new_fd, None, f"{error}; {fix}"
        )
    return SameFile(carried.name, carried.id, carried.old_fd, carried.new_fd, same)
