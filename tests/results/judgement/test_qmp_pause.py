"""QMP's pause, and a wall clock that was set during the transfer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.judgement.judge import judge
from results.judgement.qmp_pause import qmp_pause
from results.records.recording import QmpStamp
from results.timeline.moments import Marks
from results.timeline.order import check_marks

MS = 1_000_000
HOUR_US = 3_600_000_000


def stepped(recording, step_us, since):
    """The wall clock steps by `step_us` where `since` says that a stamp comes after the step."""
    return replace(
        recording,
        qmp=tuple(replace(q, wall_us=q.wall_us + step_us * since(q)) for q in recording.qmp),
    )


def emitted_after(recording, side, name):
    """Whether a stamp is that of an event or of a later one, by a wall clock that ran smoothly."""
    event = next(q for q in recording.qmp if (q.side, q.name) == (side, name))
    return lambda stamp: stamp.wall_us >= event.wall_us


@pytest.mark.parametrize("step_us", [-HOUR_US, HOUR_US, 1_000, -1_000, 5_000])
def test_wall_clock_that_moves_in_the_pause_is_noticed(real_recordings, step_us):
    tried = 0
    for recording in real_recordings:
        run = judge(recording)
        if run.witnesses.qmp is None:
            continue
        assert "the wall clock" not in str(run.warnings)
        stop_to_resume = run.witnesses.qmp
        moved = stepped(recording, step_us, emitted_after(recording, "new", "RESUME"))
        found = judge(moved)
        assert (found.outcome, found.reason) == ("completed", "")
        if found.witnesses.qmp is None:
            assert sum("the wall clock moved" in warning for warning in found.warnings) == 1
            tried += 1
        else:  # a small step where the marks lie far apart: QMP still says nothing impossible
            assert abs(step_us) == 1_000
            assert found.witnesses.qmp == stop_to_resume + step_us * 1_000
            assert found.witnesses.qmp <= run.witnesses.uprobe + MS // 10
    assert tried >= 8


@pytest.mark.parametrize("step_us", [2_000, -2_000])
@pytest.mark.parametrize("phase_ms", range(0, 20, 3))
def test_a_wall_clock_that_is_stepped_every_20_ms_fails_no_run(real_recordings, step_us, phase_ms):
    """QMP testifies where no step fell between STOP and RESUME, and says the truth then."""
    refused = 0
    for recording in real_recordings:
        truth = judge(recording).witnesses.qmp
        if truth is None:
            continue
        start = min(q.wall_us for q in recording.qmp if q.wall_us)

        def steps(stamp, start=start):
            return (stamp.wall_us - start + phase_ms * 1_000) // 20_000 if stamp.wall_us else 0

        found = judge(stepped(recording, step_us, steps))
        assert (found.outcome, found.reason) == ("completed", "")
        if found.witnesses.qmp is None:
            assert any("the wall clock moved" in warning for warning in found.warnings)
            refused += 1
        else:
            assert found.witnesses.qmp == truth
    assert refused, "some updates take longer than 20 ms from their first event on"


@pytest.mark.parametrize("step_us", [-HOUR_US, HOUR_US])
def test_an_hour_is_noticed_wherever_it_falls(real_recordings, step_us):
    for recording in real_recordings:
        stamps = sorted((q for q in recording.qmp if q.wall_us), key=lambda q: q.wall_us)
        sent = recording.steps["migrate"]
        for first in [q for q in stamps if q.ns >= sent][1:]:
            moved = stepped(recording, step_us, lambda q, at=first: q.wall_us >= at.wall_us)
            found = qmp_pause(moved, check_marks(moved).trusted)
            assert found.length_ns is None
            (warning,) = found.warnings
            assert warning.code == "wall-clock-moved"
            assert abs(int(warning.figures["moved_ns"]) - HOUR_US * 1_000) < 3_000 * MS


@pytest.fixture
def recording(make_run, make_recording):
    """`migrate` at 100 ns; the wall clock is 7 s ahead."""
    return make_recording(make_run())


def stamp(ms, name, side="old", late_ms=0.1):
    return QmpStamp(round((ms + late_ms) * MS), side, name, round((7_000 + ms) * 1_000))


NONE = Marks((), 10, 11)


def test_pause_from_stop_to_resume(recording):
    seen = replace(recording, qmp=(stamp(10, "STOP"), stamp(13, "RESUME", "new")))
    assert qmp_pause(seen, NONE).length_ns == 3 * MS
    assert qmp_pause(replace(recording, qmp=(stamp(10, "STOP"),)), NONE).length_ns is None
    other = replace(recording, qmp=(stamp(10, "STOP"), stamp(13, "RESUME")))  # old resumed
    assert qmp_pause(other, NONE).length_ns is None


def test_the_stop_of_an_earlier_attempt_does_not_count(recording):
    before = (stamp(2, "STOP"), stamp(3, "RESUME"))
    seen = (*before, stamp(10, "STOP"), stamp(13, "RESUME", "new"))
    assert qmp_pause(replace(recording, qmp=seen), NONE).length_ns == 3 * MS
    sent_later = replace(recording, qmp=seen, steps={"migrate": 5 * MS})
    assert qmp_pause(sent_later, NONE).length_ns == 3 * MS


def test_events_that_are_read_late_are_no_step(recording):
    """The controller leaves the CPU to QEMU in the blackout, and reads its events afterwards."""
    seen = (
        stamp(1, "MIGRATION"),
        stamp(10, "STOP", late_ms=9),
        stamp(13, "RESUME", "new", late_ms=0.2),
    )
    found = qmp_pause(replace(recording, qmp=seen), NONE)
    assert (found.length_ns, found.warnings) == (3 * MS, ())


def test_a_slewed_clock_is_no_step(recording):
    """500 ppm, the fastest slew, are 1 ms in 2 s."""
    late = stamp(2_010, "RESUME", "new", late_ms=0)
    slewed = replace(late, wall_us=late.wall_us + 1_000)
    seen = replace(recording, qmp=(stamp(10, "STOP", late_ms=0), slewed), steps={})
    assert qmp_pause(seen, NONE).length_ns == 2_001 * MS
