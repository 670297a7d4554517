"""From the evidence of one transfer to its judgement: a pure function, used live and in replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from results.causes.attribution import attribute
from results.judgement.promises import broken_promises, old_must_end
from results.qemu.failures import explained
from results.qemu.modes import promise
from results.records.evidence import Proof
from results.records.observations import Stream
from results.records.recording import Process, Recording, VcpuBracket
from results.records.run import SCHEMA, Run
from results.records.scenario import dimensions
from results.timeline.cpr_channel import carried_descriptors, ram_maps
from results.timeline.marks import expected_marks
from results.timeline.phases import Marks, build_spans, sided_events
from results.timeline.vfio_calls import vfio_calls

from .brownout import follow, worst
from .dma_device import device_continuity
from .guest_clock import GuestView, guest_views
from .proof import judge_proof
from .streams import judge_stream
from .witnesses import Pause, contradictions, testify


def judge(recording: Recording) -> Run:
    """Turn the evidence of one transfer into its record.

    A run is `failed` when the transfer failed, when evidence is missing, when witnesses contradict
    each other, or when the guest or its RAM was harmed; whatever could be measured is kept.
    """
    run = Run(
        schema=SCHEMA,
        id=recording.id,
        session=recording.session,
        scenario=recording.scenario.id,
        dimensions=dimensions(recording.scenario),
        boot=recording.boot,
        update=recording.update,
        started_unix_ns=recording.started_unix_ns,
        outcome="completed",
        reason="",
        old_build=recording.old_build,
        new_build=recording.new_build,
        old_pid=recording.old.pid,
        new_pid=recording.new.pid,
        ram=recording.ram,
        host=recording.host,
        migrate_ns=recording.steps.get("migrate"),
        perf=recording.perf,
        aftermath=recording.aftermath,
        plugging=recording.plugging,
    )
    events, old_pid, new_pid = sided_events(recording)
    marks = Marks(events, old_pid, new_pid)
    fds, descriptor_doubts = carried_descriptors(events, old_pid, new_pid)
    run = replace(
        run,
        fds=fds,
        ram_maps=ram_maps(events, new_pid, fds),
        stop_position=marks.stop_position()
        if promise(recording.scenario).descriptors
        else "unknown",
    )
    pauses, gone = _pauses(recording.brackets, recording.scenario.vcpus)
    run = _with_pause(run, recording, marks, pauses)
    views = _guest_views(recording, pauses)
    run = _with_guest(run, recording, pauses, views)
    run = _with_brownout(run, recording, views)
    run = replace(run, witnesses=testify(run, recording, marks, pauses))
    run = replace(run, device=device_continuity(recording, _window(run)))
    run = replace(run, streams=_streams(recording, run))
    if recording.evidence is not None:
        run = replace(
            run,
            proof=judge_proof(
                recording.evidence,
                recording.scenario,
                vfio_calls(recording.events, recording.old.pid, recording.new.pid),
                run.device,
            ),
        )
    disagreements = contradictions(run, recording, marks, pauses, views)
    reasons = [
        *_harm(recording),
        *(gone if recording.probed and not recording.failure else ()),
        *(broken_promises(recording, run) if not recording.failure else ()),
        *_incomplete(recording, run, descriptor_doubts),
        *disagreements,
        *(run.device.troubles if run.device is not None else ()),
        *_stream_troubles(recording, run),
        *_not_proven(run.proof),
    ]
    warnings = list(_warnings(recording, marks))
    if recording.beats and not views:
        warnings.append("the guest's clock could not be read: the guest does not testify")
    run = replace(run, disagreements=tuple(disagreements), warnings=tuple(warnings))
    if reasons:
        log = "\n".join(f"{side}: {p.log_tail}" for side, p in _sides(recording) if p.log_tail)
        run = replace(
            run,
            outcome="failed",
            reason=explained(
                "; ".join(dict.fromkeys(reasons)), log, vfio=bool(recording.scenario.vfio)
            ),
            log_tail=log,
        )
    return run


def _window(run: Run) -> tuple[int, int] | None:
    if run.blackout_ns is None or run.blackout_start_ns is None:
        return None
    return run.blackout_start_ns, run.blackout_start_ns + run.blackout_ns


def _sides(recording: Recording) -> tuple[tuple[str, Process], ...]:
    return (("old", recording.old), ("new", recording.new))


# -- the blackout ---------------------------------------------------------------------------


def _pauses(brackets: tuple[VcpuBracket, ...], vcpus: int) -> tuple[list[Pause], list[str]]:
    """Blackout of every vCPU, and a reason for each that is not there."""
    found, gone = [], []
    for bracket in brackets:
        left, entered = bracket.run_last_exit_ns, bracket.run_first_entry_ns
        if left is None:
            gone.append(f"vCPU {bracket.index} was never seen to leave the guest in old QEMU")
        elif entered is None:
            gone.append(f"vCPU {bracket.index} was never seen to enter the guest in new QEMU")
        elif entered <= left:
            gone.append(
                f"vCPU {bracket.index} entered new QEMU {left - entered} ns before it left old"
            )
        else:
            found.append(Pause(bracket.index, left, entered, bracket.new_tid))
    unwatched = sorted(set(range(vcpus)) - {bracket.index for bracket in brackets})
    gone += [f"vCPU {vcpu} was not watched" for vcpu in unwatched]
    return found, gone


def _with_pause(run: Run, recording: Recording, marks: Marks, pauses: list[Pause]) -> Run:
    lengths = {pause.vcpu: pause.length_ns for pause in pauses}
    run = replace(
        run,
        vcpu_blackouts_ns=tuple(lengths.get(v) for v in range(recording.scenario.vcpus)),
    )
    worst = max(pauses, key=lambda pause: pause.length_ns, default=None)
    window = (worst.start_ns, worst.end_ns) if worst else None
    spans = build_spans(marks, recording.steps, window)
    run = replace(run, spans=spans)
    if worst is None or len(pauses) < recording.scenario.vcpus:
        return run
    first_entry = min(pause.end_ns for pause in pauses)
    sent = recording.steps.get("migrate")
    return replace(
        run,
        blackout_ns=worst.length_ns,
        blackout_start_ns=worst.start_ns,
        skew_ns=worst.length_ns - min(lengths.values()),
        dark_ns=max(0, first_entry - max(pause.start_ns for pause in pauses)),
        handover_ns=first_entry - sent if sent is not None else None,
        residual_ns=worst.length_ns - sum(span.blackout_ns for span in spans),
        attribution=attribute(recording, (worst.start_ns, worst.end_ns), worst.new_tid),
    )


# -- the guest's own view --------------------------------------------------------------------


def _guest_views(recording: Recording, pauses: list[Pause]) -> dict[int, GuestView | None]:
    brackets = {pause.vcpu: (pause.start_ns, pause.end_ns) for pause in pauses}
    return guest_views(recording.beats, recording.tick_ns, brackets)


def _with_guest(
    run: Run, recording: Recording, pauses: list[Pause], views: dict[int, GuestView | None]
) -> Run:
    seen = {vcpu: view for vcpu, view in views.items() if view is not None}
    if not seen:
        return run
    clocks = {view.clock for view in seen.values()}
    run = replace(run, guest_clock=clocks.pop() if len(clocks) == 1 else "unknown")
    run = replace(run, clock_step_ns=max((v.step_ns for v in seen.values()), key=abs))
    if len(seen) < recording.scenario.vcpus:
        return run
    progress = {
        pause.vcpu: seen[pause.vcpu].first_beat_ns - pause.end_ns
        for pause in pauses
        if pause.vcpu in seen
    }
    return replace(
        run,
        guest_gap_ns=max(view.gap_ns for view in seen.values()),
        vcpu_guest_gaps_ns=tuple(seen[v].gap_ns for v in sorted(seen)),
        first_progress_ns=max(0, max(progress.values())) if progress else None,
        guest_handover_ns=max(view.first_beat_ns for view in seen.values()) - run.migrate_ns
        if run.migrate_ns is not None
        else None,
    )


def _with_brownout(run: Run, recording: Recording, views: dict[int, GuestView | None]) -> Run:
    found = []
    for beats in recording.beats:
        view = views.get(beats.index)
        if view is None or view.ticks is None or beats.ring is None:
            return run  # one vCPU that is not known may be the slowest
        found.append(follow(beats.ring, *view.ticks, recording.tick_ns))
    slowest = worst(found) if all(found) else None
    if slowest is None:
        return run
    return replace(
        run,
        brownout_ns=slowest.length_ns,
        brownout_watched_ns=slowest.watched_ns,
        beats_lost=slowest.beats_lost,
        beats_per_s=round(slowest.beats_per_s, 1),
        host_faults=_sum(bracket.host_faults for bracket in recording.brackets),
        guest_faults=_sum(bracket.guest_faults for bracket in recording.brackets),
    )


def _sum(values: Iterable[int | None]) -> int | None:
    """Sum of values that are all known; None without any."""
    known = list(values)
    return sum(v for v in known if v is not None) if known and None not in known else None


# -- a guest that drives ordinary devices -----------------------------------------------------


def _streams(recording: Recording, run: Run) -> tuple[Stream, ...]:
    resumed = recording.steps.get("completed", 0)
    return tuple(judge_stream(log, _window(run), resumed) for log in recording.streams or ())


def _stream_troubles(recording: Recording, run: Run) -> list[str]:
    if recording.streams is None or recording.failure:
        return []
    if not recording.streams:
        return ["no stream of the guest was seen"]
    return [trouble for stream in run.streams for trouble in stream.troubles]


# -- what makes a run invalid ----------------------------------------------------------------


def _harm(recording: Recording) -> list[str]:
    """The transfer failed, or the guest or its RAM did not come through it whole."""
    if recording.failure:
        return [recording.failure]
    found = []
    ends = old_must_end(recording.scenario.mode)
    if recording.old.runstate != ends:
        found.append(f"old QEMU ended {recording.old.runstate or 'unknown'}, not {ends}")
    if recording.new.runstate != "running":
        found.append(f"new QEMU ended {recording.new.runstate or 'unknown'}, not running")
    if recording.streams is not None:  # which testify instead of the payload
        return found
    for beats in recording.beats:
        if beats.beats_after == beats.beats_before:
            found.append(f"vCPU {beats.index} stands still in new QEMU")
        if beats.pattern_errors:
            found.append(
                f"vCPU {beats.index} found {beats.pattern_errors} changed words in its RAM, "
                f"first {beats.first_error}"
            )
    if len(recording.beats) != recording.scenario.vcpus:
        found.append("the guest was not seen to beat on every vCPU")
    if recording.ram is None:
        found.append("guest RAM was not checked")
    elif recording.ram.bad_pages:
        found.append(
            f"{recording.ram.bad_pages} of {recording.ram.pages} checked pages of guest RAM "
            f"changed, first {recording.ram.first_bad}"
        )
    return found


def _incomplete(recording: Recording, run: Run, descriptor_doubts: tuple[str, ...]) -> list[str]:
    """Evidence that is not all there, so that what remains proves nothing."""
    if recording.failure:
        return []
    if not recording.probed:
        seen = run.guest_gap_ns is not None or run.blackout_ns is not None
        return [] if seen else ["nothing was traced and no gap was seen"]
    found = []
    if recording.lost:
        found.append(f"{recording.lost} probe records were lost")
    found += descriptor_doubts
    if not run.fds and promise(recording.scenario).descriptors:
        found.append("no descriptor was seen on the cpr channel")
    return found


def _not_proven(proof: Proof | None) -> list[str]:
    """A broken proof fails its run; one that is merely unproven says so and does not."""
    if proof is None or proof.verdict != "broken":
        return []
    return [f"proof broken: {proof.reason}"]


def _warnings(recording: Recording, marks: Marks) -> tuple[str, ...]:
    """What did not fire although it was probed; it makes phases missing, not numbers wrong."""
    if recording.failure or not recording.probed:
        return ()
    silent = [name for name in expected_marks(recording.scenario.mode) if not marks.fired(name)]
    found = [f"mark {name} never fired" for name in silent]
    if recording.skipped:
        found.append(
            f"the kernel left {recording.skipped} probe calls out, of whatever process; a guest "
            "entry or exit among them would show against the guest's own gap"
        )
    return tuple(found)
