"""Reasons why a run is invalid, and warnings, by their codes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.judgement.validity import harm, incomplete, not_proven, stream_troubles, warnings
from results.records.evidence import Proof
from results.records.observations import RamCheck, Stream, StreamLog, VcpuBeats
from results.records.reasons import because
from results.records.run import CarriedFd

BEATS = VcpuBeats(0, (), (), (), 5, 9)
RAM0 = (CarriedFd("ram0", 0),)


@pytest.fixture
def whole(make_run, make_recording):
    return replace(make_recording(make_run()), beats=(BEATS,), ram=RamCheck(10, 40_960, 0))


def codes(reasons):
    return [reason.code for reason in reasons]


def test_a_complete_recording_has_no_reasons(whole):
    assert harm(whole) == []
    assert incomplete(whole, RAM0, (), pause_seen=True) == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"failure": "QEMU said no"}, "transfer-failed"),
        ({"ram": None}, "ram-unchecked"),
        ({"ram": RamCheck(10, 40_960, 1, "page 0x1")}, "ram-changed"),
        ({"beats": ()}, "beats-missing"),
        ({"beats": (replace(BEATS, beats_after=5),)}, "vcpu-still"),
        ({"beats": (replace(BEATS, pattern_errors=1),)}, "words-changed"),
    ],
)
def test_a_guest_that_was_harmed(whole, changed, code):
    assert codes(harm(replace(whole, **changed))) == [code]


@pytest.mark.parametrize(
    ("old", "new", "beats", "lost"),
    [
        ("gone", "", (), True),  # old died before new was there
        ("postmigrate", "gone", (), True),
        ("postmigrate", "running", (), True),  # new runs it by its own account, no vCPU beats
        ("exec", "gone", (), True),
        ("running", "gone", (), False),
        ("postmigrate", "running", (BEATS,), False),  # the check after the transfer failed
        ("", "", (), False),  # as earlier versions recorded it: not known
    ],
)
def test_a_failed_transfer_loses_the_guest_that_runs_nowhere(whole, old, new, beats, lost):
    failed = replace(
        whole,
        failure="QEMU said no",
        beats=beats,
        old=replace(whole.old, pid=10, runstate=old),
        new=replace(whole.new, pid=11, runstate=new),
    )
    expected = ["transfer-failed", "guest-lost"] if lost else ["transfer-failed"]
    assert codes(harm(failed)) == expected


def test_a_guest_that_never_started_is_not_lost(whole):
    never = replace(whole.old, pid=0, runstate="gone")
    failed = replace(whole, failure="the guest did not start: no such file", old=never)
    assert codes(harm(failed)) == ["transfer-failed"]


def test_streams_testify_instead_of_the_payload(whole):
    other = replace(whole, streams=(), beats=(), ram=None)
    assert harm(other) == []
    assert codes(stream_troubles(other, ())) == ["no-stream"]
    assert stream_troubles(whole, ()) == []
    torn = because("stream-torn", stream="net", bytes=3)
    stream = Stream("net", 1, 9, 0, 0, 9, None, None, (torn.text,))
    heard = replace(whole, streams=(StreamLog("net", (), torn=3),))
    assert stream_troubles(heard, (stream,)) == [torn]


def test_missing_evidence(whole):
    doubt = because("descriptor-nameless", fd=3)
    found = incomplete(replace(whole, lost=2), (), (doubt,), pause_seen=True)
    assert codes(found) == ["records-lost"], "what is missing may be what was lost"
    found = incomplete(whole, (), (doubt,), pause_seen=True)
    assert codes(found) == ["descriptor-nameless", "no-descriptor"]
    bare = replace(whole, probed=False)
    assert incomplete(bare, (), (), pause_seen=True) == []
    assert codes(incomplete(bare, (), (), pause_seen=False)) == ["nothing-seen"]


def test_a_broken_proof_gives_the_reasons_of_its_checks():
    text = "pins: VmPin of the holder is 0 KiB at `end`, 4 KiB were pinned"
    (reason,) = not_proven(Proof("broken", text))
    assert (reason.code, reason.text) == ("pins-short", f"proof broken: {text}")
    assert reason.figures == {"kib": 0, "point": "end", "pinned_kib": 4}
    assert not_proven(Proof("unproven", text)) == not_proven(None) == ()


def test_warnings(whole):
    silent = because("mark-silent", mark="setup")
    found = codes(warnings(replace(whole, skipped=1), [silent], clock_read=False))
    assert found == ["mark-silent", "probes-skipped", "clock-unread"]
    assert warnings(whole, [], clock_read=True) == []
    assert warnings(replace(whole, skipped=1, probed=False), [], clock_read=True) == []
