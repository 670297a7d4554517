"""The judgement of one transfer from its evidence: a pure function, used live and in replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from results.qemu.failures import known_failure
from results.qemu.modes import promise
from results.records.evidence import Proof
from results.records.observations import DeviceContinuity, Stream
from results.records.reasons import Reason, cut, joined, read_reason
from results.records.recording import Recording
from results.records.run import SCHEMA, CarriedFd, RamMap, Run, Witnesses
from results.records.scenario import dimensions
from results.timeline.cpr_channel import carried_descriptors, ram_maps
from results.timeline.moments import Marks, transfer_events
from results.timeline.order import CheckedMarks, check_marks
from results.timeline.vfio_calls import VfioCalls, vfio_calls

from .blackout import Blackout, Pause, find_blackout, find_pauses
from .brownout import Restoration, restoration
from .consistency import inconsistencies
from .dma_device import device_continuity
from .guest_clock import GuestPause, GuestView, guest_pause, guest_views
from .promises import broken_promises
from .proof import judge_proof
from .qmp_pause import qmp_pause
from .rollback import rollback
from .streams import judge_stream
from .validity import harm, incomplete, not_proven, stream_troubles, warnings
from .witnesses import contradictions, odd_testimony, testify


@dataclass(frozen=True, slots=True)
class _Traced:
    """Results of the probes' events."""

    marks: CheckedMarks
    fds: tuple[CarriedFd, ...]
    descriptor_doubts: tuple[Reason, ...]
    ram_maps: tuple[RamMap, ...]
    stop_position: str


@dataclass(frozen=True, slots=True)
class _Standstill:
    """How long the guest did not run, by all witnesses."""

    pauses: tuple[Pause, ...]
    gone: tuple[Reason, ...]  # for each vCPU whose pause is unknown
    blackout: Blackout
    views: Mapping[int, GuestView | None]
    guest: GuestPause
    restoration: Restoration
    witnesses: Witnesses
    qmp_warnings: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class _Continuity:
    """What survived the transfer: the driven device, numbered streams, RAM and descriptors."""

    device: DeviceContinuity | None
    streams: tuple[Stream, ...]
    proof: Proof | None


def judge(recording: Recording) -> Run:
    """Turn the evidence of one transfer into its record.

    A run is `failed` if the transfer failed, evidence is missing, witnesses contradict each other,
    or the guest or its RAM was harmed; everything that could be measured is kept.
    """
    traced = _traced(recording)
    still = _standstill(recording, traced.marks.trusted)
    went_on = _continuity(recording, still.blackout.window)
    disagreements = contradictions(
        recording, traced.marks, still.pauses, still.views, still.blackout, still.witnesses
    )
    reasons = _reasons(recording, traced, still, went_on, disagreements)
    log = _log(recording) if reasons else ""
    if reasons:
        vfio = bool(recording.scenario.vfio)
        reasons += known_failure(joined(reasons), log, vfio=vfio)
    doubts = warnings(recording, traced.marks.warnings, clock_read=bool(still.views))
    doubts += [*odd_testimony(still.pauses, still.views), *still.qmp_warnings]
    blackout, guest, restored = still.blackout, still.guest, still.restoration
    return Run(
        schema=SCHEMA,
        id=recording.id,
        session=recording.session,
        scenario=recording.scenario.id,
        dimensions=dimensions(recording.scenario),
        boot=recording.boot,
        update=recording.update,
        started_unix_ns=recording.started_unix_ns,
        outcome="failed" if reasons else "completed",
        reason=joined(reasons),
        old_build=recording.old_build,
        new_build=recording.new_build,
        old_pid=recording.old.pid,
        new_pid=recording.new.pid,
        blackout_ns=blackout.length_ns,
        blackout_start_ns=blackout.start_ns,
        migrate_ns=recording.steps.get("migrate"),
        vcpu_blackouts_ns=blackout.vcpus_ns,
        first_progress_ns=guest.first_progress_ns,
        guest_gap_ns=guest.gap_ns,
        guest_handover_ns=guest.handover_ns,
        vcpu_guest_gaps_ns=guest.vcpu_gaps_ns,
        brownout_ns=restored.brownout_ns,
        brownout_watched_ns=restored.watched_ns,
        beats_lost=restored.beats_lost,
        beats_per_s=restored.beats_per_s,
        host_faults=restored.host_faults,
        guest_faults=restored.guest_faults,
        guest_clock=guest.clock,
        clock_step_ns=guest.clock_step_ns,
        skew_ns=blackout.skew_ns,
        dark_ns=blackout.dark_ns,
        handover_ns=blackout.handover_ns,
        residual_ns=blackout.residual_ns,
        witnesses=still.witnesses,
        disagreements=_texts(disagreements),
        spans=blackout.spans,
        fds=traced.fds,
        ram_maps=traced.ram_maps,
        ram=recording.ram,
        host=recording.host,
        perf=recording.perf,
        warnings=_texts(doubts),
        log_tail=log,
        proof=went_on.proof,
        device=went_on.device,
        stop_position=traced.stop_position,
        attribution=blackout.attribution,
        aftermath=recording.aftermath,
        plugging=recording.plugging,
        streams=went_on.streams,
        rollback=rollback(recording, traced.marks.seen),
        reasons=reasons,
    )


