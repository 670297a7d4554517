"""Which limit of the host stopped a QEMU or its guest, in words for a failure."""

from __future__ import annotations

import re

from results.records.scenario import MIB, Scenario
from runners.host import hugepages
from runners.system import limits

from .headroom import (
    ADDRESS_SPACE_FIX,
    HUGE_BACKENDS,
    LOCKED_MEMORY_FIX,
    SHM,
    copies,
    free_bytes,
    shm_fix,
    touched_bytes,
)

# What QEMU, the kernel and subprocess say where memory or processes run out.
_MEMORY = re.compile(
    r"Cannot allocate memory|locking memory|Bad address|no page for guest RAM|"
    r"SIGBUS|signal 7\b|SIGKILL|signal 9\b|No space left|bad_alloc|[Oo]ut of memory|Bus error"
)
_LOCKING = re.compile(r"mlock|locking memory|could not be pinned")


class Shortage:
    """The state of the host's limits when a guest starts or an update begins."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._refusals = limits.Refusals()
        self._shm = free_bytes(SHM) if scenario.backend == "shm" else None

    def explained(self, failure: str) -> str:
        """`failure`, with the limits that were hit since, if any, and how to raise them."""
        hit = [f"{room.bound}, was hit: {room.fix}" for room in self._refusals.since()]
        if not hit and _MEMORY.search(failure):
            hit = self._exhausted(failure)
        return "; ".join([failure, *hit])

    def _exhausted(self, failure: str) -> list[str]:
        """Limits that the kernel counts nowhere, of which nothing is left."""
        found = []
        locked = limits.lockable_memory()
        if _LOCKING.search(failure) and locked is not None:
            mib = locked // MIB
            return [f"the limit of locked memory is {mib} MiB (ulimit -l): {LOCKED_MEMORY_FIX}"]
        if (space := limits.address_space()) is not None and "allocate" in failure:
            found.append(
                f"the limit of address space is {space // MIB} MiB (ulimit -v): {ADDRESS_SPACE_FIX}"
            )
        if self._scenario.backend in HUGE_BACKENDS:
            pages = self._scenario.ram_bytes // hugepages.PAGE_BYTES
            if (free := hugepages.free_pages()) < pages:
                found.append(
                    f"only {free} huge pages are free, {pages} are needed: another process took "
                    "those that were added"
                )
        # Read before: a dead QEMU has released what it had of it.
        needed = touched_bytes(self._scenario) * copies(self._scenario)
        if self._shm is not None and self._shm < needed:
            found.append(f"only {self._shm // MIB} MiB were free in {SHM}: {shm_fix(needed)}")
        return found
