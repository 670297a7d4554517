"""The verdict over several transfers: k of five broken, failed ones, incomplete ones, controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from results.claims.transfer_checks import CHECKS, PINS, timeline_findings
from results.claims.transfer_verdict import JudgedTransfer, TimelineCheck, decide
from results.records.recording import Recording

ALL = (*CHECKS, PINS)
BY_CLAIM = {check.claim: check for check in ALL}


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
    assert JudgedTransfer.of(failed).run.outcome == "failed"
    found = decide(check, "system", [recording, recording, failed, recording, recording])
    assert (found.found, found.evidence) == ("shown", (recording.id,) * 4), found.detail
    assert "4 of 5 transfers, the others failed: " in found.detail
    assert decide(check, "system", [failed, broken, recording]).found == "refuted"
    assert decide(check, "system", [failed] * 5).found == "not testable"


@pytest.mark.parametrize("claim", [2, 3, 4, 5, 11])
def test_evidence_in_a_transfer_that_failed_later_refutes(claim: int, recording: Recording) -> None:
    check = BY_CLAIM[claim]
    failed = replace(check.breaking(recording), failure="new QEMU ended with SIGSEGV")
    found = decide(check, "system", [recording, failed])
    assert found.found == "refuted", found.detail


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
