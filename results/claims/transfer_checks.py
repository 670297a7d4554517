"""Claims that every recorded transfer shows or refutes, as pure functions over its evidence.

Each check comes with a way to break a recording on purpose, by the least change after which the
claim no longer holds; a check that does not notice its own broken recording decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from results.judgement.judge import judge
from results.records.evidence import Accounts, Check, CheckState, Evidence
from results.records.recording import Event, Recording
from results.records.run import CarriedFd, Run
from results.timeline.cpr_channel import MAP_SHARED, carried_descriptors
from results.timeline.moments import Marks

from .catalogue import Finding, Found

_MAP_POPULATE = 0x8000
_FOUND: dict[CheckState, Found] = {
    "held": "shown",
    "broken": "refuted",
    "missing": "not testable",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One transfer: its evidence, and what can be looked up in it."""

    recording: Recording
    run: Run
    marks: Marks


def see(recording: Recording) -> Seen:
    """Judge a recording anew, so that a broken one is judged as broken."""
    marks = Marks(recording.events, recording.old.pid, recording.new.pid)
    return Seen(recording, judge(recording), marks)


@dataclass(frozen=True, slots=True)
class TimelineCheck:
    """How a claim shows in a transfer, and the change that breaks it."""

    claim: int
    test: str
    look: Callable[[Seen], Check]
    breaking: Callable[[Recording], Recording]


def decide(
    check: TimelineCheck, build: str, recordings: Sequence[Recording], test: str = ""
) -> Finding:
    """One finding from the valid transfers of a build, called `test`; all of them must hold.

    Nothing is decided without a valid transfer, where one does not tell, or where the check does
    not notice the recording that was broken on purpose.
    """
    seen = [see(recording) for recording in recordings]
    valid = [one for one in seen if one.run.outcome == "completed"]

    def found(state: CheckState, detail: str) -> Finding:
        evidence = tuple(one.run.id for one in valid or seen)
        return Finding(
            "claim", check.claim, build, test or check.test, _FOUND[state], detail, evidence
        )

    if not valid:
        why = seen[0].run.reason if seen else "none was made"
        return found("missing", f"no valid transfer: {why}")
    looked = [check.look(one) for one in valid]
    states: tuple[CheckState, ...] = ("broken", "missing")
    for state in states:
        for one, result in zip(valid, looked, strict=True):
            if result.state == state:
                return found(state, f"{result.text} ({one.run.id})")
    if check.look(see(check.breaking(valid[0].recording))).state != "broken":
        return found("missing", "the check did not notice a transfer broken on purpose")
    return found("held", f"{looked[-1].text} ({_counted(len(valid), seen)})")


def _counted(valid: int, seen: Sequence[Seen]) -> str:
    """How many transfers it rests on, and what befell the others."""
    failed = [one for one in seen if one.run.outcome != "completed"]
    if not failed:
        return f"{valid} transfer{'s' if valid > 1 else ''}"
    return f"{valid} of {len(seen)} transfers, the others failed: {failed[0].run.reason}"


# -- 2: RAM in place ----------------------------------------------------------------------------


def ram_in_place(seen: Seen) -> Check:
    """The same page frames behind another address."""
    name = "RAM in place"
    proof, evidence = seen.run.proof, seen.recording.evidence
    check = next((c for c in proof.checks if c.name == name), None) if proof else None
    if check is None or evidence is None:
        return Check(name, "missing", "page frames were not looked at")
    frames = evidence.frames
    if check.state == "held" and frames.old_address == frames.new_address:
        return Check(name, "broken", f"RAM lies at {frames.old_address:#x} in both QEMUs")
    return check


def _moved_page(recording: Recording) -> Recording:
    def moved(evidence: Evidence) -> Evidence:
        frames = replace(evidence.frames, differing=1, first=((0, 1, 2),))
        return replace(evidence, frames=frames, accounts=_still(evidence))

    return _with_evidence(recording, moved)


