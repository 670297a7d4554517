"""Witnesses of one pause side by side, and what cannot be true together."""

from __future__ import annotations

from dataclasses import dataclass

from results.records.observations import ObservedGap
from results.records.recording import Recording
from results.records.run import Run, Witnesses
from results.timeline.phases import Marks

from .guest_clock import GuestView

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


def testify(run: Run, recording: Recording, marks: Marks, pauses: list[Pause]) -> Witnesses:
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


def contradictions(
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
    if recording.scenario.mode == "snapshot":  # `stop` is another function than the save's own
        vm_stop = marks.old("pause_vcpus", "enter")
    for pause in pauses:
        found += _against_observer(recording, pause, views.get(pause.vcpu))
        if vm_start is not None and pause.end_ns < vm_start:
            found.append(f"vCPU {pause.vcpu} entered the guest before new QEMU's vm_start")
        # A guest that drives devices under TCG leaves cpu_exec for each access, and may then wait
        # for QEMU's lock until it is stopped: that is blackout too.
        waits = recording.streams is not None and recording.scenario.accel == "tcg"
        if vm_stop is not None and not waits and pause.start_ns < vm_stop - TOLERANCE_NS:
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
