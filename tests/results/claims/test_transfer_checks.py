"""Claims that show in a transfer: on a real one with pinned RAM, and on it broken in many ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from results.claims.transfer_checks import (
    CHECKS,
    PINS,
    VFIO_IDS,
    TimelineCheck,
    decide,
    see,
    timeline_findings,
)
from results.records.evidence import Evidence
from results.records.recording import Event, Process, Recording

DATA = Path(__file__).parents[1] / "data"
ALL = (*CHECKS, PINS)
BY_CLAIM = {check.claim: check for check in ALL}


@pytest.fixture(scope="module")
def recording() -> Recording:
    return msgspec.json.decode((DATA / "handover-pinned.json").read_bytes(), type=Recording)


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
    assert check.look(see(broken)).state == "broken"


@pytest.mark.parametrize("check", ALL, ids=lambda check: str(check.claim))
def test_a_check_that_notices_nothing_decides_nothing(
    check: TimelineCheck, recording: Recording
) -> None:
    blind = replace(check, breaking=lambda one: one)
    found = decide(blind, "system", [recording])
    assert found.found == "not testable"
    assert "did not notice" in found.detail


def test_without_evidence_nothing_is_decided(recording: Recording) -> None:
    bare = replace(recording, events=(), evidence=None, steps={})
    assert {check.look(see(bare)).state for check in ALL} == {"missing"}


def test_without_a_valid_transfer_nothing_is_decided(recording: Recording) -> None:
    failed = replace(recording, failure="old QEMU refused migrate")
    for found in (*timeline_findings("a", [failed]), *timeline_findings("a", [])):
        assert found.found == "not testable"
    assert "refused migrate" in timeline_findings("a", [failed])[0].detail
    assert "none was made" in timeline_findings("a", [])[0].detail


def test_failed_transfers_are_counted(recording: Recording) -> None:
    failed = replace(recording, failure="old QEMU refused migrate")
    found = decide(BY_CLAIM[10], "a", [recording, failed])
    assert found.found == "shown"
    assert "1 of 2 transfers, the others failed: old QEMU refused migrate" in found.detail


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
    (4, connected_first, "came after the main channel"),
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
    found = BY_CLAIM[claim].look(see(breaking(recording)))
    assert found.state == "broken"
    assert words in found.text


def test_a_broken_valid_transfer_refutes(recording: Recording) -> None:
    # The judgement of a run asks nothing of addresses: it is valid, and the claim is refuted.
    found = decide(BY_CLAIM[2], "a", [recording, same_address(recording)])
    assert found.found == "refuted"
    assert recording.id in found.detail


def test_a_guest_without_devices_shows_no_ids_of_devices(recording: Recording) -> None:
    found = VFIO_IDS.look(see(recording))
    assert (found.state, "no descriptor of an assigned device" in found.text) == ("broken", True)