def _still(evidence: Evidence) -> tuple[Accounts, ...]:
    """Accounts of a kernel that moved no page of its own accord."""
    return tuple(replace(a, migrated=0) for a in evidence.accounts)


def _with_evidence(recording: Recording, change: Callable[[Evidence], Evidence]) -> Recording:
    evidence = recording.evidence
    return replace(recording, evidence=change(evidence)) if evidence else recording


# -- 3: pins ------------------------------------------------------------------------------------


def pins_held(seen: Seen) -> Check:
    """The whole proof of a scenario whose RAM is pinned, or locked by an assigned device."""
    name = "pins"
    proof = seen.run.proof
    names = {c.name for c in proof.checks} if proof else set()
    if proof is None or not names & {"pins", "DMA mappings"}:
        return Check(name, "missing", "nothing was pinned")
    if proof.verdict == "broken":
        return Check(name, "broken", proof.reason)
    if proof.verdict != "held":
        return Check(name, "missing", proof.reason)
    shown = ("pins", "DMA", "DMA mappings", "locked memory", "device DMA", "pin functions")
    return Check(name, "held", "; ".join(c.text for c in proof.checks if c.name in shown))


def _let_go(recording: Recording) -> Recording:
    """The holder's pins, or the device's descriptor, are not what they were at the end."""

    def let_go(evidence: Evidence) -> Evidence:
        if not evidence.pinned_bytes:
            first, *others = evidence.files
            return replace(evidence, files=(replace(first, same=False), *others))
        accounts = [
            replace(a, processes=a.processes | {"holder": {"VmPin": 0}}) if a.point == "end" else a
            for a in evidence.accounts
        ]
        return replace(evidence, accounts=tuple(accounts))

    return _with_evidence(recording, let_go)


# -- 4 and 11: descriptors ------------------------------------------------------------------------


def carried_by_rights(seen: Seen) -> Check:
    """Every descriptor went over the cpr channel before the main channel was there."""
    name = "SCM_RIGHTS"
    fds, doubts = _carried(seen.recording)
    connected = seen.marks.old("outgoing", "enter")
    if not fds or connected is None:
        return Check(name, "missing", "no descriptor or no main channel was seen")
    if doubts:
        return Check(name, "broken", doubts[0])
    late = [f.name for f in fds if (f.received_ns or 0) > connected]
    if late:
        return Check(name, "broken", f"{late[0]} came after the main channel was connected")
    evidence = seen.recording.evidence
    files = evidence.files if evidence is not None else ()
    others = [f.name for f in files if f.same is False]
    if others:
        return Check(name, "broken", f"{others[0]} is another open file in new QEMU")
    if len(files) < len(fds) or any(f.same is None for f in files):
        return Check(name, "missing", "descriptors were not compared by kcmp")
    last = max(f.received_ns or 0 for f in fds)
    return Check(
        name,
        "held",
        f"{len(fds)} descriptors sent and received, the last {(connected - last) / 1e6:.1f} ms "
        "before the main channel, each one open file in both (kcmp)",
    )


def _carried(recording: Recording) -> tuple[tuple[CarriedFd, ...], tuple[str, ...]]:
    fds, doubts = carried_descriptors(recording.events, recording.old.pid, recording.new.pid)
    return fds, tuple(doubt.text for doubt in doubts)


def _unreceived(recording: Recording) -> Recording:
    """The last descriptor does not arrive."""
    last = [e for e in recording.events if _brings_descriptor(e, recording.new.pid)][-1:]
    return replace(recording, events=tuple(e for e in recording.events if e not in last))


def _brings_descriptor(event: Event, pid: int) -> bool:
    return event.pid == pid and event.mark == "recvmsg" and event.values.get("fds", 0) > 0


