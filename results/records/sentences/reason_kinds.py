"""The kinds of sentences in a run's record: each has a code, a template and former wordings.

What a run that fails by a sentence did to its guest is in harms. To reword a sentence, change its
template and add the old one to former_wordings: runs stored with the old wording then still say the
same when they are judged again. A code is never reused for anything else.
"""

from __future__ import annotations

from dataclasses import replace

from .former_wordings import FORMER
from .harms import HARMS
from .kind import Kind
from .proof_kinds import PROOF_KINDS

_FREE = {
    "other": Kind("{text!s}"),  # not a sentence of this table
    "transfer-failed": Kind("{said!s}"),  # as QEMU or the transfer's driver put it
    # Appended to all others after a space.
    "known-failure": Kind("[{name}: {means!s}]", gloss=("means",)),
}

_HARM = {
    "guest-lost": Kind("the guest was lost: old QEMU in state {old}, new QEMU in state {new}"),
    "old-not-ended": Kind("old QEMU ended in state {state}, not {expected}"),
    "new-not-running": Kind("new QEMU ended in state {state}, not running"),
    "vcpu-still": Kind("vCPU {vcpu:d} does not run in new QEMU"),
    "words-changed": Kind(
        "vCPU {vcpu:d} found {words:d} changed words in its RAM, first {first!s}"
    ),
    "vcpu-reset": Kind(
        "vCPU {vcpu:d}: its beats went back from {before:d} to {after:d}: the guest was reset"
    ),
    "ram-empty": Kind("no page of guest RAM was checked"),
    "beats-missing": Kind("no beats were seen from some vCPUs"),
    "ram-unchecked": Kind("guest RAM was not checked"),
    "ram-changed": Kind("{bad:d} of {pages:d} checked pages of guest RAM changed, first {first!s}"),
}

_DEATHS = {
    "qemu-killed": Kind("{side} QEMU was killed by signal {number:d} ({name}) {when}"),
    "qemu-exited": Kind("{side} QEMU exited with status {status:d} {when}: {said!s}"),
    "qemu-stopped": Kind("{side} QEMU is stopped (state T), first seen {when}"),
}

_INCOMPLETE = {
    "witness-killed": Kind("{witness} ended by {signal}"),
    "witness-exited": Kind("{witness} ended with exit status {status:d}"),
    "witness-silent": Kind("{witness} does not answer (state {state})"),
    "vcpu-never-left": Kind("vCPU {vcpu:d} was never seen to leave the guest in old QEMU"),
    "vcpu-never-entered": Kind("vCPU {vcpu:d} was never seen to enter the guest in new QEMU"),
    "vcpu-entered-early": Kind("vCPU {vcpu:d} entered new QEMU {early_ns:d} ns before it left old"),
    "vcpu-unwatched": Kind("vCPU {vcpu:d} was not watched"),
    "nothing-seen": Kind("nothing was traced and no gap was seen"),
    "records-lost": Kind("events lost: {records:d}"),
    "no-stream": Kind("no stream of the guest was seen"),
    "descriptor-lost": Kind("descriptor {name} id {id:d} was sent and not received"),
    "descriptor-unsent": Kind("descriptor {name} id {id:d} was received and not sent"),
    "descriptor-nameless": Kind("a descriptor had no readable name (fd {fd:d})"),
    "no-descriptor": Kind("no descriptor was seen on the cpr channel", "descriptors"),
}

_PROMISES = {
    "process-changed": Kind("{mode} keeps the process, but pid {old:d} became {new:d}"),
    "process-kept": Kind("{mode} starts a new process, but pid {old:d} went on"),
    "no-execve": Kind("no execve was seen in a {mode} update"),
    "descriptors-carried": Kind("{mode} carries no descriptors, but {descriptors:d} were sent"),
    "no-postcopy": Kind("RAM was copied before the guest moved: a precopy, not a postcopy"),
    "turned-postcopy": Kind("{mode} turned into a postcopy"),
    "no-multifd": Kind("no bytes were sent over the multifd channels"),
    "old-not-gone": Kind("{mode}: the exit of old QEMU was not seen"),
    "ran-too-early": Kind("{mode}: the guest ran in new QEMU before old QEMU had ended"),
}

_CONTRADICTIONS = {
    "pause-too-long": Kind(
        "{witness} saw a pause of {pause_ns:d} ns, longer than the blackout of {blackout_ns:d}"
    ),
    "entered-before-start": Kind("vCPU {vcpu:d} entered the guest before new QEMU's vm_start"),
    "entered-before-resume": Kind(
        "vCPU {vcpu:d} entered the guest before new QEMU resumed its vCPUs"
    ),
    "left-after-stop": Kind("vCPU {vcpu:d} left the guest after old QEMU had stopped all vCPUs"),
    "entry-inside": Kind(
        "vCPU {vcpu:d}: kvm_entry and kvm_exit saw a pause of {pause_ns:d} ns, shorter than its "
        "blackout of {blackout_ns:d}"
    ),
    "progress-unexplained": Kind(
        "vCPU {vcpu:d}: its first beat came {progress_ns:d} ns after its first entry, of which no "
        "more than {explained_ns:d} are explained by page faults and waits for a CPU"
    ),
    "left-before-stop": Kind("vCPU {vcpu:d} left the guest for good before old QEMU's vm_stop"),
    "no-gap": Kind("vCPU {vcpu:d}: no gap between beats covers its blackout"),
    "no-gap-logged": Kind(
        "vCPU {vcpu:d}: no gap between beats covers its blackout, because its gap log overflowed"
    ),
    "gap-too-short": Kind(
        "vCPU {vcpu:d}: the guest saw a gap of {gap_ns:d} ns, shorter than its blackout of "
        "{blackout_ns:d}"
    ),
    "observer-elsewhere": Kind(
        "vCPU {vcpu:d}: the observer saw a gap of {gap_ns:d} ns that does not cover its blackout "
        "of {blackout_ns:d}"
    ),
    "observer-disagrees": Kind(
        "vCPU {vcpu:d}: the observer saw a gap of {gap_ns:d} ns, the guest one of {guest_ns:d}"
    ),
}

