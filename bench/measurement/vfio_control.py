"""The control of a proof with assigned devices: pins that do go must be seen to go."""

from __future__ import annotations

from probes.pin_events import PinProbe
from results.errors import PausebenchError
from results.judgement.proof import VFIO_CONTROL
from results.records.evidence import Control
from results.records.scenario import Build, Scenario
from runners.qemu.guest import GuestPlace, start_qemu

_TAKES = ("vfio_pin_pages_remote", "memfd_pin_folios", "pin_user_pages_remote", "iommu_map")
_LETS_GO = ("vfio_unpin_pages_remote", "batch_unpin", "iommu_unmap")


async def vfio_control(
    scenario: Scenario, build: Build, place: GuestPlace, probe: PinProbe
) -> Control:
    """Let a QEMU of the scenario take its device and quit, watched as transfers are.

    Its pins come when it maps guest RAM for the device and go when it quits; the same probes that
    are to be silent in a transfer must see both.
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
    took = {path: taken[path] for path in _TAKES if taken.get(path)}
    went = {path: gone[path] for path in _LETS_GO if gone.get(path)}
    words = f"a QEMU that starts and quits: {_words(took)}, then {_words(went)}"
    # Both the pages and their mappings, or the silence of one of them means nothing.
    caught = bool(took) and "iommu_unmap" in went and len(went) > 1
    return Control(VFIO_CONTROL, caught, words)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{path} {count} ×" for path, count in counts.items()) or "nothing was seen"
