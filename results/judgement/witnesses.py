"""The witnesses of one pause, and the contradictions between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from results.records.observations import ObservedGap
from results.records.reasons import Reason, because
from results.records.recording import Recording
from results.records.run import Witnesses
from results.timeline.moments import Marks
from results.timeline.order import CheckedMarks

from .blackout import Blackout, Pause
from .guest_clock import GuestView

# How much witnesses may differ before they contradict each other. A guest whose clock freezes
# misses up to one logging threshold (200 µs) of the pause in addition to the sampling noise.
TOLERANCE_NS = 100_000
FROZEN_TOLERANCE_NS = 350_000
# From a vCPU's first entry to its first beat: 0.1 to 0.6 ms, and 22 ms on a busy host. Beyond that
# it takes page faults, some 10 us each and more where they fetch pages, or a wait for a CPU.
MOST_PROGRESS_NS = 50_000_000
_FAULT_NS = 100_000
# Below this it may be longer than the blackout without a warning.
SLOW_PROGRESS_NS = 10_000_000


def testify(
    recording: Recording,
    marks: Marks,
    pauses: Sequence[Pause],
    blackout: Blackout,
    qmp_ns: int | None,
    guest_gap_ns: int | None,
) -> Witnesses:
    """What each witness saw; `qmp_ns` and `guest_gap_ns` are what QMP and the guest say."""
    entries = [
        bracket.entry_first_entry_ns - bracket.entry_last_exit_ns
        for bracket in recording.brackets
        if bracket.entry_first_entry_ns is not None and bracket.entry_last_exit_ns is not None
    ]
    stopped, resumed = marks.old("pause_vcpus", "return"), marks.new("resume_vcpus", "enter")
    downtime = recording.migrate_info.get("downtime")
    return Witnesses(
        kvm=blackout.length_ns if recording.scenario.accel == "kvm" else None,
        kvm_entry=max(entries) if entries and len(entries) == len(recording.brackets) else None,
        uprobe=resumed - stopped if stopped is not None and resumed is not None else None,
        qmp=qmp_ns,
        qemu=downtime * 1_000_000 if downtime is not None else None,
        guest=guest_gap_ns,
        observer=_observer(recording, pauses),
    )


def _observer(recording: Recording, pauses: Sequence[Pause]) -> int | None:
    """The longest gap that the observer saw around a blackout; None if it cannot testify."""
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
    """The observer's gap around a vCPU's blackout, if the observer was running at both ends.

    An observer that waited for a CPU for longer than the tolerance does not testify.
    """
    around = [
        gap
        for gap in gaps
        if gap.vcpu == pause.vcpu and gap.last_ns < pause.end_ns and gap.first_ns > pause.start_ns
    ]
    best = max(around, key=lambda gap: gap.length_ns, default=None)
    return best if best is not None and best.reach_ns <= TOLERANCE_NS else None


def contradictions(
    recording: Recording,
    marks: CheckedMarks,
    pauses: Sequence[Pause],
    views: Mapping[int, GuestView | None],
    blackout: Blackout,
    witnesses: Witnesses,
) -> tuple[Reason, ...]:
    """Contradictions between witnesses; none if the blackout is unknown.

    QEMU's functions and QMP's events lie inside the blackout, so they may be shorter but not
    longer; the guest's gap lies around it, so it may be longer but not shorter. QEMU's `downtime`
    is a claim under test and need not agree.
    """
    length = blackout.length_ns
    if length is None:
        return ()
    inner = {"uprobe": witnesses.uprobe, "qmp": witnesses.qmp}
    found = [
        because("pause-too-long", witness=name, pause_ns=value, blackout_ns=length)
        for name, value in inner.items()
        if value is not None and value > length + TOLERANCE_NS
    ]
    for pause in pauses:
        found += _against_observer(recording, pause, views.get(pause.vcpu))
        found += _against_marks(recording, marks, pause)
        found += _against_entries(recording, pause)
        found += _against_steps(recording, pause)
        if pause.vcpu in views:
            found += _against_guest(recording, pause, views[pause.vcpu])
    return tuple(found)


def odd_testimony(pauses: Sequence[Pause], views: Mapping[int, GuestView | None]) -> list[Reason]:
    """What is no contradiction, but hard to believe."""
    found = []
    for pause in pauses:
        view = views.get(pause.vcpu)
        progress = view.first_beat_ns - pause.end_ns if view else 0
        if progress > max(SLOW_PROGRESS_NS, pause.length_ns):
            found.append(
                because(
                    "progress-slow",
                    vcpu=pause.vcpu,
                    progress_ns=progress,
                    blackout_ns=pause.length_ns,
                )
            )
    odd = {view.step_ns for view in views.values() if view and view.clock == "unknown"}
    return found + [because("clock-odd", step_ns=step) for step in sorted(odd)]


def _against_observer(
    recording: Recording, pause: Pause, view: GuestView | None
) -> Iterator[Reason]:
    """The observer's gap covers the blackout, and is as long as the guest's own gap."""
    gap = _observed(recording.observed or (), pause)
    if gap is None:
        return
    allowed = TOLERANCE_NS + gap.reach_ns
    early, late = gap.last_ns - gap.last_reach_ns, gap.first_ns
    seen = {"vcpu": pause.vcpu, "gap_ns": gap.length_ns}
    if early > pause.start_ns + allowed or late < pause.end_ns - allowed:
        yield because("observer-elsewhere", **seen, blackout_ns=pause.length_ns)
    if view is None or view.clock != "runs":
        return
    if abs(gap.length_ns - view.gap_ns) > allowed + TOLERANCE_NS:
        yield because("observer-disagrees", **seen, guest_ns=view.gap_ns)


def _against_marks(recording: Recording, marks: CheckedMarks, pause: Pause) -> Iterator[Reason]:
    """No vCPU runs between old QEMU's stop and new QEMU's start."""
    vm_start, vm_stop = marks.seen.new("vm_start", "enter"), marks.seen.old("vm_stop", "enter")
    if recording.scenario.mode == "snapshot":  # `stop` does not call vm_stop_force_state
        vm_stop = marks.seen.old("pause_vcpus", "enter")
    paused = marks.trusted.old("pause_vcpus", "return")
    resumed = marks.trusted.new("resume_vcpus", "enter")
    if vm_start is not None and pause.end_ns < vm_start:
        yield because("entered-before-start", vcpu=pause.vcpu)
    elif resumed is not None and pause.end_ns < resumed:
        yield because("entered-before-resume", vcpu=pause.vcpu)
    if paused is not None and pause.start_ns > paused:
        yield because("left-after-stop", vcpu=pause.vcpu)
    # A guest that drives devices under TCG leaves cpu_exec for each access, and may then wait for
    # the BQL until it is stopped: that is part of the blackout.
    waits = recording.streams is not None and recording.scenario.accel == "tcg"
    if vm_stop is not None and not waits and pause.start_ns < vm_stop - TOLERANCE_NS:
        yield because("left-before-stop", vcpu=pause.vcpu)


def _against_entries(recording: Recording, pause: Pause) -> Iterator[Reason]:
    """KVM enters the guest within KVM_RUN, so its own pause lies around the blackout."""
    for bracket in recording.brackets:
        left, entered = bracket.entry_last_exit_ns, bracket.entry_first_entry_ns
        if bracket.index != pause.vcpu or left is None or entered is None:
            continue
        if left > pause.start_ns + TOLERANCE_NS or entered < pause.end_ns - TOLERANCE_NS:
            yield because(
                "entry-inside",
                vcpu=pause.vcpu,
                pause_ns=entered - left,
                blackout_ns=pause.length_ns,
            )


def _against_steps(recording: Recording, pause: Pause) -> Iterator[Reason]:
    """The guest runs in old QEMU until `migrate` is sent, and in new before all is done."""
    sent, done = recording.steps.get("migrate"), recording.steps.get("done")
    if sent is not None and pause.start_ns < sent:
        yield because("left-before-migrate", vcpu=pause.vcpu)
    if done is not None and pause.end_ns > done:
        yield because("entered-after-end", vcpu=pause.vcpu)


def _against_guest(recording: Recording, pause: Pause, view: GuestView | None) -> Iterator[Reason]:
    """The guest's own gap is no shorter than the blackout, nor longer than can be explained."""
    if view is None:
        overflowed = any(b.gaps_overflowed for b in recording.beats if b.index == pause.vcpu)
        yield because("no-gap-logged" if overflowed else "no-gap", vcpu=pause.vcpu)
        return
    allowed = TOLERANCE_NS if view.clock == "runs" else FROZEN_TOLERANCE_NS
    if view.gap_ns < pause.length_ns - allowed:
        yield because(
            "gap-too-short",
            vcpu=pause.vcpu,
            gap_ns=view.gap_ns,
            blackout_ns=pause.length_ns,
        )
    progress, explained = view.first_beat_ns - pause.end_ns, _explained_ns(recording, pause)
    if progress > explained:
        yield because(
            "progress-unexplained", vcpu=pause.vcpu, progress_ns=progress, explained_ns=explained
        )


def _explained_ns(recording: Recording, pause: Pause) -> int:
    """The longest first progress that what was recorded of the host can explain."""
    faults = sum(b.host_faults or 0 for b in recording.brackets if b.index == pause.vcpu)
    waits = (recording.host.waiting_ns or 0) + recording.host.steal_ns
    return MOST_PROGRESS_NS + faults * _FAULT_NS + waits
