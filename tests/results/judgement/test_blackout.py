"""The VM's blackout from its vCPUs' blackouts, and reasons for unknown ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.judgement.blackout import Blackout, Pause, find_blackout, find_pauses
from results.records.recording import VcpuBracket
from results.timeline.moments import Marks

FIRST = VcpuBracket(0, 11, 21, 1_000, 5_000)
SECOND = VcpuBracket(1, 12, 22, 1_200, 5_700)


@pytest.fixture
def two(make_run, make_recording):
    recording = make_recording(make_run())
    return replace(
        recording,
        scenario=replace(recording.scenario, vcpus=2),
        brackets=(FIRST, SECOND),
        steps={"migrate": 400},
    )


def test_every_vcpu_has_its_pause():
    pauses, gone = find_pauses((FIRST, SECOND), 2)
    assert pauses == (Pause(0, 1_000, 5_000, 21), Pause(1, 1_200, 5_700, 22))
    assert gone == ()


@pytest.mark.parametrize(
    ("brackets", "code", "figures"),
    [
        ((replace(FIRST, run_last_exit_ns=None),), "vcpu-never-left", {"vcpu": 0}),
        ((replace(FIRST, run_first_entry_ns=None),), "vcpu-never-entered", {"vcpu": 0}),
        (
            (replace(FIRST, run_first_entry_ns=990),),
            "vcpu-entered-early",
            {"vcpu": 0, "early_ns": 10},
        ),
        ((), "vcpu-unwatched", {"vcpu": 0}),
    ],
)
def test_an_unknown_pause_has_a_reason(brackets, code, figures):
    pauses, (reason,) = find_pauses(brackets, 1)
    assert pauses == ()
    assert (reason.code, reason.figures) == (code, figures)


def test_the_longest_pause_is_the_blackout_of_the_vm(two):
    pauses, _ = find_pauses(two.brackets, 2)
    found = find_blackout(two, Marks((), 10, 11), pauses)
    assert found == Blackout(
        (4_000, 4_500),
        (),
        (1_200, 5_700),
        skew_ns=500,
        dark_ns=3_800,  # from the last exit to the first entry
        handover_ns=4_600,
        residual_ns=4_500,
    )
    assert (found.start_ns, found.length_ns) == (1_200, 4_500)


def test_an_unknown_pause_might_be_the_longest(two):
    found = find_blackout(two, Marks((), 10, 11), find_pauses((SECOND,), 2)[0])
    assert found == Blackout((None, 4_500), ())
    assert (found.start_ns, found.length_ns) == (None, None)
