"""What the guest saw of the pause, mapped to the host's clock.

The payload timestamps beats with its own TSC. Whether that clock runs through a handover or stops
with the guest depends on the host (KVM restores it by value, a nested KVM may not), so it is
measured each time: the host samples (monotonic ns, tick of the last beat) before and after, and the
shift between both mappings is the part of the pause that the guest's clock did not see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from results.records.observations import VcpuBeats

Sample = tuple[int, int]  # host ns, tick
Clock = Literal["runs", "freezes", "unknown"]

# A shift below this is noise: a sample is late by up to one beat (25 µs where KVM emulates) and
# 100 µs of reading.
STEP_NOISE_NS = 150_000
# A clock that freezes stands still from the stop of the VM to its start: for most of a blackout, or
# less where the first entry waits for a CPU (3.2 of 8.4 ms were seen on a busy host).
_FROZEN_SHARE = 0.1
_WRAP = 1 << 32


@dataclass(frozen=True, slots=True)
class GuestView:
    """One vCPU's pause as the guest saw it. Times are host ns."""

    clock: Clock
    step_ns: int
    gap_ns: int
    last_beat_ns: int
    first_beat_ns: int
    # Of the last and the first beat; None if the guest did not log the gap.
    ticks: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class GuestPause:
    """The VM's pause as its guest saw it, ns.

    All fields are None if no vCPU saw it, and all but the clock's if some vCPU did not.
    `handover_ns` is from `migrate` to the last vCPU's first beat; `first_progress_ns` is the
    longest time of any vCPU from its first entry to its first beat.
    """

    clock: Clock = "unknown"
    clock_step_ns: int | None = None  # part of the pause that the guest's clock did not see
    gap_ns: int | None = None
    vcpu_gaps_ns: tuple[int, ...] = ()
    first_progress_ns: int | None = None
    handover_ns: int | None = None


def tick_difference(later: int, earlier: int) -> int:
    """Ticks from `earlier` to `later`, both wrapping at 32 bits, less than half a wrap apart."""
    difference = (later - earlier) % _WRAP
    return difference - _WRAP if difference >= _WRAP // 2 else difference


def best_sample(samples: Iterable[Sample], tick_ns: float, origin: Sample) -> Sample:
    """The freshest sample: the one with the least delay between its tick and its host time.

    The delay is never negative, as the clock is read after the tick.
    """

    def lateness(sample: Sample) -> float:
        return (sample[0] - origin[0]) - tick_difference(sample[1], origin[1]) * tick_ns

    return min(samples, key=lateness)


def tick_rate(segments: Iterable[tuple[Sequence[Sample], Sequence[Sample]]]) -> float:
    """Duration of one tick in ns, from intervals in which the guest ran undisturbed.

    Each segment is the samples at its start and at its end. Returns 0.0 if it is unknown.
    """
    host, ticks = 0, 0
    for first, last in segments:
        if not first or not last:
            continue
        rough_ticks = tick_difference(last[-1][1], first[0][1])
        if rough_ticks <= 0:
            continue
        rough = (last[-1][0] - first[0][0]) / rough_ticks
        start = best_sample(first, rough, first[0])
        end = best_sample(last, rough, first[0])
        host += end[0] - start[0]
        ticks += tick_difference(end[1], start[1])
    return host / ticks if ticks > 0 else 0.0


