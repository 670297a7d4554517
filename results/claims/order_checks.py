"""Claims 5, 9 and 10: the order of events in both QEMUs, and the states they end in."""

from __future__ import annotations

from dataclasses import replace

from results.records.evidence import Check
from results.records.recording import Event, Recording
from results.timeline.cpr_channel import MAP_SHARED
from results.timeline.moments import Marks

from .descriptor_checks import nothing_mapped
from .transfer_verdict import JudgedTransfer

_MAP_POPULATE = 0x8000


def cpr_state_first(transfer: JudgedTransfer) -> Check:
    """New QEMU reads all CPR state before it maps RAM, creates vCPUs or opens its monitor."""
    name = "order"
    read = transfer.marks.new("cpr_load", "return")
    monitor = transfer.recording.steps.get("monitor")
    if read is None or monitor is None:
        return Check(name, "missing", "the end of cpr_state_load or the monitor was not seen")
    mapped = _machine_mappings(transfer.marks)
    if mapped and mapped[0].ns < read:
        early = (read - mapped[0].ns) / 1e6
        return Check(name, "broken", f"a region was mapped {early:.3f} ms before that")
    if monitor < read:
        return Check(name, "broken", "the monitor was open before the CPR state was read")
    if not mapped or not transfer.run.ram_maps:
        return nothing_mapped(name, transfer)
    first = (mapped[0].ns - read) / 1e6
    return Check(
        name,
        "held",
        f"the first of {len(mapped)} mappings of RAM and vCPUs came {first:.2f} ms after the CPR "
        f"state was read, the monitor {(monitor - read) / 1e6:.0f} ms after it",
    )


def _machine_mappings(marks: Marks) -> list[Event]:
    """Mappings that belong to the machine: RAM, ROM, kvm_run of a vCPU, BARs.

    They are full pages and mmap populates none of them. Shared mappings from before the machine do
    one or the other: the C library's cache of converters, the io_uring rings of the main loop.
    """
    kind = MAP_SHARED | _MAP_POPULATE
    shared = marks.all("new", "mmap", "return")
    return [
        e
        for e in shared
        if e.values.get("flags", 0) & kind == MAP_SHARED and e.values["length"] % 4096 == 0
    ]


def mapped_too_early(recording: Recording) -> Recording:
    """The first mapping comes before the CPR state has been read."""
    marks = Marks(recording.events, recording.old.pid, recording.new.pid)
    read = marks.new("cpr_load", "return") or 0
    first = _machine_mappings(marks)[:1]
    events = (replace(e, ns=read - 1) if e in first else e for e in recording.events)
    return replace(recording, events=tuple(sorted(events, key=lambda e: e.ns)))


def hang_up_connects(transfer: JudgedTransfer) -> Check:
    """New closes the cpr channel, and only then old connects the main one."""
    name = "hang-up"
    marks = transfer.marks
    listening = marks.new("main_listen", "return")
    closed = marks.first("new", "cpr_close", "enter", after=listening or 0)
    outgoing = marks.old("outgoing", "enter")
    connected = marks.old("connected", "enter")
    if listening is None or outgoing is None or connected is None:
        return Check(name, "missing", "the setup of the main channel was not seen")
    too_early = "old connected the main channel before new closed the cpr channel"
    if closed is None:  # a new QEMU that dies hangs up without closing
        conclusive = transfer.completed and transfer.traced
        return Check(name, "broken" if conclusive else "missing", too_early)
    if closed.ns > outgoing:
        return Check(name, "broken", too_early)
    return Check(
        name,
        "held",
        f"old began to connect {(outgoing - closed.ns) / 1e6:.3f} ms after new closed the cpr "
        f"channel, and was connected {(connected - outgoing) / 1e6:.3f} ms later",
    )


def closed_too_late(recording: Recording) -> Recording:
    """New closes the cpr channel after everything else."""
    late = max((e.ns for e in recording.events), default=0) + 1
    events = (
        replace(e, ns=late) if (e.pid, e.mark) == (recording.new.pid, "cpr_close") else e
        for e in recording.events
    )
    return replace(recording, events=tuple(sorted(events, key=lambda e: e.ns)))


def ends_in_postmigrate(transfer: JudgedTransfer) -> Check:
    """Old stops the VM, then saves, and stays in postmigrate while new runs the guest."""
    name = "end"
    old, new = transfer.recording.old.runstate, transfer.recording.new.runstate
    stop = transfer.marks.old("vm_stop", "enter")
    saved = transfer.marks.old("complete", "return")
    if stop is None or saved is None or not old:
        return Check(name, "missing", "the stop of the VM or the end of its save was not seen")
    if saved < stop:
        return Check(name, "broken", "old QEMU had saved before it stopped the VM")
    if not transfer.completed:  # it may be given up at any state
        return Check(name, "missing", "the transfer did not complete")
    if (old, new) != ("postmigrate", "running"):
        return Check(name, "broken", f"old QEMU ended in {old}, new in {new}")
    if "STOP" not in [q.name for q in transfer.recording.qmp if q.side == "old"]:
        return Check(name, "broken", "old QEMU reported no STOP")
    return Check(
        name,
        "held",
        f"VM stopped, saved {(saved - stop) / 1e6:.2f} ms later, then old postmigrate, new running",
    )


def keeps_running(recording: Recording) -> Recording:
    """Old QEMU does not end in postmigrate."""
    return replace(recording, old=replace(recording.old, runstate="running"))
