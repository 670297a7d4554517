"""Which events belong to a transfer: to its QEMUs, and to no earlier attempt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.judgement.judge import judge
from results.records.recording import Event, VcpuBracket
from results.timeline.moments import Marks, transfer_events

OLD, NEW = 10, 11  # as in make_recording, where `migrate` was sent at 100


@pytest.fixture
def recording(make_run, make_recording):
    return make_recording(make_run())


def event(ns, mark, edge="enter", pid=OLD):
    return Event(ns, pid, pid, mark, edge)


def test_one_process_has_two_sides(recording):
    events = (
        event(50, "exec"),  # of an earlier update
        event(140, "vm_stop"),
        event(150, "exec"),
        event(160, "vm_start"),
    )
    one = replace(recording, new=replace(recording.new, pid=OLD), events=events)
    marks = Marks(*transfer_events(one))
    assert (marks.old("vm_stop", "enter"), marks.new("vm_stop", "enter")) == (140, None)
    assert (marks.old("vm_start", "enter"), marks.new("vm_start", "enter")) == (None, 160)
    two = replace(recording, events=events)
    assert transfer_events(two) == (events, OLD, NEW)


ATTEMPT = (
    event(1_000, "cpr_save"),
    event(1_010, "sendmsg"),
    event(1_100, "cpr_save", "return"),
    event(2_000, "vm_stop"),
    event(2_010, "pause_vcpus"),
    event(2_050, "pause_vcpus", "return"),
    event(2_090, "vm_stop", "return"),
)


def shifted(events, ns):
    return tuple(replace(e, ns=e.ns + ns) for e in events)


@pytest.mark.parametrize("sent_ns", [100, 10_500])
def test_earlier_attempt_of_old_qemu_is_left_out(recording, sent_ns):
    """Whether it was cancelled before this `migrate` was sent, or after that."""
    events = (*ATTEMPT, *shifted(ATTEMPT, 10_000), event(12_500, "vm_start", pid=NEW))
    seen = replace(
        recording,
        events=events,
        steps={"migrate": sent_ns},
        brackets=(VcpuBracket(0, 12, 14, 12_020, 13_000),),
    )
    assert transfer_events(seen)[0] == events[len(ATTEMPT) :]


def test_mark_that_only_an_earlier_attempt_passed_is_missing(recording):
    setup = (event(50, "setup"), event(60, "setup", "return"))
    seen = replace(recording, events=(*setup, *ATTEMPT))
    assert transfer_events(seen)[0] == ATTEMPT


def test_marks_after_the_entry_belong_to_no_attempt(recording):
    """Old QEMU may stop once more when it quits: that is not the stop of the transfer."""
    later = (event(20_000, "pause_vcpus"), event(20_010, "pause_vcpus", "return"))
    bracket = VcpuBracket(0, 12, 14, 2_020, 3_000)
    seen = replace(recording, events=(*ATTEMPT, *later), brackets=(bracket,))
    marks = Marks(*transfer_events(seen))
    assert marks.old("pause_vcpus", "return") == 2_050


def test_cancelled_attempt_does_not_fail_a_run(real_recordings):
    """Everything that old QEMU did in the attempt, 200 ms earlier, is in the trace too."""
    for recording in real_recordings:
        run = judge(recording)
        marks = {"cpr_save", "outgoing", "connected", "vm_stop", "pause_vcpus", "setup", "complete"}
        earlier = tuple(
            e
            for e in recording.events
            if e.pid == recording.old.pid and e.mark in marks | {"sendmsg", "runstate"}
        )
        for before_ns in (200_000_000, 2_000_000_000):
            again = (*recording.events, *shifted(earlier, -before_ns))
            found = judge(replace(recording, events=again))
            assert (found.outcome, found.reason, found.spans, found.fds) == (
                run.outcome,
                run.reason,
                run.spans,
                run.fds,
            )