def guest_views(
    beats: Sequence[VcpuBeats],
    tick_ns: float,
    brackets: Mapping[int, tuple[int, int]],
) -> dict[int, GuestView | None]:
    """Find the pause of every vCPU among the gaps that the payload logged.

    `brackets` are the blackouts that another witness saw (host ns) by vCPU; a gap must cover that
    of its vCPU, and the view is None if none does. Without a bracket the longest gap is taken.
    Empty if the guest's clock cannot be mapped to the host's at all.

    All vCPUs read one clock (QEMU restores one TSC for all), so their samples are pooled: those of
    a vCPU that waits for a CPU while it is sampled are late by milliseconds.
    """
    old = [sample for b in beats for sample in b.before]
    new = [sample for b in beats for sample in b.after]
    if tick_ns <= 0 or not old or not new:
        return {}
    before = best_sample(old, tick_ns, old[0])
    after = best_sample(new, tick_ns, new[0])

    def on_old_clock(tick: int) -> int:
        return before[0] + round(tick_difference(tick, before[1]) * tick_ns)

    def on_new_clock(tick: int) -> int:
        return after[0] + round(tick_difference(tick, after[1]) * tick_ns)

    step = on_new_clock(before[1]) - before[0]
    clock = _kind(step, brackets)
    # One mapping for both ends if the clock runs through: the shift is only noise then. Else each
    # end has the mapping of its own side, which is right whatever the clock did in between.
    end_clock = on_old_clock if clock == "runs" else on_new_clock
    views: dict[int, GuestView | None] = {}
    for vcpu in beats:
        gaps = [(on_old_clock(g.start_tick), end_clock(g.end_tick)) for g in vcpu.gaps]
        ticks = dict(zip(gaps, ((g.start_tick, g.end_tick) for g in vcpu.gaps), strict=True))
        bracket = brackets.get(vcpu.index)
        chosen = _covering(gaps, bracket) if bracket else max(gaps, key=_length, default=None)
        if chosen is None and clock == "freezes" and bracket is not None:
            # The guest's clock saw less than the payload's logging threshold: the step is the gap.
            chosen = (bracket[0], bracket[0] + step)
        views[vcpu.index] = (
            GuestView(clock, step, chosen[1] - chosen[0], *chosen, ticks.get(chosen))
            if chosen
            else None
        )
    return views


def guest_pause(
    views: Mapping[int, GuestView | None],
    brackets: Mapping[int, tuple[int, int]],
    vcpus: int,
    migrate_ns: int | None,
) -> GuestPause:
    """The VM's pause from its vCPUs' pauses; `brackets` as in `guest_views`."""
    seen = {vcpu: view for vcpu, view in views.items() if view is not None}
    if not seen:
        return GuestPause()
    clocks = {view.clock for view in seen.values()}
    clock = clocks.pop() if len(clocks) == 1 else "unknown"
    step = max((view.step_ns for view in seen.values()), key=abs)
    if len(seen) < vcpus:
        return GuestPause(clock, step)
    progress = [seen[v].first_beat_ns - end for v, (_, end) in brackets.items() if v in seen]
    all_awake_ns = max(view.first_beat_ns for view in seen.values())
    return GuestPause(
        clock,
        step,
        gap_ns=max(view.gap_ns for view in seen.values()),
        vcpu_gaps_ns=tuple(seen[vcpu].gap_ns for vcpu in sorted(seen)),
        first_progress_ns=max(0, *progress) if progress else None,
        handover_ns=all_awake_ns - migrate_ns if migrate_ns is not None else None,
    )


def _kind(step_ns: int, brackets: Mapping[int, tuple[int, int]]) -> Clock:
    """Whether the guest's clock ran through the pause, by the part of it that it did not see."""
    if abs(step_ns) < STEP_NOISE_NS:
        return "runs"
    shortest = min((end - start for start, end in brackets.values()), default=2 * STEP_NOISE_NS)
    return "freezes" if step_ns > _FROZEN_SHARE * shortest else "unknown"


def _length(view: tuple[int, int]) -> int:
    return view[1] - view[0]


def _covering(views: Iterable[tuple[int, int]], bracket: tuple[int, int]) -> tuple[int, int] | None:
    """The longest gap that covers the bracket, up to the noise of the mapping between clocks."""
    return max(
        (
            view
            for view in views
            if view[0] <= bracket[0] + STEP_NOISE_NS and view[1] >= bracket[1] - STEP_NOISE_NS
        ),
        key=_length,
        default=None,
    )
