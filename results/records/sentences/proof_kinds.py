"""The kinds of sentences in a proof: what each of its checks may say."""

from __future__ import annotations

from .kind import Kind

_DEVICE = {
    "device-idle": Kind("device {device} completed no operation in new QEMU", "device DMA"),
    "device-reset": Kind(
        "device {device}: its count of {counter} went back from {before:d} to {after:d}",
        "device DMA",
    ),
    "device-numbers": Kind(
        "device {device}: {wrong:d} numbers came back changed (the first ever: {seen:d} instead of "
        "{expected:d}): lost or transferred twice",
        "device DMA",
    ),
    "device-interrupts": Kind(
        "device {device}: {silent:d} operations completed without an interrupt",
        "device DMA",
    ),
    "device-faults": Kind("device {device}: the IOMMU logged {faults:d} faults", "device DMA"),
    "device-log-hidden": Kind(
        "the kernel log, which reports IOMMU faults, cannot be read",
        "device DMA",
    ),
    "device-whole": Kind(
        "{operations:d} operations of {device}, no number lost or transferred twice, no interrupt "
        "lost, no IOMMU fault",
        "device DMA",
    ),
    "device-whole-surplus": Kind(
        "{operations:d} operations of {device}, no number lost or transferred twice, {surplus:d} "
        "unexpected interrupts, no interrupt lost, no IOMMU fault",
        "device DMA",
    ),
}

_VERDICT = {
    "control-missed": Kind("control not caught: {controls}"),
    "control-lacking": Kind("no passing control for: {controls}"),
}

_IN_FRAMES = "{pages:d} touched {size} pages in the same frames, "
_APART = "at {old:#x} in old, {new:#x} in new QEMU ({ms:d} ms)"
_TOGETHER = "at the same address {old:#x} ({ms:d} ms)"

_FRAMES = {
    "frames-hidden": Kind("{why!s}", "RAM in place"),
    "frames-unquiet": Kind(
        "{differing:d} of {compared:d} pages lie in another frame, but the kernel itself migrated "
        "{moved:d} pages (compaction); repeat it on a quiet host, or with pinned RAM, which cannot "
        "be migrated",
        "RAM in place",
    ),
    "frames-differ": Kind(
        "{differing:d} of {compared:d} pages lie in another frame, first page {page:#x} "
        "({offset:#x} into RAM): frame {old:#x} in old, {new:#x} in new QEMU",
        "RAM in place",
    ),
    "frames-unmapped": Kind("no page was mapped in both processes", "RAM in place"),
    "frames-absent": Kind(
        "{absent:d} of {looked:d} examined pages were not mapped in both processes",
        "RAM in place",
    ),
    "frames-all": Kind(f"all {_IN_FRAMES}{_APART}", "RAM in place"),
    "frames-all-together": Kind(f"all {_IN_FRAMES}{_TOGETHER}", "RAM in place"),
    "frames-some": Kind(f"{{compared:d}} of {_IN_FRAMES}{_APART}", "RAM in place"),
    "frames-some-together": Kind(f"{{compared:d}} of {_IN_FRAMES}{_TOGETHER}", "RAM in place"),
    "frames-sample": Kind(f"a sample of {{looked:d}} of {_IN_FRAMES}{_APART}", "RAM in place"),
    "frames-sample-together": Kind(
        f"a sample of {{looked:d}} of {_IN_FRAMES}{_TOGETHER}", "RAM in place"
    ),
}

_ONE_COPY = {
    "memory-unread": Kind("RssAnon of both QEMUs could not be read", "one copy"),
    "memory-unquiet": Kind(
        "shared memory of the host grew by {grown_mib:d} MiB during the transfer: a copy, or "
        "another program; repeat it on a quiet host",
        "one copy",
    ),
    "memory-owned": Kind(
        "besides {ram_mib:d} MiB of guest RAM old QEMU has {old_mib:d} MiB of anonymous memory, "
        "new {new_mib:d} MiB (a copy would add {copy_mib:d} MiB)",
        "one copy",
    ),
}

_FILES = {
    "files-differ": Kind("another open file in new QEMU: {files}", "descriptors"),
    "files-uncompared": Kind(
        "{unseen:d} of {files:d} not compared, first {name}: {why!s}", "descriptors"
    ),
    # The names are those of the run's descriptors.
    "files-same": Kind(
        "{files:d} carried, all the same open files: {names}", "descriptors", gloss=("names",)
    ),
}

