"""Every sentence that is said of a run: its code, and the words it is told in now and was before.

Whoever changes the words of a sentence adds those it had to `former`: runs that were stored with
them then still say the same when they are judged again. A code is never used for anything else.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of sentence: `template` is that of str.format, with figures by name.

    `{n:d}` and `{n:#x}` are integers, `{name}` is a text without `; `, `{name!s}` any text. `check`
    is the line of the proof that says it. `gloss` are figures that only explain others: no part of
    what a sentence says.
    """

    template: str
    check: str = ""
    former: tuple[str, ...] = ()
    gloss: tuple[str, ...] = ()

    @property
    def templates(self) -> tuple[str, ...]:
        return (self.template, *self.former)


_FREE = {
    "other": Kind("{text!s}"),  # no sentence of ours
    "transfer-failed": Kind("{said!s}"),  # in the words of QEMU or of who drove it
    # Joined to all others by a blank, at their end.
    "known-failure": Kind("[{name}: {means!s}]", gloss=("means",)),
}

_HARM = {
    "old-not-ended": Kind("old QEMU ended {state}, not {expected}"),
    "new-not-running": Kind("new QEMU ended {state}, not running"),
    "vcpu-still": Kind("vCPU {vcpu:d} stands still in new QEMU"),
    "words-changed": Kind(
        "vCPU {vcpu:d} found {words:d} changed words in its RAM, first {first!s}"
    ),
    "beats-missing": Kind("the guest was not seen to beat on every vCPU"),
    "ram-unchecked": Kind("guest RAM was not checked"),
    "ram-changed": Kind("{bad:d} of {pages:d} checked pages of guest RAM changed, first {first!s}"),
}

_INCOMPLETE = {
    "vcpu-never-left": Kind("vCPU {vcpu:d} was never seen to leave the guest in old QEMU"),
    "vcpu-never-entered": Kind("vCPU {vcpu:d} was never seen to enter the guest in new QEMU"),
    "vcpu-entered-early": Kind("vCPU {vcpu:d} entered new QEMU {early_ns:d} ns before it left old"),
    "vcpu-unwatched": Kind("vCPU {vcpu:d} was not watched"),
    "nothing-seen": Kind("nothing was traced and no gap was seen"),
    "records-lost": Kind("{records:d} probe records were lost"),
    "no-stream": Kind("no stream of the guest was seen"),
    "descriptor-lost": Kind("descriptor {name} id {id:d} was sent and not received"),
    "descriptor-unsent": Kind("descriptor {name} id {id:d} was received and not sent"),
    "descriptor-nameless": Kind("a descriptor had no readable name (fd {fd:d})"),
    "no-descriptor": Kind("no descriptor was seen on the cpr channel", check="descriptors"),
}

_PROMISES = {
    "process-changed": Kind("{mode} is one process, but pid {old:d} became {new:d}"),
    "process-kept": Kind("{mode} has a new process, but pid {old:d} went on"),
    "no-execve": Kind("{mode} without an execve"),
    "descriptors-carried": Kind(
        "{mode} carries no descriptors, but {descriptors:d} were seen to be sent"
    ),
    "no-postcopy": Kind("RAM had been copied before the guest moved: a precopy, no postcopy"),
    "turned-postcopy": Kind("{mode} turned into a postcopy"),
    "no-multifd": Kind("no byte went over the channels of multifd"),
    "old-not-gone": Kind("{mode}: old QEMU was not seen to end"),
    "ran-too-early": Kind("{mode}: the guest ran in new QEMU before old QEMU had ended"),
}

_CONTRADICTIONS = {
    "pause-too-long": Kind(
        "{witness} saw a pause of {pause_ns:d} ns, longer than the blackout of {blackout_ns:d}"
    ),
    "entered-before-start": Kind("vCPU {vcpu:d} entered the guest before new QEMU's vm_start"),
    "left-before-stop": Kind("vCPU {vcpu:d} left the guest for good before old QEMU's vm_stop"),
    "no-gap": Kind("vCPU {vcpu:d}: no gap between beats covers its blackout"),
    "no-gap-logged": Kind(
        "vCPU {vcpu:d}: no gap between beats covers its blackout, as its log of gaps overflowed"
    ),
    "gap-too-short": Kind(
        "vCPU {vcpu:d}: the guest saw a gap of {gap_ns:d} ns, shorter than its blackout of "
        "{blackout_ns:d}"
    ),
    "observer-elsewhere": Kind(
        "vCPU {vcpu:d}: the observer saw a gap of {gap_ns:d} ns that does not hold its blackout of "
        "{blackout_ns:d}"
    ),
    "observer-disagrees": Kind(
        "vCPU {vcpu:d}: the observer saw a gap of {gap_ns:d} ns, the guest one of {guest_ns:d}"
    ),
}

