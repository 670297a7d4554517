"""Claims that show in a transfer: a real one with pinned RAM, and the same broken in many ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from results.claims.transfer_checks import CHECKS, PINS, VFIO_IDS, timeline_findings
from results.claims.transfer_verdict import TimelineCheck, Transfer, decide
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
    assert check.examine(Transfer.of(broken)).state == "broken"


@pytest.mark.parametrize("check", ALL, ids=lambda check: str(check.claim))
def test_a_check_that_notices_nothing_decides_nothing(
    check: TimelineCheck, recording: Recording
) -> None:
    blind = replace(check, breaking=lambda one: one)
    found = decide(blind, "system", [recording])
    assert found.found == "not testable"
    assert "did not notice" in found.detail


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("check", ALL, ids=lambda check: str(check.claim))
def test_broken_transfers_refute_however_many_hold(
    check: TimelineCheck, count: int, recording: Recording
) -> None:
    # The judge fails most of these runs: what they show is evidence all the same.
    broken = replace(check.breaking(recording), id=f"{recording.id}-broken")
    found = decide(check, "system", [*[broken] * count, *[recording] * (5 - count)])
    assert found.found == "refuted", found.detail
    assert broken.id in found.detail
    assert f"in {count} of 5 transfers" in found.detail
    assert found.evidence == (broken.id,) * count


@pytest.mark.parametrize("check", ALL, ids=lambda check: str(check.claim))
def test_five_transfers_that_hold_show_it(check: TimelineCheck, recording: Recording) -> None:
    found = decide(check, "system", [recording] * 5)
    assert (found.found, found.evidence) == ("shown", (recording.id,) * 5)
    assert found.detail.endswith("(5 transfers)")


def given_up(recording: Recording) -> Recording:
    """Refused before old QEMU sent anything."""
    old = replace(recording.old, runstate="running")
    new = replace(recording.new, pid=0, runstate="gone")
    bare = replace(recording, events=(), evidence=None, steps={}, qmp=(), old=old, new=new)
    return replace(bare, id=f"{recording.id}-failed", failure="old QEMU refused migrate")


def untraced(recording: Recording) -> Recording:
    """Completed, but the probes' records were lost."""
    return replace(given_up(recording), failure="", lost=7, events=())


def cut_short(recording: Recording) -> Recording:
    """New QEMU was killed while it still received descriptors."""
    late = recording.steps["migrate"] + 1_000_000
    events = tuple(e for e in recording.events if e.ns < late)
    steps = {name: ns for name, ns in recording.steps.items() if ns < late}
    old = replace(recording.old, runstate="running")
    new = replace(recording.new, runstate="gone")
    cut = replace(recording, events=events, steps=steps, old=old, new=new, evidence=None)
    return replace(cut, failure="new QEMU ended with SIGKILL")


INCOMPLETE = (given_up, untraced, cut_short)


@pytest.mark.parametrize("incomplete", INCOMPLETE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("check", ALL, ids=lambda check: str(check.claim))
def test_a_failed_transfer_with_incomplete_evidence_says_nothing(
    check: TimelineCheck, incomplete: Callable[[Recording], Recording], recording: Recording
) -> None:
    failed, broken = incomplete(recording), check.breaking(recording)
    assert Transfer.of(failed).run.outcome == "failed"
    found = decide(check, "system", [recording, recording, failed, recording, recording])
    assert (found.found, found.evidence) == ("shown", (recording.id,) * 4), found.detail
    assert "4 of 5 transfers, the others failed: " in found.detail
    assert decide(check, "system", [failed, broken, recording]).found == "refuted"
    assert decide(check, "system", [failed] * 5).found == "not testable"


def test_a_descriptor_on_its_way_when_new_qemu_is_killed_is_not_lost(recording: Recording) -> None:
    new = [e for e in recording.events if e.pid == recording.new.pid]
    received = [e.ns for e in new if e.mark == "recvmsg" and e.values.get("fds")]
    events = tuple(e for e in recording.events if e.ns < max(received))
    cut = replace(recording, events=events, evidence=None, failure="new QEMU ended with SIGKILL")
    transfer = Transfer.of(cut)
    for claim in (4, 11):
        found = BY_CLAIM[claim].examine(transfer)
        assert (found.state, "sent and not received" in found.text) == ("missing", True)


@pytest.mark.parametrize("claim", [2, 3, 4, 5, 11])
def test_evidence_in_a_transfer_that_failed_later_refutes(claim: int, recording: Recording) -> None:
    check = BY_CLAIM[claim]
    failed = replace(check.breaking(recording), failure="new QEMU ended with SIGSEGV")
    found = decide(check, "system", [recording, failed])
    assert found.found == "refuted", found.detail


@pytest.mark.parametrize("claim", [9, 10])
def test_states_of_a_failed_transfer_are_no_evidence(claim: int, recording: Recording) -> None:
    """A new QEMU that dies closes nothing, and a transfer may be given up in any state."""
    check = BY_CLAIM[claim]
    events = tuple(e for e in recording.events if e.mark != "cpr_close")
    new = replace(recording.new, runstate="gone")
    died = replace(recording, events=events, new=new, failure="new QEMU ended with SIGSEGV")
    assert check.examine(Transfer.of(died)).state == "missing"
    assert check.examine(Transfer.of(replace(died, failure=""))).state == "broken"


@pytest.mark.parametrize("check", ALL, ids=lambda check: str(check.claim))
def test_every_lost_event_is_no_evidence_against_a_claim(
    check: TimelineCheck, recording: Recording
) -> None:
    """Whatever event is lost, the run fails, and a claim that holds is not refuted by that."""
    for mark in {event.mark for event in recording.events}:
        events = tuple(e for e in recording.events if e.mark != mark)
        lossy = replace(recording, events=events, lost=len(recording.events) - len(events))
        assert decide(check, "system", [lossy]).found == "not testable", mark
        assert decide(check, "system", [recording, lossy]).found == "shown", mark


def test_without_evidence_nothing_is_decided(recording: Recording) -> None:
    bare = replace(recording, events=(), evidence=None, steps={})
    assert {check.examine(Transfer.of(bare)).state for check in ALL} == {"missing"}


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
    found = BY_CLAIM[claim].examine(Transfer.of(breaking(recording)))
    assert found.state == "broken"
    assert words in found.text


def test_a_broken_valid_transfer_refutes(recording: Recording) -> None:
    # The judgement of a run asks nothing of addresses: it is valid, and the claim is refuted.
    found = decide(BY_CLAIM[2], "a", [recording, same_address(recording)])
    assert found.found == "refuted"
    assert recording.id in found.detail


def test_a_guest_without_devices_shows_no_ids_of_devices(recording: Recording) -> None:
    found = VFIO_IDS.examine(Transfer.of(recording))
    assert (found.state, "no descriptor of an assigned device" in found.text) == ("broken", True)
