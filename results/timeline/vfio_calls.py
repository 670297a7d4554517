"""VFIO and iommufd calls in a trace: updates of mappings' addresses, and real (un)mappings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from results.records.recording import Event

MAP_DMA, UNMAP_DMA, CHANGE_PROCESS = 0x3B71, 0x3B72, 0x3B92

VADDR = 1 << 2  # the same bit in the flags of both


@dataclass(frozen=True, slots=True)
class VfioCalls:
    """Calls that affected DMA mappings between `migrate` and old QEMU's exit."""

    given_up: int = 0  # addresses invalidated by old QEMU
    taken: int = 0  # addresses set by new QEMU
    taken_bytes: int = 0
    owners: int = 0  # changes of the owning process (iommufd)
    mapped: int = 0  # real mappings and unmappings, which pin and unpin pages
    unmapped: int = 0
    failed: int = 0


def is_address_call(event: Event) -> bool:
    """Whether a call only changes the virtual addresses of mappings and leaves pages pinned."""
    seen = event.values.get("command")
    if seen == CHANGE_PROCESS:
        return True
    return seen in (MAP_DMA, UNMAP_DMA) and bool(event.values.get("flags", 0) & VADDR)


def vfio_calls(events: Iterable[Event], old_pid: int, new_pid: int) -> VfioCalls:
    """Count the calls of both QEMUs by what they did."""
    counts: Counter[str] = Counter()
    size = 0
    for event in events:
        if event.mark != "vfio_ioctl" or event.pid not in (old_pid, new_pid):
            continue
        command = event.values["command"]
        if event.edge == "return":
            counts["failed"] += event.values["result"] >> 63  # a negative number, unsigned
        elif command == CHANGE_PROCESS:
            counts["owners"] += event.pid == new_pid  # old calls it too, to confirm its ownership
        elif not is_address_call(event):
            counts["mapped" if command == MAP_DMA else "unmapped"] += 1
        elif command == UNMAP_DMA:
            counts["given_up"] += 1
        else:
            counts["taken"] += 1
            size += event.values["length"]
    return VfioCalls(taken_bytes=size, **counts)
