"""Whether a device that the payload drives went on through a transfer, and for how long it did not.

The payload sends a number to the device and fetches it back, by DMA, for ever; the device raises
an interrupt at the end of each. A number that comes back as another was lost or carried twice.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median_low

from results.records.evidence import Check
from results.records.observations import DeviceContinuity, DeviceWork
from results.records.recording import Recording

_WRAP = 1 << 32


def device_continuity(
    recording: Recording, blackout: tuple[int, int] | None
) -> DeviceContinuity | None:
    """What became of the device; `blackout` is the VM's (start, end) on the host's clock."""
    work = recording.device
    if work is None:
        return None
    since = recording.steps.get("migrate", 0)
    times = sorted(e.ns for e in recording.events if e.mark == "interrupt" and e.ns >= since)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    during = None
    if blackout is not None and recording.probed:
        during = sum(blackout[0] <= ns <= blackout[1] for ns in times)
    return DeviceContinuity(
        address=work.address,
        operations=_grown(work, "operations"),
        during=during,
        wrong=_grown(work, "wrong"),
        silent=_grown(work, "silent"),
        surplus=_grown(work, "surplus"),
        faults=work.faults,
        longest_gap_ns=max(gaps, default=None),
        usual_gap_ns=median_low(gaps) if gaps else None,
        troubles=tuple(_troubles(work)),
    )


def _grown(work: DeviceWork, name: str) -> int:
    return int(getattr(work.after, name) - getattr(work.before, name)) % _WRAP


def _troubles(work: DeviceWork) -> list[str]:
    """What must not be, in words."""
    found = []
    where = f"device {work.address}"
    if not _grown(work, "operations"):
        found.append(f"{where} ended no operation in new QEMU")
    if wrong := _grown(work, "wrong"):
        found.append(
            f"{where}: {wrong} numbers came back as others (the first ever: "
            f"{work.after.wrong_seen} for {work.after.wrong_expected}): lost or carried twice"
        )
    if silent := _grown(work, "silent"):
        found.append(f"{where}: {silent} operations ended without their interrupt")
    if work.faults:
        found.append(f"{where}: the IOMMU logged {work.faults} faults")
    return found


def check_device(device: DeviceContinuity) -> Check:
    """DMA goes on: a line of the proof."""
    name = "device DMA"
    if device.troubles:
        return Check(name, "broken", "; ".join(device.troubles))
    if device.faults is None:
        return Check(name, "missing", "the kernel's log, which tells of IOMMU faults, is not shown")
    words = f"{device.operations} operations of {device.address}, no number lost or carried twice"
    if device.surplus:
        words += f", {device.surplus} interrupts out of turn"
    return Check(name, "held", f"{words}, no interrupt lost, no IOMMU fault")
