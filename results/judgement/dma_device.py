"""Whether a device driven by the payload continued through a transfer, and its longest gap.

The payload repeatedly writes a number to the device by DMA and reads it back; the device raises an
interrupt after each operation. A number that comes back changed was lost or transferred twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from statistics import median_low

from results.records.evidence import Check, check_line
from results.records.observations import DeviceContinuity, DeviceWork
from results.records.reasons import Figure, Reason, because
from results.records.recording import Recording

_WRAP = 1 << 32
_COUNTERS = ("operations", "wrong", "interrupts", "silent", "surplus")


def device_continuity(
    recording: Recording, blackout: tuple[int, int] | None
) -> DeviceContinuity | None:
    """How the device survived; `blackout` is the VM's (start, end) on the host's clock."""
    work = recording.device
    if work is None:
        return None
    since = recording.steps.get("migrate", 0)
    times = sorted(e.ns for e in recording.events if e.mark == "interrupt")
    gaps = list(pairwise(times))
    usual = [later - earlier for earlier, later in gaps if earlier >= since]
    during = after = None
    if blackout is not None and recording.probed:
        during = sum(blackout[0] <= ns <= blackout[1] for ns in times)
        after = sum(blackout[1] < ns for ns in times)
    return DeviceContinuity(
        address=work.address,
        operations=_grown(work, "operations"),
        during=during,
        wrong=_grown(work, "wrong"),
        silent=_grown(work, "silent"),
        surplus=_grown(work, "surplus"),
        faults=work.faults,
        # The gap that was open when `migrate` was sent is part of the transfer.
        longest_gap_ns=max((end - start for start, end in gaps if end >= since), default=None),
        usual_gap_ns=median_low(usual) if usual else None,
        troubles=tuple(
            trouble.text for trouble in _troubles(work, stopped=bool(times) and after == 0)
        ),
    )


def _grown(work: DeviceWork, name: str) -> int:
    return int(getattr(work.after, name) - getattr(work.before, name)) % _WRAP


def _reset(work: DeviceWork) -> Iterator[Reason]:
    """Counters that went back, from which nothing can be told."""
    for counter in _COUNTERS:
        before, after = getattr(work.before, counter), getattr(work.after, counter)
        if _grown(work, counter) >= _WRAP // 2:
            yield because(
                "device-reset", device=work.address, counter=counter, before=before, after=after
            )


def _troubles(work: DeviceWork, *, stopped: bool) -> list[Reason]:
    """`stopped`: there were interrupts of the device, but none after the blackout."""
    device = work.address
    if reset := list(_reset(work)):
        return reset
    found = []
    if stopped or not _grown(work, "operations"):
        found.append(because("device-idle", device=device))
    if wrong := _grown(work, "wrong"):
        seen, expected = work.after.wrong_seen, work.after.wrong_expected
        found.append(
            because("device-numbers", device=device, wrong=wrong, seen=seen, expected=expected)
        )
    if silent := _grown(work, "silent"):
        found.append(because("device-interrupts", device=device, silent=silent))
    if work.faults:
        found.append(because("device-faults", device=device, faults=work.faults))
    return found


def check_device(device: DeviceContinuity) -> Check:
    """The proof's check that DMA continues."""
    if device.troubles:
        return Check("device DMA", "broken", "; ".join(device.troubles))
    if device.faults is None:
        return check_line("missing", "device-log-hidden")
    done: dict[str, Figure] = {"operations": device.operations, "device": device.address}
    if device.surplus:
        return check_line("held", "device-whole-surplus", **done, surplus=device.surplus)
    return check_line("held", "device-whole", **done)
