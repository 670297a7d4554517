"""Shots with a known truth: what a sound and what an unsound instrument make of them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.instrument.calibration import LEAST_SHOTS, Shot, calibrate, inside, stretch
from results.records.recording import Event
from results.timeline.moments import Marks

BASE = 80_000
LEVELS = (500_000, 5_000_000, 100_000_000)


def shots(levels=LEVELS, count=6, slope=1.0, offset=0, noise=3_000, cell="anon on kvm"):
    """Shots of an instrument that shows `offset + slope * injected`."""
    found = []
    for asked in (0, *levels):
        for n in range(count):
            wobble = noise * (n - count // 2)
            injected = asked + (n * 10_000 if asked else 0)
            shown = round(slope * injected) + (offset if asked else 0) + wobble
            found.append(
                Shot(
                    run=f"r{asked}-{n}",
                    cell=cell,
                    kind="new",
                    asked_ns=asked,
                    injected_ns=injected,
                    stretch_ns=BASE + shown,
                    blackout_ns=4_000_000 + shown + wobble,
                    guest_gap_ns=4_300_000 + shown,
                )
            )
    return found


def test_a_true_instrument_passes():
    found = calibrate(shots())
    assert found.passed, found.faults
    assert found.slope == pytest.approx(1.0, abs=1e-3)
    assert abs(found.offset_ns) < 10_000
    assert [level.asked_ns for level in found.levels] == list(LEVELS)
    assert all(abs(level.error_ns) <= 3_000 for level in found.levels)
    assert found.levels[0].allowed_ns == pytest.approx(50_000 + 5_250, abs=300)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"slope": 1.02}, "off by"),
        ({"slope": 0.98}, "off by"),
        ({"offset": 60_000, "levels": (500_000,)}, "off by"),
        ({"offset": -60_000, "levels": (500_000,)}, "off by"),
        ({"count": LEAST_SHOTS - 1}, "too few"),
    ],
)
def test_a_false_instrument_fails_and_says_where(change, word):
    found = calibrate(shots(**change))
    assert not found.passed
    assert any(word in fault for fault in found.faults)


def test_an_offset_within_the_tolerance_passes():
    assert calibrate(shots(offset=45_000)).passed


def test_a_pause_that_the_blackout_does_not_hold_is_a_fault():
    """The stretch shows the pause, the whole blackout is as short as ever."""
    blind = [replace(shot, blackout_ns=4_000_000 + n) for n, shot in enumerate(shots())]
    found = calibrate(blind)
    assert not found.passed
    assert any("whole blackout grew" in fault for fault in found.faults)


def test_a_slow_qemu_after_the_pause_is_no_fault():
    slow = [
        replace(
            s,
            blackout_ns=s.blackout_ns + (700_000 if s.asked_ns else 0),
            guest_gap_ns=s.guest_gap_ns + (700_000 if s.asked_ns else 0),
        )
        for s in shots()
    ]
    assert calibrate(slow).passed


@pytest.mark.parametrize("extra", [-2_500_000, 2_500_000])
def test_a_guest_that_contradicts_is_a_fault(extra):
    torn = [replace(s, guest_gap_ns=s.guest_gap_ns + (extra if s.asked_ns else 0)) for s in shots()]
    found = calibrate(torn)
    assert not found.passed
    assert any("guest's gap" in fault for fault in found.faults)


def test_a_guest_that_does_not_testify_is_left_out():
    found = calibrate([replace(shot, guest_gap_ns=None) for shot in shots()])
    assert found.passed
    assert found.levels[0].guest_ns is None


def test_sixty_levels_of_a_true_instrument_do_not_contradict_by_chance():
    """Blackouts of one guest scatter by 0.4 ms; at 95 % each, three of sixty would fall out."""
    failed = 0
    for seed in range(12):
        chance = random.Random(seed)
        many = [
            replace(
                shot,
                cell=f"cell {cell}",
                blackout_ns=shot.blackout_ns + round(chance.gauss(0, 400_000)),
                guest_gap_ns=shot.guest_gap_ns + round(chance.gauss(0, 400_000)),
            )
            for cell in range(20)
            for shot in shots(count=8)
        ]
        failed += not calibrate(many).passed
    assert failed <= 2


def test_without_shots_without_a_pause_nothing_is_claimed():
    found = calibrate([shot for shot in shots() if shot.asked_ns])
    assert not found.passed
    assert found.levels == ()
    assert any("without a pause" in fault for fault in found.faults)


def test_no_shot_at_all_does_not_pass():
    found = calibrate([], {"run failed: gone": 3})
    assert not found.passed
    assert found.lost == {"run failed: gone": 3}


def test_one_bad_cell_fails_the_whole():
    found = calibrate([*shots(), *shots(cell="anon on tcg", slope=1.1)])
    assert not found.passed
    assert {fit.cell for fit in found.fits} == {"anon on kvm", "anon on tcg"}
    assert all("anon on tcg" in fault for fault in found.faults)


@given(slope=st.floats(0.5, 1.5), offset=st.integers(-1_000_000, 1_000_000), wild=st.integers(0, 1))
def test_the_line_is_found_whatever_a_wild_shot_does(slope, offset, wild):
    made = shots(slope=slope, offset=0, noise=0, count=7)
    made = [replace(s, stretch_ns=s.stretch_ns + (offset if s.asked_ns else 0)) for s in made]
    if wild:
        made[-1] = replace(made[-1], stretch_ns=made[-1].stretch_ns * 3)
    found = calibrate(made)
    assert found.slope == pytest.approx(slope, abs=0.05)


# -- where a pause is looked for -------------------------------------------------------------------


def marks(*events: tuple[int, int, str, str]) -> Marks:
    return Marks(tuple(Event(ns, pid, pid, mark, edge) for ns, pid, mark, edge in events), 10, 11)


def test_the_stretch_is_cut_from_the_blackout(make_run):
    run = make_run(blackout_ns=1_000, blackout_start_ns=5_000)
    seen = marks(
        (5_100, 10, "pause_vcpus", "return"),
        (5_300, 10, "vm_stop", "return"),
        (5_700, 11, "resume_vcpus", "enter"),
        (6_400, 11, "resume_vcpus", "return"),
    )
    assert stretch(run, seen, "old") == 200
    assert stretch(run, seen, "new") == 300  # the guest ran before the function had returned
    assert stretch(run, seen, "main", 5_400) is None  # no activation was seen
    assert stretch(run, marks(), "new") is None
    assert stretch(make_run(blackout_ns=None), seen, "new") is None


def test_only_what_lies_within_the_blackout_counts(make_run):
    run = make_run(blackout_ns=1_000, blackout_start_ns=5_000)
    assert inside(run, 5_000, 6_000)
    assert not inside(run, 4_999, 5_500)
    assert not inside(run, 5_500, 6_001)
    assert not inside(make_run(blackout_ns=None), 5_500, 5_600)
