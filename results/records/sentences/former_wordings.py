"""Wordings that the sentences of earlier versions had, by the code of their kind.

A stored run that uses one of them still says the same when it is judged again.
"""

from __future__ import annotations

FORMER: dict[str, tuple[str, ...]] = {
    "records-lost": ("{records:d} probe records were lost",),
    "old-not-ended": ("old QEMU ended {state}, not {expected}",),
    "new-not-running": ("new QEMU ended {state}, not running",),
    "vcpu-still": ("vCPU {vcpu:d} stands still in new QEMU",),
    "beats-missing": ("the guest was not seen to beat on every vCPU",),
    "process-changed": ("{mode} is one process, but pid {old:d} became {new:d}",),
    "process-kept": ("{mode} has a new process, but pid {old:d} went on",),
    "no-execve": ("{mode} without an execve",),
    "descriptors-carried": (
        "{mode} carries no descriptors, but {descriptors:d} were seen to be sent",
    ),
    "no-postcopy": ("RAM had been copied before the guest moved: a precopy, no postcopy",),
    "no-multifd": ("no byte went over the channels of multifd",),
    "old-not-gone": ("{mode}: old QEMU was not seen to end",),
    "no-gap-logged": (
        "vCPU {vcpu:d}: no gap between beats covers its blackout, as its log of gaps overflowed",
    ),
    "observer-elsewhere": (
        "vCPU {vcpu:d}: the observer saw a gap of {gap_ns:d} ns that does not hold its blackout of "
        "{blackout_ns:d}",
    ),
    "probes-skipped": (
        "the kernel left {calls:d} probe calls out, of whatever process; a guest entry or exit "
        "among them would show against the guest's own gap",
    ),
    "scheduler-late": ("the scheduler was watched only after the blackout had begun",),
    "stream-repeated": ("stream {stream}: {repeated:d} numbers came again, or after a higher one",),
    "stream-wrong": ("stream {stream}: {blocks:d} blocks came back as others, or failed",),
    "stream-ended": ("stream {stream} does not go on in new QEMU: {after:d} numbers came after",),
    "stream-gap-missing": (
        "stream {stream}: its longest gap of None ns is shorter than the blackout of "
        "{blackout_ns:d}",
    ),
    "device-idle": ("device {device} ended no operation in new QEMU",),
    "device-numbers": (
        "device {device}: {wrong:d} numbers came back as others (the first ever: {seen:d} for "
        "{expected:d}): lost or carried twice",
    ),
    "device-interrupts": ("device {device}: {silent:d} operations ended without their interrupt",),
    "device-log-hidden": ("the kernel's log, which tells of IOMMU faults, is not shown",),
    "device-whole": (
        "{operations:d} operations of {device}, no number lost or carried twice, no interrupt "
        "lost, no IOMMU fault",
    ),
    "device-whole-surplus": (
        "{operations:d} operations of {device}, no number lost or carried twice, {surplus:d} "
        "interrupts out of turn, no interrupt lost, no IOMMU fault",
    ),
    "frames-unquiet": (
        "{differing:d} of {compared:d} pages lie in another frame, while the kernel moved "
        "{moved:d} pages of its own accord (compaction); repeat it on a quiet host, or with pinned "
        "RAM, which cannot be moved",
    ),
    "frames-absent": (
        "{absent:d} of {looked:d} pages looked at were not mapped in both processes",
    ),
    "memory-owned": (
        "beside {ram_mib:d} MiB of guest RAM old QEMU holds {old_mib:d} MiB of its own, new "
        "{new_mib:d} MiB (a copy would add {copy_mib:d} MiB)",
    ),
    "pins-unquiet": (
        "VmPin is whole, but {pages:d} pages were unpinned on the host in the window; repeat it on "
        "a quiet host",
    ),
    "pins-held-total-hidden": (
        "VmPin {kib:d} KiB at {points}, the host's total is not shown by this kernel",
    ),
    "pin-events-none-shown": ("none on {paths} ({tier}); this kernel does not show pin functions",),
    "mappings-remade": (
        "{unmapped:d} mappings were taken away and {mapped:d} made anew between migrate and old's "
        "exit",
    ),
    "owner-changed": ("new QEMU became their owner (CHANGE_PROCESS), none was remade",),
    "addresses-kept": (
        "old QEMU gave up addresses {given_up:d} times, new gave its own for {taken_mib:d} of "
        "{ram_mib:d} MiB",
    ),
    "addresses-changed": (
        "old gave up its addresses (UNMAP_DMA with VADDR, {given_up:d} ×), new gave its own for "
        "{taken_mib:d} MiB (MAP_DMA with VADDR, {taken:d} ×), none remade",
    ),
    "paths-hidden": ("{paths} cannot be watched on this kernel",),
    "paths-watched": ("{paths} were watched",),
}