def found_by_name_and_id(seen: Seen) -> Check:
    """No key twice, what was sent is what was received, and RAM is mapped from its own entry."""
    name = "names and ids"
    fds, doubts = _carried(seen.recording)
    if not fds:
        return Check(name, "missing", "no descriptor was seen on the cpr channel")
    if doubts:
        return Check(name, "broken", doubts[0])
    # A VFIO container is sent once for each group in it.
    files = {(f.name, f.id): f.old_fd for f in fds}
    twice = [key for key, n in Counter((f.name, f.id) for f in fds).items() if n > 1]
    several = [k for k in twice if len({f.old_fd for f in fds if (f.name, f.id) == k}) > 1]
    if several:
        return Check(name, "broken", f"{several[0][0]} id {several[0][1]} names two descriptors")
    mapped = {m.name for m in seen.run.ram_maps}
    if not mapped:
        return Check(name, "broken", "new QEMU mapped none of the descriptors it was given")
    beyond = [f"{key[0]} id {key[1]}" for key in files if key[1] != 0]
    return Check(
        name,
        "held",
        f"{len(files)} (name, id) pairs, the same on both sides, {len(mapped)} of them mapped as "
        f"RAM by new QEMU; other ids than 0: {', '.join(beyond) or 'none'}",
    )


def devices_by_name_and_id(seen: Seen) -> Check:
    """The descriptors of assigned devices are found again under their own names and ids."""
    found = found_by_name_and_id(seen)
    if found.state != "held":
        return found
    fds, _ = _carried(seen.recording)
    regions = {m.name for m in seen.run.ram_maps}
    devices = dict.fromkeys(f"{f.name} {f.id}" for f in fds if f.name not in regions)
    if not devices:
        return Check(found.name, "broken", "no descriptor of an assigned device was carried")
    return Check(found.name, "held", f"beside RAM: {', '.join(devices)}")


def _other_id(recording: Recording) -> Recording:
    """The last descriptor arrives under another id."""
    pid = recording.new.pid
    events = list(recording.events)
    at = [i for i, e in enumerate(events) if _brings_descriptor(e, pid)]
    # The id ends just before the byte that the descriptor rides on, which may come by itself.
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


# -- 5, 9 and 10: order of events -----------------------------------------------------------


def cpr_state_first(seen: Seen) -> Check:
    """New QEMU has the whole CPR state before it maps RAM, makes vCPUs or opens its monitor."""
    name = "order"
    read = seen.marks.new("cpr_load", "return")
    monitor = seen.recording.steps.get("monitor")
    if read is None or monitor is None:
        return Check(name, "missing", "the end of cpr_state_load or the monitor was not seen")
    made = _made(seen.marks)
    if not made or not seen.run.ram_maps:
        return Check(name, "broken", "new QEMU mapped none of the descriptors it was given")
    if made[0].ns < read:
        early = (read - made[0].ns) / 1e6
        return Check(name, "broken", f"a region was mapped {early:.3f} ms before that")
    if monitor < read:
        return Check(name, "broken", "the monitor was open before the CPR state was read")
    return Check(
        name,
        "held",
        f"the first of {len(made)} mappings of RAM and vCPUs came {(made[0].ns - read) / 1e6:.2f} "
        f"ms after the CPR state was read, the monitor {(monitor - read) / 1e6:.0f} ms after it",
    )


def _made(marks: Marks) -> list[Event]:
    """Mappings that belong to the machine: RAM, ROM, kvm_run of a vCPU, BARs.

    They are whole pages and none is populated by mmap. What QEMU maps shared before it knows of any
    guest is either: the C library's cache of converters, the rings of its main loop's io_uring.
    """
    kind = MAP_SHARED | _MAP_POPULATE
    shared = marks.all("new", "mmap", "return")
    return [
        e
        for e in shared
        if e.values.get("flags", 0) & kind == MAP_SHARED and e.values["length"] % 4096 == 0
    ]


