"""Claims 4 and 11: descriptors carried by SCM_RIGHTS, and found again by name and id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from results.records.evidence import Check, CheckState, SameFile
from results.records.recording import Event, Recording
from results.records.run import CarriedFd
from results.timeline.cpr_channel import carried_descriptors

from .transfer_verdict import JudgedTransfer


def carried_by_rights(transfer: JudgedTransfer) -> Check:
    """Every descriptor went over the cpr channel before the main channel was connected."""
    name = "SCM_RIGHTS"
    fds, mismatches = _carried(transfer.recording)
    connected = transfer.marks.old("outgoing", "enter")
    files = _compared_files(transfer.recording)
    if others := [f.name for f in files if f.same is False]:
        return Check(name, "broken", f"{others[0]} is another open file in new QEMU")
    if late := [f.name for f in fds if connected and (f.received_ns or 0) > connected]:
        return Check(name, "broken", f"{late[0]} arrived after the main channel was connected")
    if mismatches:
        return Check(name, _if_exchanged(transfer), mismatches[0])
    if not fds or connected is None:
        return Check(name, "missing", "no descriptor or no main channel was seen")
    if len(files) < len(fds) or any(f.same is None for f in files):
        return Check(name, "missing", "descriptors were not compared by kcmp")
    last = max(f.received_ns or 0 for f in fds)
    return Check(
        name,
        "held",
        f"{len(fds)} descriptors sent and received, the last {(connected - last) / 1e6:.1f} ms "
        "before the main channel, each the same open file in both QEMUs (kcmp)",
    )


def _carried(recording: Recording) -> tuple[tuple[CarriedFd, ...], tuple[str, ...]]:
    """The carried descriptors, and in what the two sides differ."""
    fds, doubts = carried_descriptors(recording.events, recording.old.pid, recording.new.pid)
    return fds, tuple(doubt.text for doubt in doubts)


def _compared_files(recording: Recording) -> tuple[SameFile, ...]:
    return recording.evidence.files if recording.evidence is not None else ()


def _if_exchanged(transfer: JudgedTransfer) -> CheckState:
    """The state of a claim when one side lacks a descriptor: unknown during the exchange."""
    over = transfer.completed or transfer.marks.new("cpr_load", "return") is not None
    return "broken" if transfer.traced and over else "missing"


def unreceived(recording: Recording) -> Recording:
    """The last descriptor does not arrive."""
    last = [e for e in recording.events if _brings_descriptor(e, recording.new.pid)][-1:]
    return replace(recording, events=tuple(e for e in recording.events if e not in last))


def _brings_descriptor(event: Event, pid: int) -> bool:
    return event.pid == pid and event.mark == "recvmsg" and event.values.get("fds", 0) > 0


def found_by_name_and_id(transfer: JudgedTransfer) -> Check:
    """Keys are unique and the same on both sides, and RAM is mapped from its own entry."""
    name = "names and ids"
    fds, mismatches = _carried(transfer.recording)
    if not fds:
        return Check(name, "missing", "no descriptor was seen on the cpr channel")
    if ambiguous := _ambiguous_keys(fds):
        key, number = ambiguous[0]
        return Check(name, "broken", f"{key} id {number} names two descriptors")
    if mismatches:
        return Check(name, _if_exchanged(transfer), mismatches[0])
    mapped = {m.name for m in transfer.run.ram_maps}
    if not mapped:
        return nothing_mapped(name, transfer)
    keys = dict.fromkeys((f.name, f.id) for f in fds)
    beyond = [f"{key} id {number}" for key, number in keys if number != 0]
    return Check(
        name,
        "held",
        f"{len(keys)} (name, id) pairs, the same on both sides, {len(mapped)} of them mapped as "
        f"RAM by new QEMU; ids other than 0: {', '.join(beyond) or 'none'}",
    )


def _ambiguous_keys(fds: Sequence[CarriedFd]) -> list[tuple[str, int]]:
    """Keys of several descriptors. A VFIO container is sent once for each group in it."""
    files: dict[tuple[str, int], set[int | None]] = {}
    for fd in fds:
        files.setdefault((fd.name, fd.id), set()).add(fd.old_fd)
    return [key for key, numbers in files.items() if len(numbers) > 1]


def nothing_mapped(name: str, transfer: JudgedTransfer) -> Check:
    """New QEMU mapped none of its descriptors: conclusive once it has built its machine.

    It opens its monitor only then. Where no descriptor was seen to arrive, mappings have no name.
    """
    built = "monitor" in transfer.recording.steps
    received = any(fd.new_fd is not None for fd in transfer.run.fds)
    state: CheckState = "broken" if transfer.traced and built and received else "missing"
    return Check(name, state, "new QEMU mapped none of the descriptors it received")


def device_found_by_name_and_id(transfer: JudgedTransfer) -> Check:
    """The descriptors of assigned devices are found by their own names and ids."""
    found = found_by_name_and_id(transfer)
    if found.state != "held":
        return found
    fds, _ = _carried(transfer.recording)
    regions = {m.name for m in transfer.run.ram_maps}
    devices = dict.fromkeys(f"{f.name} {f.id}" for f in fds if f.name not in regions)
    if not devices:
        state = _if_exchanged(transfer)
        return Check(found.name, state, "no descriptor of an assigned device was carried")
    return Check(found.name, "held", f"besides RAM: {', '.join(devices)}")


def other_id(recording: Recording) -> Recording:
    """The last descriptor arrives under another id."""
    pid = recording.new.pid
    events = list(recording.events)
    at = [i for i, e in enumerate(events) if _brings_descriptor(e, pid)]
    # The id ends just before the byte that carries the descriptor, which may be a message alone.
    behind = 2
    for i in range(at[-1] if at else -1, -1, -1):
        if events[i].pid != pid or events[i].mark != "recvmsg":
            continue
        data = bytearray.fromhex(events[i].data)
        if len(data) >= behind:
            data[-behind] ^= 1
            events[i] = replace(events[i], data=bytes(data).hex())
            break
        behind -= len(data)
    return replace(recording, events=tuple(events))