_WARNINGS = {
    "mark-silent": Kind("mark {mark} never fired"),
    "probes-skipped": Kind(
        "the kernel left {calls:d} probe calls out, of whatever process; a guest entry or exit "
        "among them would show against the guest's own gap"
    ),
    "clock-unread": Kind("the guest's clock could not be read: the guest does not testify"),
    "scheduler-lost": Kind("{records:d} records of the scheduler were lost"),
    "scheduler-late": Kind("the scheduler was watched only after the blackout had begun"),
}

_STREAMS = {
    "stream-lost": Kind("stream {stream}: {lost:d} of the numbers {first:d} to {last:d} were lost"),
    "stream-repeated": Kind(
        "stream {stream}: {repeated:d} numbers came again, or after a higher one"
    ),
    "stream-wrong": Kind("stream {stream}: {blocks:d} blocks came back as others, or failed"),
    "stream-torn": Kind("stream {stream}: {bytes:d} bytes were cut off when a connection ended"),
    "stream-ended": Kind(
        "stream {stream} does not go on in new QEMU: {after:d} numbers came after"
    ),
    "stream-gap-short": Kind(
        "stream {stream}: its longest gap of {gap_ns:d} ns is shorter than the blackout of "
        "{blackout_ns:d}"
    ),
    "stream-gap-missing": Kind(
        "stream {stream}: its longest gap of None ns is shorter than the blackout of "
        "{blackout_ns:d}"
    ),
}

_DEVICE = {
    "device-idle": Kind("device {device} ended no operation in new QEMU", "device DMA"),
    "device-numbers": Kind(
        "device {device}: {wrong:d} numbers came back as others (the first ever: {seen:d} for "
        "{expected:d}): lost or carried twice",
        "device DMA",
    ),
    "device-interrupts": Kind(
        "device {device}: {silent:d} operations ended without their interrupt", "device DMA"
    ),
    "device-faults": Kind("device {device}: the IOMMU logged {faults:d} faults", "device DMA"),
    "device-log-hidden": Kind(
        "the kernel's log, which tells of IOMMU faults, is not shown", "device DMA"
    ),
    "device-whole": Kind(
        "{operations:d} operations of {device}, no number lost or carried twice, no interrupt "
        "lost, no IOMMU fault",
        "device DMA",
    ),
    "device-whole-surplus": Kind(
        "{operations:d} operations of {device}, no number lost or carried twice, {surplus:d} "
        "interrupts out of turn, no interrupt lost, no IOMMU fault",
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
        "{differing:d} of {compared:d} pages lie in another frame, while the kernel moved "
        "{moved:d} pages of its own accord (compaction); repeat it on a quiet host, or with pinned "
        "RAM, which cannot be moved",
        "RAM in place",
    ),
    "frames-differ": Kind(
        "{differing:d} of {compared:d} pages lie in another frame, first page {page:#x} "
        "({offset:#x} into RAM): frame {old:#x} in old, {new:#x} in new QEMU",
        "RAM in place",
    ),
    "frames-unmapped": Kind("no page was mapped in both processes", "RAM in place"),
    "frames-absent": Kind(
        "{absent:d} of {looked:d} pages looked at were not mapped in both processes",
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
        "beside {ram_mib:d} MiB of guest RAM old QEMU holds {old_mib:d} MiB of its own, new "
        "{new_mib:d} MiB (a copy would add {copy_mib:d} MiB)",
        "one copy",
    ),
}

_FILES = {
    "files-differ": Kind("another open file in new QEMU: {files}", "descriptors"),
    "files-uncompared": Kind(
        "{unseen:d} of {files:d} not compared, first {name}: {why!s}", "descriptors"
    ),
    "files-same": Kind("{files:d} carried, all the same open files: {names}", "descriptors"),
}

