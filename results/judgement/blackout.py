"""The blackout: how long each vCPU, and thereby the VM, did not run, by the host's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.causes.attribution import attribute
from results.records.reasons import Reason, because
from results.records.recording import Recording, VcpuBracket
from results.records.run import Span
from results.records.scheduler import Attribution
from results.timeline.moments import Marks
from results.timeline.phases import build_spans


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


@dataclass(frozen=True, slots=True)
class Blackout:
    """The VM's blackout, which is the longest blackout of any vCPU; ns.

    `window` is its start and end on the host's clock. This and all later fields are None if some
    vCPU's blackout is unknown, as it might be the longest; the spans then have the shares of the
    longest known one.
    """

    vcpus_ns: tuple[int | None, ...]
    spans: tuple[Span, ...]
    window: tuple[int, int] | None = None
    skew_ns: int | None = None
    dark_ns: int | None = None
    handover_ns: int | None = None
    residual_ns: int | None = None
    attribution: Attribution | None = None

    @property
    def start_ns(self) -> int | None:
        return self.window[0] if self.window else None

    @property
    def length_ns(self) -> int | None:
        return self.window[1] - self.window[0] if self.window else None


def find_pauses(
    brackets: tuple[VcpuBracket, ...], vcpus: int
) -> tuple[tuple[Pause, ...], tuple[Reason, ...]]:
    """Blackout of every vCPU, and a reason for each that is unknown."""
    found: list[Pause] = []
    gone: list[Reason] = []
    for bracket in brackets:
        left, entered = bracket.run_last_exit_ns, bracket.run_first_entry_ns
        if left is None:
            gone.append(because("vcpu-never-left", vcpu=bracket.index))
        elif entered is None:
            gone.append(because("vcpu-never-entered", vcpu=bracket.index))
        elif entered <= left:
            gone.append(because("vcpu-entered-early", vcpu=bracket.index, early_ns=left - entered))
        else:
            found.append(Pause(bracket.index, left, entered, bracket.new_tid))
    unwatched = sorted(set(range(vcpus)) - {bracket.index for bracket in brackets})
    gone += [because("vcpu-unwatched", vcpu=vcpu) for vcpu in unwatched]
    return tuple(found), tuple(gone)


def find_blackout(recording: Recording, marks: Marks, pauses: Sequence[Pause]) -> Blackout:
    """The VM's blackout, and its distribution over the phases."""
    vcpus = recording.scenario.vcpus
    lengths = {pause.vcpu: pause.length_ns for pause in pauses}
    each = tuple(lengths.get(vcpu) for vcpu in range(vcpus))
    worst = max(pauses, key=lambda pause: pause.length_ns, default=None)
    window = (worst.start_ns, worst.end_ns) if worst else None
    spans = build_spans(marks, recording.steps, recording.scenario.mode, window)
    if worst is None or window is None or len(pauses) < vcpus:
        return Blackout(each, spans)
    first_entry = min(pause.end_ns for pause in pauses)
    sent = recording.steps.get("migrate")
    return Blackout(
        each,
        spans,
        window,
        skew_ns=worst.length_ns - min(lengths.values()),
        dark_ns=max(0, first_entry - max(pause.start_ns for pause in pauses)),
        handover_ns=first_entry - sent if sent is not None else None,
        residual_ns=worst.length_ns - sum(span.blackout_ns for span in spans),
        attribution=attribute(recording, window, worst.new_tid),
    )
