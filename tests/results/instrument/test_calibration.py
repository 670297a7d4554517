"""Shots with a known truth: what a sound and what an unsound instrument make of them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.instrument.calibration import MOST_LOST, calibrate, shots_needed
from results.instrument.shots import LostShot, Shot, inside, section_length
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
                    section_ns=BASE + shown,
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
        ({"count": 3}, "too few"),
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


def grown(extra):
    """Blackout and gap grow by more than was injected: `extra` of the shot's pause."""
    return [
        replace(
            shot,
            blackout_ns=shot.blackout_ns + extra(shot.injected_ns),
            guest_gap_ns=shot.guest_gap_ns + extra(shot.injected_ns),
        )
        for shot in shots()
    ]


def test_a_qemu_that_is_slow_after_the_pause_is_no_fault():
    assert calibrate(grown(lambda ns: 450_000 if ns else 0)).passed


def test_blackouts_that_grow_by_three_times_the_pause_are_a_fault_at_every_length():
    found = calibrate(grown(lambda ns: 2 * ns))
    assert not found.passed
    for level in found.levels:
        assert any("at least" in fault for fault in level.faults), level


def test_a_blackout_that_grows_by_milliseconds_more_is_a_fault():
    found = calibrate(grown(lambda ns: 3_000_000 if ns else 0))
    assert not found.passed
    assert all(level.faults for level in found.levels)
    assert calibrate(grown(lambda ns: 900_000 if ns > 1_000_000 else 0)).passed


@pytest.mark.parametrize("extra", [-2_500_000, 2_500_000])
def test_a_guest_that_contradicts_is_a_fault(extra):
    torn = [replace(s, guest_gap_ns=s.guest_gap_ns + (extra if s.asked_ns else 0)) for s in shots()]
    found = calibrate(torn)
    assert not found.passed
    assert any("guest's gap" in fault for fault in found.faults)


def test_a_guest_that_does_not_testify_is_a_check_that_was_skipped():
    found = calibrate([replace(shot, guest_gap_ns=None) for shot in shots()])
    assert not found.passed
    assert found.levels[0].guest_ns is None
    assert any("in which the guest testified are too few" in fault for fault in found.faults)


def test_a_kind_of_pause_that_the_guest_cannot_see_is_named():
    """Under TCG the guest's clock runs again before new QEMU is stopped."""
    blind = [replace(s, guest_gap_ns=None) for s in shots(cell="anon on tcg")]
    found = calibrate(blind)
    assert found.passed, found.faults
    assert "does not check 0.5, 5, 100 ms" in found.notes[0]
    assert not calibrate([replace(shot, kind="old") for shot in blind]).passed


@pytest.mark.parametrize("count", [3, 4])
def test_shots_that_are_too_few_for_the_checks_do_not_pass(count):
    """Both checks have no interval then: they were skipped without a word."""
    found = calibrate(shots(count=count))
    assert not found.passed
    assert not found.judged
    needed = shots_needed(len(LEVELS))
    for check in ("the whole blackout", "its gap"):
        assert any(check in f and f"takes {needed}" in f for f in found.faults), found.faults


def test_the_number_of_shots_that_is_said_to_be_needed_is_enough():
    assert [shots_needed(levels) for levels in (1, 3, 6, 15, 60)] == [4, 5, 5, 6, 7]
    needed = shots_needed(len(LEVELS))
    assert calibrate(shots(count=needed)).passed
    assert not calibrate(shots(count=needed - 1)).passed


def scattered(width, levels=LEVELS):
    return [
        replace(
            shot,
            blackout_ns=shot.blackout_ns + n * 7919 % 13 * width // 12,
            guest_gap_ns=shot.guest_gap_ns + n * 7919 % 13 * width // 12,
        )
        for n, shot in enumerate(shots(levels, count=8))
    ]


def test_a_check_that_could_contradict_nothing_does_not_pass():
    """Intervals wider than the longest pause would let a blackout without it pass as well."""
    found = calibrate(scattered(20_000_000, levels=(500_000, 1_000_000)))
    assert (found.passed, found.judged) == (False, False)
    assert any("scatter too much" in fault for fault in found.faults)
    assert calibrate(scattered(20_000_000)).judged  # 100 ms is longer than that scatter


