"""Claims that every recorded transfer shows or refutes, as pure functions over its evidence.

Each check comes with the least change to a recording that breaks its claim. A check that does not
notice its own broken recording decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from results.records.evidence import Check
from results.records.recording import Recording

from .catalogue import Finding
from .descriptor_checks import (
    carried_by_rights,
    device_found_by_name_and_id,
    found_by_name_and_id,
    other_id,
    unreceived,
)
from .order_checks import (
    closed_too_late,
    cpr_state_first,
    ends_in_postmigrate,
    hang_up_connects,
    keeps_running,
    mapped_too_early,
)
from .transfer_verdict import JudgedTransfer, TimelineCheck, decide

# Lines of a proof that hold or break by themselves, however the transfer ended; the others compare
# with what a completed transfer leaves behind.
_INDEPENDENT_LINES = frozenset({"RAM in place", "descriptors", "pins"})
_LINES_BY_PROBES = frozenset({"DMA mappings"})


# -- 2: RAM in place ----------------------------------------------------------------------------


def ram_in_place(transfer: JudgedTransfer) -> Check:
    """The same page frames at another virtual address."""
    name = "RAM in place"
    proof, evidence = transfer.run.proof, transfer.recording.evidence
    check = next((c for c in proof.checks if c.name == name), None) if proof else None
    if check is None or evidence is None:
        return Check(name, "missing", "page frames were not read")
    frames = evidence.frames
    if check.state == "held" and frames.old_address == frames.new_address:
        return Check(name, "broken", f"RAM is mapped at {frames.old_address:#x} in both QEMUs")
    return check


def _moved_page(recording: Recording) -> Recording:
    """One page lies in another frame, and the kernel migrated none."""
    evidence = recording.evidence
    if evidence is None:
        return recording
    frames = replace(evidence.frames, differing=1, first=((0, 1, 2),))
    accounts = tuple(replace(a, migrated=0) for a in evidence.accounts)
    return replace(recording, evidence=replace(evidence, frames=frames, accounts=accounts))


# -- 3: pins ------------------------------------------------------------------------------------


def pins_held(transfer: JudgedTransfer) -> Check:
    """The complete proof of a scenario whose RAM is pinned by a process or an assigned device."""
    name = "pins"
    proof = transfer.run.proof
    names = {c.name for c in proof.checks} if proof else set()
    if proof is None or not names & {"pins", "DMA mappings"}:
        return Check(name, "missing", "nothing was pinned")
    broken = [c for c in proof.checks if c.state == "broken" and _conclusive(c, transfer)]
    if broken:
        return Check(name, "broken", "; ".join(f"{c.name}: {c.text}" for c in broken))
    if proof.verdict != "held":
        return Check(name, "missing", proof.reason)
    shown = ("pins", "DMA", "DMA mappings", "locked memory", "device DMA", "pin functions")
    return Check(name, "held", "; ".join(c.text for c in proof.checks if c.name in shown))


def _conclusive(line: Check, transfer: JudgedTransfer) -> bool:
    """Whether a broken line of the proof is evidence, or only what a failed transfer left undone.

    Remade mappings are evidence even then, but cannot be told from those of a QEMU that exits.
    """
    if line.name in _LINES_BY_PROBES:
        return transfer.completed and transfer.traced
    return transfer.completed or line.name in _INDEPENDENT_LINES


def _released_pins(recording: Recording) -> Recording:
    """By the end the holder's pins are gone, or new QEMU has another file as the device."""
    evidence = recording.evidence
    if evidence is None:
        return recording
    if not evidence.pinned_bytes:
        first, *others = evidence.files
        files = (replace(first, same=False), *others)
        return replace(recording, evidence=replace(evidence, files=files))
    released = {"holder": {"VmPin": 0}}
    accounts = tuple(
        replace(a, processes=a.processes | released) if a.point == "end" else a
        for a in evidence.accounts
    )
    return replace(recording, evidence=replace(evidence, accounts=accounts))


CHECKS: tuple[TimelineCheck, ...] = (
    TimelineCheck(2, "page frames", ram_in_place, _moved_page),
    TimelineCheck(4, "SCM_RIGHTS", carried_by_rights, unreceived),
    TimelineCheck(5, "order of events", cpr_state_first, mapped_too_early),
    TimelineCheck(9, "hang-up and connect", hang_up_connects, closed_too_late),
    TimelineCheck(10, "stop, save, end", ends_in_postmigrate, keeps_running),
    TimelineCheck(11, "names and ids", found_by_name_and_id, other_id),
)
PINS = TimelineCheck(3, "pins of a process", pins_held, _released_pins)
VFIO_PINS = TimelineCheck(3, "pins of a VFIO device", pins_held, _released_pins)
VFIO_IDS = TimelineCheck(11, "names and ids of a device", device_found_by_name_and_id, other_id)


def timeline_findings(build: str, recordings: Iterable[Recording]) -> list[Finding]:
    """The findings on claims that show in every ordinary transfer of a build."""
    known = tuple(recordings)
    return [decide(check, build, known) for check in CHECKS]