_PINS = {
    "pins-refused": Kind("{why!s}", "pins"),
    "pins-none": Kind("nothing was pinned", "pins"),
    "pins-holder-lost": Kind("cannot be judged: {lost!s}", "pins"),
    "pins-unread": Kind("VmPin of the pin holder could not be read", "pins"),
    "pins-short": Kind(
        "VmPin of the holder is {kib:d} KiB at `{point}`, {pinned_kib:d} KiB were pinned", "pins"
    ),
    "pins-unquiet": Kind(
        "VmPin is unchanged, but {pages:d} pages were unpinned on the host in the window; repeat "
        "it on a quiet host",
        "pins",
    ),
    "pins-held": Kind(
        "VmPin {kib:d} KiB at {points}, host's pinned pages {before:d} → {after:d}", "pins"
    ),
    "pins-held-total-hidden": Kind(
        "VmPin {kib:d} KiB at {points}, this kernel does not report the host's total",
        "pins",
    ),
    "dma-none": Kind("no write was made through the pinned pages", "DMA"),
    "dma-holder-lost": Kind("the writes prove nothing: {lost!s}", "DMA"),
    "dma-failed": Kind("write at `{point}`: {error!s}", "DMA"),
    "dma-other": Kind("write at `{point}`: QEMU's mapping shows {seen:d}, not {written:d}", "DMA"),
    "dma-unseen": Kind("write at `{point}`: QEMU's mapping shows None, not {written:d}", "DMA"),
    "dma-seen": Kind("writes seen at {points}", "DMA"),
    "locks-unread": Kind("VmLck could not be read", "mem-lock"),
    "locks-short": Kind("{side} QEMU locks only {mib:d} MiB at `{point}`", "mem-lock"),
    "locks-held": Kind("VmLck {sizes}", "mem-lock"),
    "pin-events-holder-lost": Kind(
        "the kernel unpinned what the pin holder held: {lost!s}", "pin events"
    ),
    "pin-events-hidden": Kind("{why!s}", "pin events"),
    "pin-events-untraced": Kind("no pin function was traced", "pin events"),
    "pin-events-lost": Kind("{events:d} events were lost", "pin events"),
    "pin-events-fired": Kind("between migrate and old's exit: {counts}", "pin events"),
    "pin-events-none": Kind("none on {paths} ({tier})", "pin events"),
    "pin-events-none-shown": Kind(
        "none on {paths} ({tier}); pin functions cannot be probed on this kernel",
        "pin events",
    ),
}

_LOCKED = "VmLck {before_mib:d} MiB of old before, {after_mib:d} MiB of new after"

_VFIO = {
    "mappings-unseen": Kind("no call on DMA mappings was seen", "DMA mappings"),
    "mappings-remade": Kind(
        "{unmapped:d} mappings were removed and {mapped:d} created between migrate and old's exit",
        "DMA mappings",
    ),
    "mappings-failed": Kind("{failed:d} calls on DMA mappings failed", "DMA mappings"),
    "owner-kept": Kind("new QEMU never became the owner (CHANGE_PROCESS)", "DMA mappings"),
    "owner-changed": Kind(
        "new QEMU became their owner (CHANGE_PROCESS), no mapping was recreated",
        "DMA mappings",
    ),
    "addresses-kept": Kind(
        "old QEMU invalidated its addresses {given_up:d} times, new set its own for {taken_mib:d} "
        "of {ram_mib:d} MiB",
        "DMA mappings",
    ),
    "addresses-changed": Kind(
        "old invalidated its addresses (UNMAP_DMA with VADDR, {given_up:d} ×), new set its own for "
        "{taken_mib:d} MiB (MAP_DMA with VADDR, {taken:d} ×), no mapping was recreated",
        "DMA mappings",
    ),
    "paths-hidden": Kind("{paths} cannot be probed on this kernel", "pin functions"),
    "paths-watched": Kind("{paths} were probed", "pin functions"),
    "locked-unread": Kind("VmLck of both QEMUs could not be read", "locked memory"),
    "locked-less": Kind(f"{_LOCKED}: less than the guest's {{ram_mib:d}} MiB", "locked memory"),
    "locked-twice": Kind(
        f"{_LOCKED}, and old still accounts for {{rest_mib:d}} MiB", "locked memory"
    ),
    "locked-moved": Kind(_LOCKED, "locked memory"),
    "locked-moved-rest": Kind(f"{_LOCKED}, {{rest_mib:d}} MiB left with old", "locked memory"),
}

PROOF_KINDS: dict[str, Kind] = {
    **_DEVICE, **_VERDICT, **_FRAMES, **_ONE_COPY, **_FILES, **_PINS, **_VFIO,
}  # fmt: skip
