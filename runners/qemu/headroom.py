"""Whether a scenario fits into the limits of this host, checked before anything is started.

A guest that outgrows a limit is killed, or kills: an access to RAM for which there is no page left
raises SIGBUS in whoever makes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from results.errors import HostUnfit
from results.qemu.modes import promise, ram_needed
from results.records.scenario import MIB, Scenario
from runners.payload import layout
from runners.system import limits

from .command_line import HUGE_PAGE_BYTES

SHM = Path("/dev/shm")  # noqa: S108 - where shm_open makes its files

HUGE_BACKENDS = ("hugetlb-memfd", "hugetlbfs")
# Two QEMUs and this process with its BPF programs took 92 MiB more than at the time of the check,
# besides guest RAM (QEMU 10.0, Linux 6.18).
OVERHEAD_BYTES = 96 * MIB
# QEMU under TCG reserves 1 GiB of address space for code; its libraries take the rest.
ADDRESS_SPACE_BYTES = 1408 * MIB
# More than at the time of the check, besides vCPUs: 9 were enough for one vCPU, 7 were not.
_TASKS = 8
# Probes of one build and the store took 190.
OPEN_FILES = 256

ADDRESS_SPACE_FIX = "ulimit -v unlimited (systemd: LimitAS=infinity)"
LOCKED_MEMORY_FIX = (
    "ulimit -l unlimited (docker and podman: --cap-add=IPC_LOCK or --ulimit memlock=-1; systemd: "
    "LimitMEMLOCK=infinity)"
)
OPEN_FILES_FIX = (
    "ulimit -n 4096 (docker and podman: --ulimit nofile=4096; systemd: LimitNOFILE=4096)"
)


def check_room(scenario: Scenario) -> None:
    """Refuse a scenario that a limit of this host would break. Raises HostUnfit with the limit."""
    where = f"scenario {scenario.id}"
    _check_process(scenario, where)
    needed = OVERHEAD_BYTES
    if scenario.backend in HUGE_BACKENDS:
        # The pool itself is grown, or found too small, by the session.
        for limit in limits.huge_page_rooms():
            huge = huge_bytes(scenario, reserved=limit.reserved)
            _check(limit, huge, f"{where}: {_mib(huge)} of huge pages")
    else:
        touched = touched_bytes(scenario)
        needed += touched * ram_needed(scenario) // scenario.ram_bytes
        if scenario.backend == "shm":
            _check_shm(touched * copies(scenario), where)
    _check(limits.memory_room(), needed, f"{where}: {_mib(needed)} of memory for guest and QEMUs")
    tasks = tasks_needed(scenario.vcpus)
    _check(limits.task_room(), tasks, f"{where}: {tasks} processes and threads", str)


def _check_process(scenario: Scenario, where: str) -> None:
    space = limits.address_space()
    needed = ADDRESS_SPACE_BYTES + scenario.ram_bytes
    if space is not None and space < needed:
        raise HostUnfit(
            f"{where}: QEMU needs {_mib(needed)} of address space, the limit is {_mib(space)} "
            f"(ulimit -v): {ADDRESS_SPACE_FIX}"
        )
    files = limits.open_files()
    if files is not None and files < OPEN_FILES:
        raise HostUnfit(
            f"{where}: the probes need {OPEN_FILES} open files, the limit is {files} (ulimit -n): "
            f"{OPEN_FILES_FIX}"
        )
    locked = limits.lockable_memory()
    locks = scenario.mem_lock or scenario.pinned or scenario.vfio
    if locks and locked is not None and locked < scenario.ram_bytes:
        raise HostUnfit(
            f"{where}: {_mib(scenario.ram_bytes)} of guest RAM are locked, the limit is "
            f"{_mib(locked)} (ulimit -l) and CAP_IPC_LOCK is missing: {LOCKED_MEMORY_FIX}"
        )


def _check_shm(needed: int, where: str) -> None:
    free = free_bytes(SHM)
    if free is None:
        raise HostUnfit(f"{where}: no {SHM}: mount -t tmpfs tmpfs {SHM}")
    if free < needed:
        raise HostUnfit(
            f"{where}: {_mib(needed)} of guest RAM, but only {_mib(free)} are free in {SHM}: "
            f"{shm_fix(needed)}"
        )


def shm_fix(needed: int) -> str:
    """How to enlarge /dev/shm so that `needed` bytes fit."""
    size = f"{needed * 2 // MIB}m"
    return (
        f"mount -o remount,size={size} {SHM} (docker and podman: --shm-size={size}; Kubernetes: "
        f"an emptyDir of medium Memory at {SHM}), or use less --ram"
    )


def _check(
    room: limits.Room | None,
    needed: int,
    what: str,
    unit: Callable[[int], str] | None = None,
) -> None:
    if room is not None and room.free < needed:
        left = (unit or _mib)(room.free)
        raise HostUnfit(f"{what}, but {left} are left of {room.bound}: {room.fix}")


def tasks_needed(vcpus: int) -> int:
    """Processes and threads of a run, with one thread for each vCPU of both QEMUs."""
    return _TASKS + 2 * vcpus


def copies(scenario: Scenario) -> int:
    """How many backends hold guest RAM at once: old and new QEMU's, unless they share one."""
    return 1 if promise(scenario).ram == "stays" else 2


def touched_bytes(scenario: Scenario) -> int:
    """Guest RAM that one copy of a guest fills."""
    if scenario.mem_lock or scenario.pinned or scenario.vfio:
        return scenario.ram_bytes
    # The control block and a slot for each vCPU lie below the working set.
    low = layout.SLOTS + (scenario.vcpus << layout.SLOT_SHIFT)
    return min(low + int(scenario.ram_bytes * scenario.touched), scenario.ram_bytes)


def huge_bytes(scenario: Scenario, *, reserved: bool) -> int:
    """Huge pages of all copies in bytes: those filled, or those `reserved` for the mappings."""
    if reserved:
        return scenario.ram_bytes * copies(scenario)
    pages = -(-touched_bytes(scenario) // HUGE_PAGE_BYTES) + 1  # the working set has its own first
    return min(pages * HUGE_PAGE_BYTES, scenario.ram_bytes) * copies(scenario)


def free_bytes(directory: Path) -> int | None:
    """Free space of a file system; None without the directory."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _mib(number: int) -> str:
    return f"{number // MIB} MiB"
