"""What makes a run invalid, and what is only a warning: as reasons, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from results.qemu.modes import promise
from results.records.evidence import Proof
from results.records.observations import RamCheck, Stream, VcpuBeats
from results.records.reasons import (
    FAILED,
    OTHER,
    PROOF_BROKEN,
    Reason,
    because,
    read_reason,
    read_reasons,
)
from results.records.recording import Recording
from results.records.run import CarriedFd

from .guest_clock import tick_difference
from .promises import old_must_end


def harm(recording: Recording) -> list[Reason]:
    """The transfer failed, or it harmed the guest or its RAM."""
    if recording.failure:
        found = [_failure(reason) for reason in read_reasons(recording.failure)]
        return [*found, *_lost(recording), *_changed_ram(recording.ram)]
    found = []
    ends, old, new = (
        old_must_end(recording.scenario.mode), recording.old.runstate, recording.new.runstate
    )  # fmt: skip
    if old != ends:
        found.append(because("old-not-ended", state=old or "unknown", expected=ends))
    if new != "running":
        found.append(because("new-not-running", state=new or "unknown"))
    if recording.streams is None:  # else the streams testify instead of the payload
        found += _harm_to_the_guest(recording)
    return found


def _failure(reason: Reason) -> Reason:
    """A part of a failure: QEMU's words, unless the driver stated it as a kind of its own."""
    return because(FAILED, said=reason.text) if reason.code == OTHER else reason


def _lost(recording: Recording) -> list[Reason]:
    """Whether a guest was there to be updated, and ran in neither QEMU after the failure."""
    old, new = recording.old.runstate, recording.new.runstate
    if recording.continued_in in ("old", "new") or not recording.old.pid:
        return []
    if old in ("", "running") and recording.continued_in == "unknown":  # or it was not examined
        return []
    # The state of new QEMU says that it lets the guest run, the testimony that it does.
    if new == "running" and (recording.beats or recording.streams):
        return []
    return [because("guest-lost", old=old, new=new or "unknown")]


def _harm_to_the_guest(recording: Recording) -> list[Reason]:
    found = [reason for beats in recording.beats for reason in _harm_to_a_vcpu(beats)]
    if {beats.index for beats in recording.beats} != set(range(recording.scenario.vcpus)):
        found.append(because("beats-missing"))
    ram = recording.ram
    if ram is None:
        found.append(because("ram-unchecked"))
    elif ram.pages <= 0:
        found.append(because("ram-empty"))
    return found + _changed_ram(ram)


def _changed_ram(ram: RamCheck | None) -> list[Reason]:
    if ram is None or not ram.bad_pages:
        return []
    return [because("ram-changed", bad=ram.bad_pages, pages=ram.pages, first=ram.first_bad)]


def _harm_to_a_vcpu(beats: VcpuBeats) -> list[Reason]:
    found = []
    before, after = beats.beats_before, beats.beats_after
    if after == before:
        found.append(because("vcpu-still", vcpu=beats.index))
    elif tick_difference(after, before) < 0:
        found.append(because("vcpu-reset", vcpu=beats.index, before=before, after=after))
    if beats.pattern_errors:
        found.append(
            because(
                "words-changed",
                vcpu=beats.index,
                words=beats.pattern_errors,
                first=beats.first_error,
            )
        )
    return found


def incomplete(
    recording: Recording,
    fds: Sequence[CarriedFd],
    descriptor_doubts: Sequence[Reason],
    *,
    pause_seen: bool,
) -> list[Reason]:
    """Missing evidence, without which the rest proves nothing.

    `pause_seen` is whether the probes, or a witness that needs no probes, saw a pause.
    """
    found = list(map(read_reason, recording.lost_witnesses))
    if not recording.probed:
        return found if pause_seen else [*found, because("nothing-seen")]
    if recording.lost:
        # Any descriptor may be among them: what else is missing says nothing more.
        return [*found, because("records-lost", records=recording.lost)]
    found += descriptor_doubts
    if not fds and promise(recording.scenario).descriptors:
        found.append(because("no-descriptor"))
    return found


def stream_troubles(recording: Recording, streams: Sequence[Stream]) -> list[Reason]:
    """What the streams of a guest that drives ordinary devices lost, or that there were none."""
    if recording.streams is None:
        return []
    if not recording.streams:
        return [because("no-stream")]
    return [read_reason(trouble) for stream in streams for trouble in stream.troubles]


def not_proven(proof: Proof | None) -> tuple[Reason, ...]:
    """A broken proof fails its run; one that is only unproven does not."""
    if proof is None or proof.verdict != "broken":
        return ()
    return read_reasons(PROOF_BROKEN + proof.reason)


def warnings(recording: Recording, of_marks: Iterable[Reason], *, clock_read: bool) -> list[Reason]:
    """Missing phases or witnesses, which make no number wrong; `of_marks` are those of marks."""
    found = list(of_marks)
    if recording.probed and not recording.failure and recording.skipped:
        found.append(because("probes-skipped", calls=recording.skipped))
    if recording.controller_stops:
        found.append(because("controller-stopped", times=recording.controller_stops))
    if recording.beats and not clock_read:
        found.append(because("clock-unread"))
    return found