def _traced(recording: Recording) -> _Traced:
    events, old_pid, new_pid = transfer_events(recording)
    checked = check_marks(recording)
    fds, doubts = carried_descriptors(events, old_pid, new_pid)
    carries = promise(recording.scenario).descriptors
    position = checked.trusted.stop_position() if carries else "unknown"
    return _Traced(checked, fds, doubts, ram_maps(events, new_pid, fds), position)


def _standstill(recording: Recording, marks: Marks) -> _Standstill:
    vcpus = recording.scenario.vcpus
    pauses, gone = find_pauses(recording.brackets, vcpus)
    blackout = find_blackout(recording, marks, pauses)
    brackets = {pause.vcpu: (pause.start_ns, pause.end_ns) for pause in pauses}
    views = guest_views(recording.beats, recording.tick_ns, brackets)
    guest = guest_pause(views, brackets, vcpus, recording.steps.get("migrate"))
    qmp = qmp_pause(recording, marks)
    witnesses = testify(recording, marks, pauses, blackout, qmp.length_ns, guest.gap_ns)
    restored = restoration(recording, views)
    return _Standstill(pauses, gone, blackout, views, guest, restored, witnesses, qmp.warnings)


def _continuity(recording: Recording, blackout: tuple[int, int] | None) -> _Continuity:
    device = device_continuity(recording, blackout)
    resumed = recording.steps.get("completed", 0)
    logs = recording.streams or ()
    streams = tuple(judge_stream(log, blackout, resumed) for log in logs)
    if recording.evidence is None:
        return _Continuity(device, streams, None)
    calls: VfioCalls | None = vfio_calls(*transfer_events(recording))
    if recording.lost and calls is not None and not (calls.mapped or calls.unmapped):
        calls = None  # what was not seen may have been lost
    proof = judge_proof(recording.evidence, recording.scenario, calls, device)
    return _Continuity(device, streams, proof)


def _reasons(
    recording: Recording,
    traced: _Traced,
    still: _Standstill,
    went_on: _Continuity,
    disagreements: Iterable[Reason],
) -> tuple[Reason, ...]:
    """Why the run is invalid, without duplicates."""
    window = still.blackout.window
    pause_seen = still.guest.gap_ns is not None or window is not None
    found = harm(recording)
    if not recording.failure:
        found += inconsistencies(recording, still.blackout.handover_ns)
        found += still.gone if recording.probed else ()
        found += broken_promises(recording, traced.fds, window)
        found += incomplete(recording, traced.fds, traced.descriptor_doubts, pause_seen=pause_seen)
    found += disagreements
    found += map(read_reason, went_on.device.troubles) if went_on.device is not None else ()
    if not recording.failure:
        found += stream_troubles(recording, went_on.streams)
    once = {reason.text: reason for reason in found}
    return (*cut(once.values()), *not_proven(went_on.proof))


def _texts(reasons: Iterable[Reason]) -> tuple[str, ...]:
    return tuple(reason.text for reason in reasons)


def _log(recording: Recording) -> str:
    sides = (("old", recording.old), ("new", recording.new))
    return "\n".join(f"{side}: {process.log_tail}" for side, process in sides if process.log_tail)