_INCONSISTENT = {
    "bracket-unknown": Kind("vCPU {vcpu:d} was recorded, but the guest has {vcpus:d}"),
    "bracket-repeated": Kind("vCPU {vcpu:d} was recorded more than once"),
    "bracket-copied": Kind(
        "vCPU {vcpu:d} left and entered the guest at the very times of vCPU {other:d}"
    ),
    "thread-unknown": Kind(
        "vCPU {vcpu:d} was recorded by thread {tid:d}, which is not its thread in {side} QEMU"
    ),
    "threads-shared": Kind("vCPU threads of both QEMUs: {tids}"),
    "samples-disordered": Kind(
        "vCPU {vcpu:d}: its beats in new QEMU were sampled before those in old QEMU"
    ),
    "steps-disordered": Kind("step {later} was taken before step {earlier}"),
    "entered-before-migrate": Kind(
        "the guest entered new QEMU {early_ns:d} ns before `migrate` was sent"
    ),
    "left-before-migrate": Kind("vCPU {vcpu:d} left the guest for good before `migrate` was sent"),
    "entered-after-end": Kind(
        "vCPU {vcpu:d} entered the guest after it had been seen to run in new QEMU"
    ),
    "more-alike": Kind("{more:d} more of this kind"),
    "value-impossible": Kind("impossible value of {field}: {value:d}"),
}

_WARNINGS = {
    "mark-silent": Kind("mark {mark} never fired"),
    "mark-unentered": Kind("the entry of mark {mark} was not seen"),
    "mark-unreturned": Kind("the return of mark {mark} was not seen"),
    "marks-disordered": Kind("marks out of order, so their phases are unknown: {marks}"),
    "probes-skipped": Kind(
        "the kernel skipped {calls:d} probe calls, of any process; a missed guest entry or exit "
        "would contradict the guest's own gap"
    ),
    "controller-stopped": Kind(
        "pausebench itself was stopped by a signal during the transfer, {times:d} times: what it "
        "does meanwhile came late"
    ),
    "clock-unread": Kind("the guest's clock could not be read: the guest does not testify"),
    "wall-clock-moved": Kind(
        "the wall clock moved by {moved_ns:d} ns or more during the transfer: QMP does not testify"
    ),
    "clock-odd": Kind(
        "the guest's clock missed {step_ns:d} ns of the pause, neither nothing nor a large part "
        "of it"
    ),
    "progress-slow": Kind(
        "vCPU {vcpu:d}: its first beat came {progress_ns:d} ns after its first entry, longer than "
        "its blackout of {blackout_ns:d}: one of the two may be wrong"
    ),
    "scheduler-lost": Kind("{records:d} records of the scheduler were lost"),
    "scheduler-late": Kind("scheduler tracing started after the blackout had begun"),
}

_STREAMS = {
    "stream-lost": Kind("stream {stream}: {lost:d} of the numbers {first:d} to {last:d} were lost"),
    "stream-repeated": Kind("stream {stream}: {repeated:d} numbers arrived twice or out of order"),
    "stream-wrong": Kind(
        "stream {stream}: {blocks:d} blocks came back with other contents, or failed"
    ),
    "stream-disordered": Kind("stream {stream}: its arrivals are not in order of time"),
    "stream-torn": Kind("stream {stream}: {bytes:d} bytes were cut off when a connection ended"),
    "stream-ended": Kind(
        "stream {stream} does not continue in new QEMU: {after:d} numbers arrived after the "
        "blackout"
    ),
    "stream-gap-short": Kind(
        "stream {stream}: its longest gap of {gap_ns:d} ns is shorter than the blackout of "
        "{blackout_ns:d}"
    ),
    "stream-gap-missing": Kind(
        "stream {stream}: no gap was seen, but the blackout was {blackout_ns:d} ns"
    ),
}

_PRESENT = {
    **_FREE, **_HARM, **_DEATHS, **_INCOMPLETE, **_PROMISES, **_CONTRADICTIONS, **_INCONSISTENT,
    **_WARNINGS, **_STREAMS,
    **PROOF_KINDS,
}  # fmt: skip

KINDS: dict[str, Kind] = {
    code: replace(kind, former=(*kind.former, *FORMER.get(code, ())), harm=HARMS[code])
    for code, kind in _PRESENT.items()
}

__all__ = ["KINDS", "Kind"]
