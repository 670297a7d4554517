"""One length of pause against what was measured of it: its figures and the checks it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from results.stats.intervals import median_ns
from results.stats.shift import Shift, estimate_shift

from .shots import Kind, Shot, guest_is_blind

TOLERANCE_NS = 50_000
TOLERANCE_SHARE = 0.01
# How much slower a QEMU may be after a pause, beyond the tolerance: at most this, and at most as
# long as the pause itself.
SLOWER_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Precision:
    """Confidence of each interval, so that all hold together, and the shots that one takes."""

    confidence: float
    needed: int


@dataclass(frozen=True, slots=True)
class Level:
    """All shots of one asked length. `error_ns` is recovered minus injected, shot by shot.

    `shift_ns` is how much longer the whole blackout was than without a pause, `guest_ns` how much
    more the guest's gap grew than the blackout (both Hodges-Lehmann). Their intervals hold for all
    levels together with 95 %; None where there are too few shots for one.
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

    @property
    def blackout_checked(self) -> bool:
        """Whether the check of the whole blackout could have told this pause from none."""
        return _narrower(self.shift_low_ns, self.shift_high_ns, self.injected_ns)

    @property
    def guest_checked(self) -> bool:
        """Whether the check of the guest's gap could have shown an error as long as the pause."""
        return _narrower(self.guest_low_ns, self.guest_high_ns, self.injected_ns)


def _narrower(low: int | None, high: int | None, half_width: int) -> bool:
    return low is not None and high is not None and high - low < 2 * half_width


def judge_level(
    shots: Sequence[Shot], plain: Sequence[Shot], base_ns: int, precision: Precision
) -> Level:
    """Judge the shots of one length against those without a pause, whose section is `base_ns`."""
    needed = precision.needed
    recovered = [shot.section_ns - base_ns for shot in shots]
    errors = [r - shot.injected_ns for r, shot in zip(recovered, shots, strict=True)]
    error = _median(errors)
    injected = _median([shot.injected_ns for shot in shots])
    allowed = TOLERANCE_NS + round(TOLERANCE_SHARE * injected)
    sides = [s.blackout_ns for s in plain], [s.blackout_ns for s in shots]
    shift = estimate_shift([sides], precision.confidence)
    beyond = _beyond(plain), _beyond(shots)
    guest = estimate_shift([beyond], precision.confidence)
    faults = [
        *_error_faults(error, allowed),
        *_growth_faults(shift, injected, allowed, min(len(plain), len(shots)), needed),
    ]
    if not guest_is_blind(shots[0].cell, shots[0].kind) or guest.low_ns is not None:
        faults += _guest_faults(guest, allowed, min(map(len, beyond)), needed)
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
        faults=tuple(faults),
    )


def _beyond(shots: Sequence[Shot]) -> list[int]:
    """What the guest lost beyond the blackout, shot by shot, where it testified."""
    return [s.guest_gap_ns - s.blackout_ns for s in shots if s.guest_gap_ns is not None]


# -- what is wrong --------------------------------------------------------------------------------


def _error_faults(error: int, allowed: int) -> Iterator[str]:
    if abs(error) > allowed:
        yield f"off by {error / 1e3:+.0f} µs in the median, {allowed / 1e3:.0f} µs are allowed"


def _growth_faults(
    shift: Shift, injected: int, allowed: int, shots: int, needed: int
) -> Iterator[str]:
    """The whole blackout grew by no less than the pause, and by little more."""
    if shift.low_ns is None or shift.high_ns is None:
        yield f"{shots} transfers are too few to check the whole blackout, which takes {needed}"
        return
    if shift.high_ns + allowed < injected:
        yield (
            f"the whole blackout grew by {shift.high_ns / 1e6:.3f} ms at most, not by the "
            f"{injected / 1e6:.3f} ms injected"
        )
    most = injected + allowed + min(SLOWER_NS, injected)
    if shift.low_ns > most:
        yield (
            f"the whole blackout grew by {shift.low_ns / 1e6:.3f} ms at least, for "
            f"{injected / 1e6:.3f} ms injected; {most / 1e6:.3f} ms are allowed"
        )


def _guest_faults(guest: Shift, allowed: int, shots: int, needed: int) -> Iterator[str]:
    """The guest's gap grew as the blackout did."""
    if guest.low_ns is None or guest.high_ns is None:
        yield (
            f"{shots} transfers in which the guest testified are too few to check its gap, which "
            f"takes {needed}"
        )
    elif guest.low_ns > allowed or guest.high_ns < -allowed:
        yield (
            f"the guest's gap grew by {guest.low_ns / 1e3:+.0f} to {guest.high_ns / 1e3:+.0f} µs "
            "more than the blackout"
        )


def powerless_checks(levels: Sequence[Level]) -> Iterator[str]:
    """A check whose interval is wider than every pause contradicts nothing."""
    with_blackout = [level for level in levels if level.shift_low_ns is not None]
    if with_blackout and not any(level.blackout_checked for level in with_blackout):
        yield "blackouts scatter too much to check any of these lengths against them"
    with_guest = [level for level in levels if level.guest_low_ns is not None]
    if with_guest and not any(level.guest_checked for level in with_guest):
        yield "the guest's gaps scatter too much to check any of these lengths against them"


def impossible_checks(levels: Sequence[Level]) -> Iterator[str]:
    """Checks that were left out because the kind of pause does not allow them."""
    blind = [
        f"{level.asked_ns / 1e6:g}"
        for level in levels
        if level.guest_low_ns is None and guest_is_blind(level.cell, level.kind)
    ]
    if blind:
        yield (
            f"the guest's gap does not check {', '.join(blind)} ms: under TCG the guest's clock "
            "runs again before new QEMU is stopped"
        )


def _median(values: Sequence[int]) -> int:
    found = median_ns(values)
    assert found is not None
    return found