def _mapped_too_early(recording: Recording) -> Recording:
    """The first mapping comes before the CPR state has been read."""
    marks = Marks(recording.events, recording.old.pid, recording.new.pid)
    read = marks.new("cpr_load", "return") or 0
    first = _made(marks)[:1]
    events = (replace(e, ns=read - 1) if e in first else e for e in recording.events)
    return replace(recording, events=tuple(sorted(events, key=lambda e: e.ns)))


def hang_up_connects(seen: Seen) -> Check:
    """New closes the cpr channel, and only then old connects the main one."""
    name = "hang-up"
    listening = seen.marks.new("main_listen", "return")
    closed = seen.marks.first("new", "cpr_close", "enter", after=listening or 0)
    outgoing = seen.marks.old("outgoing", "enter")
    connected = seen.marks.old("connected", "enter")
    if listening is None or outgoing is None or connected is None:
        return Check(name, "missing", "the main channel was not seen to be made")
    if closed is None or closed.ns > outgoing:
        return Check(name, "broken", "old connected the main channel before new closed cpr's")
    return Check(
        name,
        "held",
        f"old began to connect {(outgoing - closed.ns) / 1e6:.3f} ms after new closed the cpr "
        f"channel, and had connected {(connected - outgoing) / 1e6:.3f} ms later",
    )


def _closed_too_late(recording: Recording) -> Recording:
    late = max((e.ns for e in recording.events), default=0) + 1
    events = (
        replace(e, ns=late) if (e.pid, e.mark) == (recording.new.pid, "cpr_close") else e
        for e in recording.events
    )
    return replace(recording, events=tuple(sorted(events, key=lambda e: e.ns)))


def ends_in_postmigrate(seen: Seen) -> Check:
    """Old stops the VM, then saves, and stays in postmigrate while new runs the guest."""
    name = "end"
    old, new = seen.recording.old.runstate, seen.recording.new.runstate
    stop = seen.marks.old("vm_stop", "enter")
    saved = seen.marks.old("complete", "return")
    if stop is None or saved is None or not old:
        return Check(name, "missing", "the stop of the VM or the end of its save was not seen")
    if (old, new) != ("postmigrate", "running"):
        return Check(name, "broken", f"old QEMU ended in {old}, new in {new}")
    if saved < stop:
        return Check(name, "broken", "old QEMU had saved before it stopped the VM")
    stamped = [q.name for q in seen.recording.qmp if q.side == "old"]
    if "STOP" not in stamped:
        return Check(name, "broken", "old QEMU reported no STOP")
    return Check(
        name,
        "held",
        f"VM stopped, saved {(saved - stop) / 1e6:.2f} ms later, then old postmigrate, new running",
    )


def _goes_on(recording: Recording) -> Recording:
    return replace(recording, old=replace(recording.old, runstate="running"))


CHECKS: tuple[TimelineCheck, ...] = (
    TimelineCheck(2, "page frames", ram_in_place, _moved_page),
    TimelineCheck(4, "SCM_RIGHTS", carried_by_rights, _unreceived),
    TimelineCheck(5, "order of events", cpr_state_first, _mapped_too_early),
    TimelineCheck(9, "hang-up and connect", hang_up_connects, _closed_too_late),
    TimelineCheck(10, "stop, save, end", ends_in_postmigrate, _goes_on),
    TimelineCheck(11, "names and ids", found_by_name_and_id, _other_id),
)
PINS = TimelineCheck(3, "pins of a process", pins_held, _let_go)
VFIO_PINS = TimelineCheck(3, "pins of a VFIO device", pins_held, _let_go)
VFIO_IDS = TimelineCheck(11, "names and ids of a device", devices_by_name_and_id, _other_id)


def timeline_findings(build: str, recordings: Iterable[Recording]) -> list[Finding]:
    """What the ordinary transfers of a build say of the claims that show in each of them."""
    known = tuple(recordings)
    return [decide(check, build, known) for check in CHECKS]
