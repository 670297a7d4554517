"""Claims that show in a transfer: a real one with pinned RAM, and the same broken in many ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from results.claims.transfer_checks import CHECKS, PINS, VFIO_IDS, VFIO_PINS
from results.claims.transfer_verdict import JudgedTransfer, TimelineCheck, decide
from results.records.evidence import Evidence
from results.records.recording import Event, Process, Recording
from results.timeline.vfio_calls import UNMAP_DMA, VADDR

ALL = (*CHECKS, PINS)
BY_CLAIM = {check.claim: check for check in ALL}


@pytest.mark.parametrize("check", ALL, ids=lambda check: str(check.claim))
def test_a_real_transfer_shows_it(check: TimelineCheck, recording: Recording) -> None:
    found = decide(check, "system", [recording, recording])
    assert (found.found, found.claim, found.build) == ("shown", check.claim, "system"), found.detail
    assert found.detail.endswith("(2 transfers)")
    assert found.evidence == (recording.id, recording.id)


@pytest.mark.parametrize("check", ALL, ids=lambda check: str(check.claim))
def test_its_own_broken_transfer_is_noticed(check: TimelineCheck, recording: Recording) -> None:
    broken = check.breaking(recording)
    assert broken != recording
    assert check.examine(JudgedTransfer.of(broken)).state == "broken"


def test_a_descriptor_on_its_way_when_new_qemu_is_killed_is_not_lost(recording: Recording) -> None:
    new = [e for e in recording.events if e.pid == recording.new.pid]
    received = [e.ns for e in new if e.mark == "recvmsg" and e.values.get("fds")]
    events = tuple(e for e in recording.events if e.ns < max(received))
    cut = replace(recording, events=events, evidence=None, failure="new QEMU ended with SIGKILL")
    transfer = JudgedTransfer.of(cut)
    for claim in (4, 11):
        found = BY_CLAIM[claim].examine(transfer)
        assert (found.state, "sent and not received" in found.text) == ("missing", True)


@pytest.mark.parametrize("claim", [9, 10])
def test_states_of_a_failed_transfer_are_no_evidence(claim: int, recording: Recording) -> None:
    """A new QEMU that dies closes nothing, and a transfer may be given up in any state."""
    check = BY_CLAIM[claim]
    events = tuple(e for e in recording.events if e.mark != "cpr_close")
    new = replace(recording.new, runstate="gone")
    died = replace(recording, events=events, new=new, failure="new QEMU ended with SIGSEGV")
    assert check.examine(JudgedTransfer.of(died)).state == "missing"
    assert check.examine(JudgedTransfer.of(replace(died, failure=""))).state == "broken"


def test_a_dma_write_that_new_qemu_did_not_live_to_show_is_no_evidence(
    recording: Recording,
) -> None:
    evidence = recording.evidence
    assert evidence is not None
    *dma, last = evidence.dma
    unseen = replace(evidence, dma=(*dma, replace(last, seen=None)))
    completed = replace(recording, evidence=unseen)
    assert PINS.examine(JudgedTransfer.of(completed)).state == "broken"
    died = replace(completed, failure="new QEMU ended with SIGSEGV")
    assert PINS.examine(JudgedTransfer.of(died)).state == "missing"


@pytest.mark.parametrize(
    ("change", "state"),
    [({}, "broken"), ({"lost": 1}, "missing"), ({"failure": "new QEMU died"}, "missing")],
    ids=str,
)
def test_dma_mappings_that_stay_with_old_qemu_refute_in_a_traced_transfer(
    change: dict[str, Any], state: str, recording: Recording
) -> None:
    scenario = replace(recording.scenario, vfio="iommufd", pinned=False)
    first = recording.steps["migrate"] + 1
    values = {"command": UNMAP_DMA, "flags": VADDR}
    call = Event(first, recording.old.pid, recording.old.pid, "vfio_ioctl", "enter", values)
    kept = replace(recording, scenario=scenario, events=(call, *recording.events))
    found = VFIO_PINS.examine(JudgedTransfer.of(replace(kept, **change)))
    assert found.state == state
    if state == "broken":
        assert "DMA mappings: new QEMU never became the owner" in found.text


@pytest.mark.parametrize("claim", [5, 11])
def test_mappings_are_expected_once_the_machine_is_built(claim: int, recording: Recording) -> None:
    bare = nothing_mapped(recording)
    check = BY_CLAIM[claim]
    assert check.examine(JudgedTransfer.of(bare)).state == "broken"
    starting = replace(bare, steps={k: ns for k, ns in bare.steps.items() if k != "monitor"})
    assert check.examine(JudgedTransfer.of(starting)).state == "missing"


def test_mappings_have_no_name_where_no_descriptor_was_seen_to_arrive(recording: Recording) -> None:
    events = tuple(e for e in recording.events if e.mark != "recvmsg")
    unseen = replace(recording, events=events)
    assert BY_CLAIM[5].examine(JudgedTransfer.of(unseen)).state == "missing"


def test_without_evidence_nothing_is_decided(recording: Recording) -> None:
    bare = replace(recording, events=(), evidence=None, steps={})
    assert {check.examine(JudgedTransfer.of(bare)).state for check in ALL} == {"missing"}


def changed(recording: Recording, change: Callable[[Event], Event]) -> Recording:
    return replace(recording, events=tuple(map(change, recording.events)))


def with_frames(recording: Recording, **fields: int) -> Recording:
    evidence = recording.evidence
    assert evidence is not None
    return replace(recording, evidence=replace(evidence, frames=replace(evidence.frames, **fields)))


def same_address(one: Recording) -> Recording:
    assert one.evidence is not None
    return with_frames(one, new_address=one.evidence.frames.old_address)


def another_file(one: Recording) -> Recording:
    evidence = one.evidence
    assert isinstance(evidence, Evidence)
    first, *others = evidence.files
    return replace(one, evidence=replace(evidence, files=(replace(first, same=False), *others)))


def connected_first(one: Recording) -> Recording:
    return changed(one, lambda e: replace(e, ns=1) if e.mark == "outgoing" else e)


def nothing_mapped(one: Recording) -> Recording:
    events = tuple(e for e in one.events if not (e.mark == "mmap" and e.values["flags"] & 1))
    return replace(one, events=events)


def silent_stop(one: Recording) -> Recording:
    return replace(one, qmp=tuple(q for q in one.qmp if q.name != "STOP"))


def saved_first(one: Recording) -> Recording:
    return changed(one, lambda e: replace(e, ns=1) if e.mark == "complete" else e)


def new_paused(one: Recording) -> Recording:
    new: Process = replace(one.new, runstate="paused")
    return replace(one, new=new)


def early_monitor(one: Recording) -> Recording:
    return replace(one, steps=one.steps | {"monitor": 1})


BREAKS: tuple[tuple[int, Callable[[Recording], Recording], str], ...] = (
    (2, same_address, "in both QEMUs"),
    (4, another_file, "another open file"),
    (4, connected_first, "arrived after the main channel"),
    (5, nothing_mapped, "mapped none"),
    (5, early_monitor, "the monitor was open before"),
    (9, connected_first, "connected the main channel before"),
    (10, silent_stop, "reported no STOP"),
    (10, saved_first, "had saved before"),
    (10, new_paused, "new in paused"),
    (11, nothing_mapped, "mapped none"),
)


@pytest.mark.parametrize(
    ("claim", "breaking", "words"), BREAKS, ids=[f"{n}-{b.__name__}" for n, b, _ in BREAKS]
)
def test_other_ways_to_break_it(
    claim: int, breaking: Callable[[Recording], Recording], words: str, recording: Recording
) -> None:
    found = BY_CLAIM[claim].examine(JudgedTransfer.of(breaking(recording)))
    assert found.state == "broken"
    assert words in found.text


def test_a_broken_valid_transfer_refutes(recording: Recording) -> None:
    # The judgement of a run asks nothing of addresses: it is valid, and the claim is refuted.
    found = decide(BY_CLAIM[2], "a", [recording, same_address(recording)])
    assert found.found == "refuted"
    assert recording.id in found.detail


def test_a_guest_without_devices_shows_no_ids_of_devices(recording: Recording) -> None:
    found = VFIO_IDS.examine(JudgedTransfer.of(recording))
    assert (found.state, "no descriptor of an assigned device" in found.text) == ("broken", True)