# -- a constant offset -----------------------------------------------------------------------------


def off_by(constant_ns, **changed):
    """Blackouts all off by a constant, with the guest's gap around and uprobes inside the true."""
    return [
        replace(
            shot,
            uprobe_ns=shot.blackout_ns - 200_000,
            blackout_ns=shot.blackout_ns + constant_ns,
            **changed,
        )
        for shot in shots()
    ]


def test_a_constant_offset_is_bounded_by_other_witnesses_alone():
    (bound,) = calibrate(off_by(0)).constant
    assert bound.cell == "anon on kvm"
    assert bound.low_ns == pytest.approx(-300_000, abs=20_000)  # the guest's gap is longer
    assert bound.high_ns == pytest.approx(200_000, abs=20_000)  # QEMU's functions are shorter
    (within,) = calibrate(off_by(-250_000)).constant
    assert (within.low_ns, within.high_ns) == (bound.low_ns - 250_000, bound.high_ns - 250_000)


@pytest.mark.parametrize(
    ("constant_ns", "word"),
    [(5_000_000, "longer than the guest's own gap"), (-1_500_000, "shorter than QEMU's own")],
)
def test_a_constant_offset_that_witnesses_exclude_is_a_fault(constant_ns, word):
    found = calibrate(off_by(constant_ns))
    assert not found.passed
    assert [fault for fault in found.faults if word in fault]


def test_without_a_witness_an_offset_is_not_bounded():
    (bound,) = calibrate([replace(shot, uprobe_ns=None) for shot in off_by(-1_500_000)]).constant
    assert bound.low_ns == pytest.approx(-1_800_000, abs=20_000)
    assert bound.high_ns is None


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


def lost(count, asked_ns=500_000, reason="run failed: gone"):
    return [LostShot("anon on kvm", "new", asked_ns, reason)] * count


def test_no_shot_at_all_does_not_pass():
    found = calibrate([], lost(3))
    assert not found.passed
    assert not found.judged
    assert found.lost == {"run failed: gone": 3}


def test_a_calibration_that_lost_most_of_its_shots_does_not_pass():
    made = shots(count=8)
    few = calibrate(made, lost(1))
    assert few.passed, few.faults
    found = calibrate(made, lost(500))
    assert not found.passed
    assert f"500 of {500 + len(made)} transfers were lost (94%), 5% may be" in found.faults
    assert MOST_LOST == 0.05


def test_a_length_of_which_every_shot_was_lost_is_a_fault():
    made = [shot for shot in shots(count=40) if shot.asked_ns != 500_000]
    found = calibrate(made, lost(2))
    assert found.faults == ("anon on kvm, new, 0.5 ms: every transfer was lost",)


def test_one_bad_cell_fails_the_whole():
    found = calibrate([*shots(), *shots(cell="anon on tcg", slope=1.1)])
    assert not found.passed
    assert {fit.cell for fit in found.fits} == {"anon on kvm", "anon on tcg"}
    assert all("anon on tcg" in fault for fault in found.faults)


@given(slope=st.floats(0.5, 1.5), offset=st.integers(-1_000_000, 1_000_000), wild=st.integers(0, 1))
def test_the_line_is_found_whatever_a_wild_shot_does(slope, offset, wild):
    made = shots(slope=slope, offset=0, noise=0, count=7)
    made = [replace(s, section_ns=s.section_ns + (offset if s.asked_ns else 0)) for s in made]
    if wild:
        made[-1] = replace(made[-1], section_ns=made[-1].section_ns * 3)
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
    assert section_length(run, seen, "old") == 200
    assert section_length(run, seen, "new") == 300  # the guest ran before the function had returned
    assert section_length(run, seen, "main", 5_400) is None  # no activation was seen
    assert section_length(run, marks(), "new") is None
    assert section_length(make_run(blackout_ns=None), seen, "new") is None


def test_only_what_lies_within_the_blackout_counts(make_run):
    run = make_run(blackout_ns=1_000, blackout_start_ns=5_000)
    assert inside(run, 5_000, 6_000)
    assert not inside(run, 4_999, 5_500)
    assert not inside(run, 5_500, 6_001)
    assert not inside(make_run(blackout_ns=None), 5_500, 5_600)
