"""Assigned devices in a transfer: how their DMA mappings changed hands, and what that proves.

With a type1 container old QEMU gives up the addresses of its mappings (UNMAP_DMA with the VADDR
flag), new QEMU gives its own (MAP_DMA with it), and the pages stay pinned and mapped throughout.
With iommufd new QEMU names itself the owner by one call (IOMMU_IOAS_CHANGE_PROCESS).
Source: uapi linux/vfio.h and linux/iommufd.h.
"""

from __future__ import annotations

from collections.abc import Iterable

from results.records.evidence import Accounts, Check, Evidence, PinEvents
from results.records.scenario import MIB, Scenario
from results.timeline.vfio_calls import VfioCalls

# What must be watched for its silence to mean anything, by the way of assigning.
_NEEDED_PATHS = {
    "type1": ("vfio_unpin_pages_remote", "iommu_unmap"),
    "iommufd": ("batch_unpin", "iommu_unmap"),
}


def check_vfio(evidence: Evidence, scenario: Scenario, calls: VfioCalls | None) -> list[Check]:
    """The checks of a scenario with assigned devices, beside those of every transfer."""
    checks = [check_mappings(scenario, calls), check_paths(scenario, evidence.pin_events)]
    if scenario.vfio == "type1":
        checks.append(check_locked_moved(evidence.accounts, scenario.ram_bytes))
    return checks


def check_mappings(scenario: Scenario, calls: VfioCalls | None) -> Check:
    """DMA mappings changed hands by their addresses alone."""
    name = "DMA mappings"
    if calls is None or calls == VfioCalls():
        return Check(name, "missing", "no call on DMA mappings was seen")
    if calls.mapped or calls.unmapped:
        return Check(
            name,
            "broken",
            f"{calls.unmapped} mappings were taken away and {calls.mapped} made anew between "
            "migrate and old's exit",
        )
    if calls.failed:  # which fails the transfer itself: nothing of it is proven or disproven
        return Check(name, "missing", f"{calls.failed} calls on DMA mappings failed")
    if scenario.vfio == "iommufd":
        if not calls.owners:
            return Check(name, "broken", "new QEMU never became the owner (CHANGE_PROCESS)")
        return Check(name, "held", "new QEMU became their owner (CHANGE_PROCESS), none was remade")
    if not calls.given_up or calls.taken_bytes < scenario.ram_bytes:
        return Check(
            name,
            "broken",
            f"old QEMU gave up addresses {calls.given_up} times, new gave its own for "
            f"{calls.taken_bytes // MIB} of {scenario.ram_bytes // MIB} MiB",
        )
    return Check(
        name,
        "held",
        f"old gave up its addresses (UNMAP_DMA with VADDR, {calls.given_up} ×), new gave its own "
        f"for {calls.taken_bytes // MIB} MiB (MAP_DMA with VADDR, {calls.taken} ×), none remade",
    )


def check_paths(scenario: Scenario, events: PinEvents | None) -> Check:
    """The kernel's own functions that unpin and unmap were watched."""
    name = "pin functions"
    needed = _NEEDED_PATHS[scenario.vfio]
    lacking = [path for path in needed if events is None or path not in events.counts]
    if lacking:
        return Check(name, "missing", f"{', '.join(lacking)} cannot be watched on this kernel")
    return Check(name, "held", f"{', '.join(needed)} were watched")


def check_locked_moved(points: Iterable[Accounts], ram_bytes: int) -> Check:
    """The pages that type1 has locked are on new QEMU's account after, on old's before."""
    name = "locked memory"
    locked = {
        (a.point, side): a.processes[side].get("VmLck")
        for a in points
        for side in ("old", "new")
        if side in a.processes
    }
    before, after = locked.get(("before", "old")), locked.get(("end", "new"))
    if before is None or after is None:
        return Check(name, "missing", "VmLck of both QEMUs could not be read")
    words = f"VmLck {before // MIB} MiB of old before, {after // MIB} MiB of new after"
    if before < ram_bytes or after < ram_bytes:
        return Check(name, "broken", f"{words}: less than the guest's {ram_bytes // MIB} MiB")
    rest = locked.get(("resumed", "old"))
    if rest is not None and rest >= ram_bytes:
        return Check(name, "broken", f"{words}, and old still accounts for {rest // MIB} MiB")
    left = "" if rest is None else f", {rest // MIB} MiB left with old"
    return Check(name, "held", f"{words}{left}")
