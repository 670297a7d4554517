"""Pauses of known length against what was measured of them: pure, from shots to a certificate.

A shot is one handover with a pause injected into its blackout, or with none. Blackouts of one
guest scatter by tenths of a millisecond, more than the error that is looked for, so the pause is
recovered from the `stretch`: the part of the blackout that holds it, between the marks of the
timeline next to it, some 0.1 ms long when nothing is injected. Two more figures keep that honest,
both against the shots without a pause: the whole blackout must have grown by no less (it may grow
by more: a QEMU that stood still is slower for a while, and the guest waits for that too), and what
the guest lost by its own beats must have grown as the blackout did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from results.records.run import Run
from results.stats.intervals import CONFIDENCE, median_ns
from results.stats.shift import Shift, estimate_shift
from results.timeline.moments import Marks

# How the pause comes about; see runners.pauses and probes.pause_injector.
#   new     new QEMU is stopped by a signal when it is about to resume the vCPUs
#   old     old QEMU is stopped by a signal when it drains its block devices, the vCPUs paused
#   main    the end of the device state is held back on the main channel
Kind = Literal["new", "old", "main"]
KINDS: tuple[Kind, ...] = ("new", "old", "main")
KIND_TEXTS: dict[Kind, str] = {
    "new": "new QEMU stopped by SIGSTOP before it resumes its vCPUs",
    "old": "old QEMU stopped by SIGSTOP after its vCPUs",
    "main": "last byte of device state held back on the main channel",
}

TOLERANCE_NS = 50_000
TOLERANCE_SHARE = 0.01
# Fewer shots than this at a level give no median that the tolerance could be asked of.
LEAST_SHOTS = 3


@dataclass(frozen=True, slots=True)
class Shot:
    """One handover; `asked_ns` 0 for none. `injected_ns` is as the injector's own clock saw it."""

    run: str
    cell: str  # scenario and accelerator
    kind: Kind
    asked_ns: int
    injected_ns: int
    stretch_ns: int
    blackout_ns: int
    guest_gap_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """All shots of one asked length. `error_ns` is recovered minus injected, shot by shot.

    `shift_ns` is how much longer the whole blackout was than without a pause, `guest_ns` how much
    more the guest's gap grew than the blackout (both Hodges-Lehmann). Their intervals hold for all
    levels together with 95 %.
    """

    cell: str
    kind: Kind
    asked_ns: int
    shots: int
    injected_ns: int
    recovered_ns: int
    error_ns: int  # median
    scatter_ns: int  # median distance of the errors from their median
    worst_ns: int  # the error furthest from 0
    allowed_ns: int
    shift_ns: int | None
    shift_low_ns: int | None
    shift_high_ns: int | None
    guest_ns: int | None = None
    guest_low_ns: int | None = None
    guest_high_ns: int | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fit:
    """Recovered = offset + slope x injected, by Theil and Sen's medians, over one cell and kind."""

    cell: str
    kind: Kind
    slope: float
    offset_ns: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a set of shots says. `lost` are shots whose run failed, by reason; they say nothing."""

    passed: bool
    slope: float
    offset_ns: int
    levels: tuple[Level, ...]
    fits: tuple[Fit, ...]
    faults: tuple[str, ...]
    lost: dict[str, int] = field(default_factory=dict)

    @property
    def worst_error_ns(self) -> int:
        """The median error furthest from 0 among all levels, ns."""
        return max((level.error_ns for level in self.levels), key=abs, default=0)


def stretch(run: Run, marks: Marks, kind: Kind, held_ns: int | None = None) -> int | None:
    """The part of a run's blackout in which a pause of `kind` lies, ns; None when it was not seen.

    Tight, as a process that stood still for long is slower for a while after (its caches are cold,
    its CPU asleep): with all up to the first guest entry, 100 ms seemed to be 0.6 ms longer.
    `held_ns` is when the main channel was held back (host clock), for that kind alone.
    """
    if run.blackout_ns is None or run.blackout_start_ns is None:
        return None
    start, end = _around(run, marks, kind, held_ns)
    if start is None or end is None:
        return None
    start = max(start, run.blackout_start_ns)
    end = min(end, run.blackout_start_ns + run.blackout_ns)
    return end - start if end > start else None


def _around(
    run: Run, marks: Marks, kind: Kind, held_ns: int | None
) -> tuple[int | None, int | None]:
    if kind == "old":
        return marks.old("pause_vcpus", "return"), marks.old("vm_stop", "return")
    if kind == "new":
        return marks.new("resume_vcpus", "enter"), marks.new("resume_vcpus", "return")
    loaded = next((span.start_ns for span in run.spans if span.name == "activation"), None)
    return held_ns, loaded


def inside(run: Run, start_ns: int, end_ns: int) -> bool:
    """Whether a pause lies within the run's blackout: only then can it be recovered from it."""
    if run.blackout_ns is None or run.blackout_start_ns is None:
        return False
    return run.blackout_start_ns <= start_ns <= end_ns <= run.blackout_start_ns + run.blackout_ns


