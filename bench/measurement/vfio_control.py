"""The control of a proof with assigned devices: released pins must be seen."""

from __future__ import annotations

from probes.pin_events import PinProbe
from results.errors import PausebenchError
from results.judgement.proof import VFIO_CONTROL
from results.records.evidence import Control
from results.records.scenario import Build, Scenario
from runners.qemu.guest import GuestPlace, start_qemu

_PIN_PATHS = ("vfio_pin_pages_remote", "memfd_pin_folios", "pin_user_pages_remote", "iommu_map")
_UNPIN_PATHS = ("vfio_unpin_pages_remote", "batch_unpin", "iommu_unmap")


async def vfio_control(
    scenario: Scenario, build: Build, place: GuestPlace, probe: PinProbe
) -> Control:
    """Start a QEMU of the scenario and let it quit, watched as transfers are.

    It pins guest RAM when it maps it for the device and unpins it when it quits; the probes that
    must be silent in a transfer must see both.
    """
    start = probe.totals()
    qemu = start_qemu(scenario, build, place)
    probe.watch(qemu.pid)
    try:
        await qemu.connect()
        taken = probe.since(start).counts
        holding = probe.totals()
    except PausebenchError as error:
        return Control(VFIO_CONTROL, False, f"could not be carried out: {error}")
    finally:
        await qemu.quit()
        probe.forget(qemu.pid)
    gone = probe.since(holding).counts
    pinned = {path: taken[path] for path in _PIN_PATHS if taken.get(path)}
    unpinned = {path: gone[path] for path in _UNPIN_PATHS if gone.get(path)}
    words = f"a QEMU that starts and quits: {_words(pinned)}, then {_words(unpinned)}"
    # Both the pages and their mappings: the silence of a path that was not seen proves nothing.
    caught = bool(pinned) and "iommu_unmap" in unpinned and len(unpinned) > 1
    return Control(VFIO_CONTROL, caught, words)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{path} {count} ×" for path, count in counts.items()) or "nothing was seen"