_PINS = {
    "pins-refused": Kind("{why!s}", "pins"),
    "pins-none": Kind("nothing was pinned", "pins"),
    "pins-unread": Kind("VmPin of the pin holder could not be read", "pins"),
    "pins-short": Kind(
        "VmPin of the holder is {kib:d} KiB at `{point}`, {pinned_kib:d} KiB were pinned", "pins"
    ),
    "pins-unquiet": Kind(
        "VmPin is whole, but {pages:d} pages were unpinned on the host in the window; repeat it on "
        "a quiet host",
        "pins",
    ),
    "pins-held": Kind(
        "VmPin {kib:d} KiB at {points}, host's pinned pages {before:d} → {after:d}", "pins"
    ),
    "pins-held-total-hidden": Kind(
        "VmPin {kib:d} KiB at {points}, the host's total is not shown by this kernel", "pins"
    ),
    "dma-none": Kind("no write was made through the pinned pages", "DMA"),
    "dma-failed": Kind("write at `{point}`: {error!s}", "DMA"),
    "dma-other": Kind("write at `{point}`: QEMU's mapping shows {seen:d}, not {written:d}", "DMA"),
    "dma-unseen": Kind("write at `{point}`: QEMU's mapping shows None, not {written:d}", "DMA"),
    "dma-seen": Kind("writes seen at {points}", "DMA"),
    "locks-unread": Kind("VmLck could not be read", "mem-lock"),
    "locks-short": Kind("{side} QEMU locks only {mib:d} MiB at `{point}`", "mem-lock"),
    "locks-held": Kind("VmLck {sizes}", "mem-lock"),
    "pin-events-hidden": Kind("{why!s}", "pin events"),
    "pin-events-lost": Kind("{events:d} events were lost", "pin events"),
    "pin-events-fired": Kind("between migrate and old's exit: {counts}", "pin events"),
    "pin-events-none": Kind("none on {paths} ({tier})", "pin events"),
    "pin-events-none-shown": Kind(
        "none on {paths} ({tier}); this kernel does not show pin functions", "pin events"
    ),
}

_LOCKED = "VmLck {before_mib:d} MiB of old before, {after_mib:d} MiB of new after"

_VFIO = {
    "mappings-unseen": Kind("no call on DMA mappings was seen", "DMA mappings"),
    "mappings-remade": Kind(
        "{unmapped:d} mappings were taken away and {mapped:d} made anew between migrate and old's "
        "exit",
        "DMA mappings",
    ),
    "mappings-failed": Kind("{failed:d} calls on DMA mappings failed", "DMA mappings"),
    "owner-kept": Kind("new QEMU never became the owner (CHANGE_PROCESS)", "DMA mappings"),
    "owner-changed": Kind(
        "new QEMU became their owner (CHANGE_PROCESS), none was remade", "DMA mappings"
    ),
    "addresses-kept": Kind(
        "old QEMU gave up addresses {given_up:d} times, new gave its own for {taken_mib:d} of "
        "{ram_mib:d} MiB",
        "DMA mappings",
    ),
    "addresses-changed": Kind(
        "old gave up its addresses (UNMAP_DMA with VADDR, {given_up:d} ×), new gave its own for "
        "{taken_mib:d} MiB (MAP_DMA with VADDR, {taken:d} ×), none remade",
        "DMA mappings",
    ),
    "paths-hidden": Kind("{paths} cannot be watched on this kernel", "pin functions"),
    "paths-watched": Kind("{paths} were watched", "pin functions"),
    "locked-unread": Kind("VmLck of both QEMUs could not be read", "locked memory"),
    "locked-less": Kind(f"{_LOCKED}: less than the guest's {{ram_mib:d}} MiB", "locked memory"),
    "locked-twice": Kind(
        f"{_LOCKED}, and old still accounts for {{rest_mib:d}} MiB", "locked memory"
    ),
    "locked-moved": Kind(_LOCKED, "locked memory"),
    "locked-moved-rest": Kind(f"{_LOCKED}, {{rest_mib:d}} MiB left with old", "locked memory"),
}

KINDS: dict[str, Kind] = {
    **_FREE, **_HARM, **_INCOMPLETE, **_PROMISES, **_CONTRADICTIONS, **_WARNINGS, **_STREAMS,
    **_DEVICE, **_VERDICT, **_FRAMES, **_ONE_COPY, **_FILES, **_PINS, **_VFIO,
}  # fmt: skip