def calibrate(shots: Sequence[Shot], lost: dict[str, int] | None = None) -> Calibration:
    """Judge shots; every cell and kind needs shots without a pause beside those with one."""
    # Sixty intervals at 95 % each would contradict one another for nothing: together they hold it.
    count = len({(shot.cell, shot.kind, shot.asked_ns) for shot in shots if shot.asked_ns})
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, count)
    levels: list[Level] = []
    fits: list[Fit] = []
    faults: list[str] = []
    errors: list[tuple[int, int]] = []
    for cell, kind in dict.fromkeys((shot.cell, shot.kind) for shot in shots):
        mine = [shot for shot in shots if (shot.cell, shot.kind) == (cell, kind)]
        plain = [shot for shot in mine if not shot.asked_ns]
        base = median_ns(shot.stretch_ns - shot.injected_ns for shot in plain)
        if base is None or len(plain) < LEAST_SHOTS:
            faults.append(f"{cell}, {kind}: {len(plain)} shots without a pause are too few")
            continue
        pairs = [(shot.injected_ns, shot.stretch_ns - base) for shot in mine]
        slope, offset = _line(pairs)
        fits.append(Fit(cell, kind, slope, offset))
        errors += pairs
        for asked in sorted({shot.asked_ns for shot in mine} - {0}):
            ours = [shot for shot in mine if shot.asked_ns == asked]
            level = _level(ours, plain, base, confidence)
            levels.append(level)
            faults += [f"{cell}, {kind}, {asked / 1e6:g} ms: {fault}" for fault in level.faults]
    if not levels:
        faults.append("no pause was measured")
    slope, offset = _line(errors) if errors else (0.0, 0)
    return Calibration(
        not faults, slope, offset, tuple(levels), tuple(fits), tuple(faults), dict(lost or {})
    )


def _level(shots: Sequence[Shot], plain: Sequence[Shot], base_ns: int, confidence: float) -> Level:
    recovered = [shot.stretch_ns - base_ns for shot in shots]
    errors = [r - shot.injected_ns for r, shot in zip(recovered, shots, strict=True)]
    error = _median(errors)
    injected = _median([shot.injected_ns for shot in shots])
    allowed = TOLERANCE_NS + round(TOLERANCE_SHARE * injected)
    sides = [s.blackout_ns for s in plain], [s.blackout_ns for s in shots]
    shift = estimate_shift([sides], confidence)
    guest = estimate_shift([(_beyond(plain), _beyond(shots))], confidence)
    return Level(
        cell=shots[0].cell,
        kind=shots[0].kind,
        asked_ns=shots[0].asked_ns,
        shots=len(shots),
        injected_ns=injected,
        recovered_ns=_median(recovered),
        error_ns=error,
        scatter_ns=_median([abs(e - error) for e in errors]),
        worst_ns=max(errors, key=abs),
        allowed_ns=allowed,
        shift_ns=shift.shift_ns,
        shift_low_ns=shift.low_ns,
        shift_high_ns=shift.high_ns,
        guest_ns=guest.shift_ns,
        guest_low_ns=guest.low_ns,
        guest_high_ns=guest.high_ns,
        faults=tuple(_faults(len(shots), error, injected, allowed, shift, guest)),
    )


def _beyond(shots: Sequence[Shot]) -> list[int]:
    """What the guest lost beyond the blackout, shot by shot, where it testified."""
    return [s.guest_gap_ns - s.blackout_ns for s in shots if s.guest_gap_ns is not None]


def _faults(
    shots: int, error: int, injected: int, allowed: int, shift: Shift, guest: Shift
) -> Iterable[str]:
    if shots < LEAST_SHOTS:
        yield f"{shots} shots are too few"
    if abs(error) > allowed:
        yield f"off by {error / 1e3:+.0f} µs in the median, {allowed / 1e3:.0f} µs are allowed"
    if shift.high_ns is not None and shift.high_ns + allowed < injected:
        yield (
            f"the whole blackout grew by {shift.high_ns / 1e6:.3f} ms at most, not by the "
            f"{injected / 1e6:.3f} ms injected"
        )
    if guest.low_ns is None or guest.high_ns is None:
        return
    if guest.low_ns > allowed or guest.high_ns < -allowed:
        yield (
            f"the guest's gap grew by {guest.low_ns / 1e3:+.0f} to {guest.high_ns / 1e3:+.0f} µs "
            "more than the blackout"
        )


def _median(values: Sequence[int]) -> int:
    found = median_ns(values)
    assert found is not None
    return found


def _line(points: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """Slope and offset (ns) that a few wild shots cannot bend.

    Source: Theil, Proc. Kon. Ned. Akad. Wet. 53 (1950) 386; Sen, JASA 63 (1968) 1379.
    """
    if len({x for x, _ in points}) < 2:
        return 0.0, 0
    # Half a second to import.
    import numpy as np
    from scipy.stats import theilslopes

    injected, recovered = (np.array(side, dtype=np.float64) for side in zip(*points, strict=True))
    slope = float(theilslopes(recovered, injected)[0])
    return slope, round(float(np.median(recovered - slope * injected)))
