"""Reading and comparing the RAM and descriptors of two QEMUs, for a proof."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np

from probes.kcmp import same_open_file
from probes.pagemap import HUGE_PAGE_BYTES, PAGE_BYTES, Numbers, populate, read_frames
from results.denial import denial
from results.errors import PausebenchError
from results.records.evidence import Frames, SameFile
from results.records.run import CarriedFd
from results.records.scenario import Scenario
from runners.system.process_memory import ram_mapping, read_memory

_SHOWN = 8  # differing pages whose numbers are stored


@dataclass(slots=True)
class View:
    """Page frames of one process's guest RAM at one time; `missing` is why there are none."""

    address: int = 0
    frames: Numbers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    duration_ns: int = 0
    missing: str = ""


def unit_bytes(scenario: Scenario) -> int:
    """Length of one page of guest RAM."""
    huge = scenario.backend in ("hugetlb-memfd", "hugetlbfs")
    return HUGE_PAGE_BYTES if huge else PAGE_BYTES


def read_word(pid: int, address: int) -> int:
    """Eight bytes of a process's memory, little endian. Raises OSError."""
    return int.from_bytes(read_memory(pid, address, 8), "little")


def view_of(pid: int, ram_bytes: int, units: Numbers, unit: int) -> View:
    """Page frames of guest RAM in a QEMU."""
    try:
        address = ram_mapping(pid, ram_bytes).start
    except (PausebenchError, OSError) as error:
        return View(missing=str(error))
    return view_from(pid, address, units, unit)


def view_from(pid: int, address: int, units: Numbers, unit: int) -> View:
    """Page frames of the memory from `address` on; what is not populated yet is first."""
    start = time.monotonic_ns()
    try:
        frames = read_frames(pid, address, units, unit)
        if not frames.all():
            populate(pid, address, units, frames, unit)
            frames = read_frames(pid, address, units, unit)
    except PermissionError as error:
        # Without an errno they are zeros, which only a missing capability makes of them.
        why = denial(error.errno, needs=("SYS_ADMIN",)) if error.errno else error
        return View(missing=f"page frames are hidden: {why}")
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

    Old QEMU names the descriptor of a VFIO container once for each group in it, and SCM_RIGHTS
    duplicates it as often; new QEMU keeps the first and closes the others, whose numbers are then
    reused for other files ("De-dup it", vfio_cpr_container_match in QEMU's hw/vfio/cpr-legacy.c).
    A duplicate is compared as the one that was kept.
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
        why = denial(
            error.errno or 0, needs=("SYS_PTRACE",), absent="use a kernel with CONFIG_KCMP"
        )
        missing = f"kcmp: {why}" if why.fix else f"{error}; is it closed already?"
        return SameFile(carried.name, carried.id, carried.old_fd, carried.new_fd, None, missing)
    return SameFile(carried.name, carried.id, carried.old_fd, carried.new_fd, same)
