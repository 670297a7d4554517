"""From the evidence of one transfer to its judgement: a pure function, used live and in replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from .attribution import attribute
from .brownout import follow, worst
from .cpr_stream import carried_descriptors, ram_maps
from .device import device_continuity
from .evidence import Proof
from .guest_clock import GuestView, guest_views
from .known_failures import explained
from .phase_spans import Marks, build_spans
from .phases import MARKS
from .proof import judge_proof
from .records import (
    SCHEMA,
    ObservedGap,
    Process,
    Recording,
    Run,
    Scenario,
    VcpuBracket,
    Witnesses,
)
from .vfio import vfio_calls

# How far witnesses may be apart before the run is doubted. A guest whose clock freezes cannot
# see up to one logging threshold (200 µs) of the pause on top of the sampling noise.
TOLERANCE_NS = 100_000
FROZEN_TOLERANCE_NS = 350_000


@dataclass(frozen=True, slots=True)
class Pause:
    """One vCPU's blackout (host ns)."""

    vcpu: int
    start_ns: int
    end_ns: int
    new_tid: int  # the thread whose entry into the guest ended it

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


def dimensions(scenario: Scenario) -> str:
    """All that must be equal for two runs to be compared, as text that sorts and prints."""
    fields = asdict(scenario)
    fields.pop("about")
    # What earlier versions did not know is told only where it is used: their runs stay comparable.
    for name in ("vfio", "devices", "no_mmap", "spare_devices"):
        if not fields[name]:
            fields.pop(name)
    return " ".join(f"{name}={fields[name]}" for name in sorted(fields))


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
    )
    marks = Marks(recording.events, recording.old.pid, recording.new.pid)
    fds, descriptor_doubts = carried_descriptors(
        recording.events, recording.old.pid, recording.new.pid
    )
    run = replace(
        run,
        fds=fds,
        ram_maps=ram_maps(recording.events, recording.new.pid, fds),
        stop_position=marks.stop_position(),
    )
    pauses, gone = _pauses(recording.brackets, recording.scenario.vcpus)
    run = _with_pause(run, recording, marks, pauses)
    views = _guest_views(recording, pauses)
    run = _with_guest(run, recording, pauses, views)
    run = _with_brownout(run, recording, views)
    run = replace(run, witnesses=_witnesses(run, recording, marks, pauses))
    run = replace(run, device=device_continuity(recording, _window(run)))
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
    disagreements = _disagreements(run, recording, marks, pauses, views)
    reasons = [
        *_harm(recording),
        *(gone if recording.probed and not recording.failure else ()),
        *_incomplete(recording, run, descriptor_doubts),
        *disagreements,
        *(run.device.troubles if run.device is not None else ()),
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


# -- witnesses ------------------------------------------------------------------------------


def _witnesses(run: Run, recording: Recording, marks: Marks, pauses: list[Pause]) -> Witnesses:
    entries = [
        bracket.entry_first_entry_ns - bracket.entry_last_exit_ns
        for bracket in recording.brackets
        if bracket.entry_first_entry_ns is not None and bracket.entry_last_exit_ns is not None
    ]
    stopped, resumed = marks.old("pause_vcpus", "return"), marks.new("resume_vcpus", "enter")
    stop = next((q.wall_us for q in recording.qmp if q.side == "old" and q.name == "STOP"), None)
    resume = next(
        (q.wall_us for q in recording.qmp if q.side == "new" and q.name == "RESUME"), None
    )
    downtime = recording.migrate_info.get("downtime")
    return Witnesses(
        kvm=run.blackout_ns if recording.scenario.accel == "kvm" else None,
        kvm_entry=max(entries) if entries and len(entries) == len(recording.brackets) else None,
        uprobe=resumed - stopped if stopped is not None and resumed is not None else None,
        qmp=(resume - stop) * 1000 if stop is not None and resume is not None else None,
        qemu=downtime * 1_000_000 if downtime is not None else None,
        guest=run.guest_gap_ns,
        observer=_observer(recording, pauses),
    )


def _observer(recording: Recording, pauses: list[Pause]) -> int | None:
    """The longest gap that the observer saw around a blackout; None where it cannot testify."""
    if not recording.observed:
        return None
    found = [_observed(recording.observed, pause) for pause in pauses]
    if recording.probed and not found:
        return None
    if not found:  # nothing was traced: the longest of each vCPU
        found = [
            max((g for g in recording.observed if g.vcpu == v), key=lambda g: g.length_ns)
            for v in sorted({g.vcpu for g in recording.observed})
        ]
    lengths = [gap.length_ns for gap in found if gap is not None]
    return max(lengths) if len(lengths) == recording.scenario.vcpus else None


def _observed(gaps: tuple[ObservedGap, ...], pause: Pause) -> ObservedGap | None:
    """The observer's gap around a vCPU's blackout, if it was awake at both of its ends.

    An observer that waited for a CPU for longer than the tolerance testifies to nothing.
    """
    around = [
        gap
        for gap in gaps
        if gap.vcpu == pause.vcpu and gap.last_ns < pause.end_ns and gap.first_ns > pause.start_ns
    ]
    best = max(around, key=lambda gap: gap.length_ns, default=None)
    return best if best is not None and best.reach_ns <= TOLERANCE_NS else None


def _disagreements(
    run: Run,
    recording: Recording,
    marks: Marks,
    pauses: list[Pause],
    views: dict[int, GuestView | None],
) -> list[str]:
    """What cannot be true together.

    QEMU's functions and QMP's events lie inside the blackout, so they may be shorter and never
    longer; the guest's gap lies around it, so it may be longer and never shorter. QEMU's
    `downtime` is a claim to be judged, not a witness to agree with.
    """
    if run.blackout_ns is None:
        return []
    found = []
    overflowed = {beats.index for beats in recording.beats if beats.gaps_overflowed}
    inner = {"uprobe": run.witnesses.uprobe, "qmp": run.witnesses.qmp}
    for name, value in inner.items():
        if value is not None and value > run.blackout_ns + TOLERANCE_NS:
            found.append(
                f"{name} saw a pause of {value} ns, longer than the blackout of {run.blackout_ns}"
            )
    vm_start, vm_stop = marks.new("vm_start", "enter"), marks.old("vm_stop", "enter")
    for pause in pauses:
        found += _against_observer(recording, pause, views.get(pause.vcpu))
        if vm_start is not None and pause.end_ns < vm_start:
            found.append(f"vCPU {pause.vcpu} entered the guest before new QEMU's vm_start")
        if vm_stop is not None and pause.start_ns < vm_stop - TOLERANCE_NS:
            found.append(f"vCPU {pause.vcpu} left the guest for good before old QEMU's vm_stop")
        if pause.vcpu not in views:
            continue
        view = views[pause.vcpu]
        if view is None:
            why = ", as its log of gaps overflowed" if pause.vcpu in overflowed else ""
            found.append(f"vCPU {pause.vcpu}: no gap between beats covers its blackout{why}")
            continue
        allowed = FROZEN_TOLERANCE_NS if view.clock == "freezes" else TOLERANCE_NS
        if view.gap_ns < pause.length_ns - allowed:
            found.append(
                f"vCPU {pause.vcpu}: the guest saw a gap of {view.gap_ns} ns, "
                f"shorter than its blackout of {pause.length_ns}"
            )
    return found


def _against_observer(recording: Recording, pause: Pause, view: GuestView | None) -> list[str]:
    """The observer's gap lies around the blackout, and is the guest's own gap seen from outside."""
    gap = _observed(recording.observed or (), pause)
    if gap is None:
        return []
    found = []
    allowed = TOLERANCE_NS + gap.reach_ns
    early, late = gap.last_ns - gap.last_reach_ns, gap.first_ns
    if early > pause.start_ns + allowed or late < pause.end_ns - allowed:
        found.append(
            f"vCPU {pause.vcpu}: the observer saw a gap of {gap.length_ns} ns that does not hold "
            f"its blackout of {pause.length_ns}"
        )
    if view is None or view.clock == "freezes":
        return found
    if abs(gap.length_ns - view.gap_ns) > allowed + TOLERANCE_NS:
        found.append(
            f"vCPU {pause.vcpu}: the observer saw a gap of {gap.length_ns} ns, the guest one of "
            f"{view.gap_ns}"
        )
    return found


# -- what makes a run invalid ----------------------------------------------------------------


def _harm(recording: Recording) -> list[str]:
    """The transfer failed, or the guest or its RAM did not come through it whole."""
    if recording.failure:
        return [recording.failure]
    found = []
    if recording.old.runstate != "postmigrate":
        found.append(f"old QEMU ended {recording.old.runstate or 'unknown'}, not postmigrate")
    if recording.new.runstate != "running":
        found.append(f"new QEMU ended {recording.new.runstate or 'unknown'}, not running")
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
    if not run.fds:
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
    silent = [mark.name for mark in MARKS if mark.needed and not marks.fired(mark.name)]
    found = [f"mark {name} never fired" for name in silent]
    if recording.skipped:
        found.append(
            f"the kernel left {recording.skipped} probe calls out, of whatever process; a guest "
            "entry or exit among them would show against the guest's own gap"
        )
    return tuple(found)
