"""Assigned devices in a transfer: how their DMA mappings were handed over, and what that proves.

With a type1 container old QEMU invalidates the addresses of its mappings (UNMAP_DMA with the VADDR
flag), new QEMU sets its own (MAP_DMA with VADDR), and the pages stay pinned and mapped throughout.
With iommufd new QEMU becomes the owner by one call (IOMMU_IOAS_CHANGE_PROCESS).
Source: uapi linux/vfio.h and linux/iommufd.h.
"""

from __future__ import annotations

from collections.abc import Iterable

from results.records.evidence import Accounts, Check, Evidence, PinEvents, check_line
from results.records.scenario import MIB, Scenario
from results.timeline.vfio_calls import VfioCalls

# Functions that must be traced for the absence of calls to prove anything, by kind of assignment.
_NEEDED_PATHS = {
    "type1": ("vfio_unpin_pages_remote", "iommu_unmap"),
    "iommufd": ("batch_unpin", "iommu_unmap"),
}


def check_vfio(evidence: Evidence, scenario: Scenario, calls: VfioCalls | None) -> list[Check]:
    """The additional checks of a scenario with assigned devices."""
    checks = [check_mappings(scenario, calls), check_paths(scenario, evidence.pin_events)]
    if scenario.vfio == "type1":
        checks.append(check_locked_moved(evidence.accounts, scenario.ram_bytes))
    return checks


def check_mappings(scenario: Scenario, calls: VfioCalls | None) -> Check:
    """DMA mappings were handed over by changing only their addresses."""
    if calls is None or calls == VfioCalls():
        return check_line("missing", "mappings-unseen")
    if calls.mapped or calls.unmapped:
        return check_line("broken", "mappings-remade", unmapped=calls.unmapped, mapped=calls.mapped)
    if calls.failed:  # this fails the transfer itself: nothing is proven or disproven
        return check_line("missing", "mappings-failed", failed=calls.failed)
    if scenario.vfio == "iommufd":
        if not calls.owners:
            return check_line("broken", "owner-kept")
        return check_line("held", "owner-changed")
    moved = {"given_up": calls.given_up, "taken_mib": calls.taken_bytes // MIB}
    if not calls.given_up or calls.taken_bytes < scenario.ram_bytes:
        ram_mib = scenario.ram_bytes // MIB
        return check_line("broken", "addresses-kept", **moved, ram_mib=ram_mib)
    return check_line("held", "addresses-changed", **moved, taken=calls.taken)


def check_paths(scenario: Scenario, events: PinEvents | None) -> Check:
    """The kernel functions that unpin and unmap were traced."""
    needed = _NEEDED_PATHS[scenario.vfio]
    lacking = [path for path in needed if events is None or path not in events.counts]
    if lacking:
        return check_line("missing", "paths-hidden", paths=", ".join(lacking))
    return check_line("held", "paths-watched", paths=", ".join(needed))


def check_locked_moved(points: Iterable[Accounts], ram_bytes: int) -> Check:
    """Pages locked by type1 are accounted to old QEMU before and to new QEMU after."""
    locked = {
        (a.point, side): a.processes[side].get("VmLck")
        for a in points
        for side in ("old", "new")
        if side in a.processes
    }
    before, after = locked.get(("before", "old")), locked.get(("end", "new"))
    if before is None or after is None:
        return check_line("missing", "locked-unread")
    sizes = {"before_mib": before // MIB, "after_mib": after // MIB}
    if before < ram_bytes or after < ram_bytes:
        return check_line("broken", "locked-less", **sizes, ram_mib=ram_bytes // MIB)
    rest = locked.get(("resumed", "old"))
    if rest is None:
        return check_line("held", "locked-moved", **sizes)
    if rest >= ram_bytes:
        return check_line("broken", "locked-twice", **sizes, rest_mib=rest // MIB)
    return check_line("held", "locked-moved-rest", **sizes, rest_mib=rest // MIB)
