"""The noise floor: it holds the next A/A shift, and no bad night, month or small A/A moves it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.comparison.host_noise import noise_floors
from results.comparison.noise_floor import (
    LEAST_NIGHTS,
    NIGHTS,
    NoiseFloor,
    aa_floor,
    bound_of_next,
    false_alarms,
    nights_floor,
)
from results.store.store import AaEntry, open_store

DAY_NS = 24 * 3600 * 10**9


def each_night(shifts, boots=8):
    return [[(boots, round(shift))] for shift in shifts]


# How large


def test_by_hand():
    # The weights of seven nights differ little, so the 4th of them is the middle one, times the
    # factor of 7 at 95 %; sixty weighted nights are worth 40 equal ones.
    assert bound_of_next([5, 3, 1, 6, 2, 4, 7]) == pytest.approx(4 * 3.97, rel=2e-3)
    assert bound_of_next([7] * 60) == pytest.approx(7 * 3.08, rel=2e-3)
    assert bound_of_next([0] * 8) == 0
    floor = aa_floor(each_night([40_000] * 60, boots=4))
    assert floor.at(4) == pytest.approx(40_000 * 3.08, rel=2e-3)


@pytest.mark.parametrize("n", [6, 7, 10, 19, 40])
def test_the_next_shift_stays_below_it(n):
    random = np.random.default_rng(n)
    sets = random.normal(0, 50_000, (3000, n + 1))
    above = sum(abs(following) > bound_of_next(np.abs(seen)) for *seen, following in sets)
    assert 0.03 <= above / len(sets) <= 0.062  # 5 % and three standard errors


def test_it_falls_with_the_root_of_the_boots():
    floor = aa_floor(each_night([100_000, -100_000] * 5, boots=4))
    assert floor.at(16) == pytest.approx(floor.at(4) / 2, abs=1)
    assert floor.at(64) == pytest.approx(floor.at(4) / 4, abs=1)
    assert NoiseFloor(5.2, None, 9).at(2) == NoiseFloor(5.2, None, 9).at(50) == 6


@given(st.lists(st.integers(-(10**9), 10**9), min_size=LEAST_NIGHTS, max_size=30))
def test_signs_do_not_matter(shifts):
    assert aa_floor(each_night(shifts)) == aa_floor(each_night([-s for s in shifts]))


# What does not move it


def test_one_bad_night_of_nineteen_does_not_move_it():
    random = np.random.default_rng(19)
    good = random.normal(0, 30_000, 18).tolist()
    bad = aa_floor(each_night([*good, 1_500_000])).at(8)
    assert bad <= 1.3 * aa_floor(each_night(good)).at(8)
    many_in_one = [*each_night(good), [(8, 1_500_000)] * 40]
    assert aa_floor(many_in_one).at(8) == bad


def test_it_recovers_from_a_bad_month():
    random = np.random.default_rng(30)
    before, after = random.normal(0, 30_000, 40), random.normal(0, 30_000, 100)
    month = random.normal(0, 900_000, 30)
    usual = aa_floor(each_night(before)).at(8)

    def nights_after(count):
        return aa_floor(each_night([*before, *month, *after[:count]])).at(8)

    assert nights_after(0) > 5 * usual  # it was noisy indeed
    for count in (25, 40, 60, 100):
        assert nights_after(count) <= 1.6 * usual
    only_bad_before = aa_floor(each_night([*month, *after[:25]])).at(8)
    assert only_bad_before <= 1.6 * usual


def test_the_last_sixty_nights_count():
    assert aa_floor(each_night([10**9] * 100 + [50] * NIGHTS)) == aa_floor(
        each_night([50] * NIGHTS)
    )


def test_small_comparisons_of_a_build_with_itself_set_no_floor():
    """Two boots differed by 9.73 ms: what they say of twenty is nothing."""
    assert aa_floor(each_night([9_730_000] * 50, boots=2)) is None
    assert aa_floor(each_night([9_730_000] * 50, boots=3)) is None
    mixed = [*each_night([9_730_000] * 50, boots=2), *each_night([40_000] * 10)]
    assert aa_floor(mixed) == aa_floor(each_night([40_000] * 10))


def test_a_few_nights_say_nothing():
    assert aa_floor([]) is None
    assert aa_floor(each_night([40_000] * (LEAST_NIGHTS - 1))) is None
    assert aa_floor([[]] * 30) is None


# Nights apart


def test_nights_apart():
    random = np.random.default_rng(3)
    medians = np.rint(2_400_000 * (1 + random.normal(0, 0.03, 60))).astype(int).tolist()
    floor = nights_floor(medians)
    # Two nights differ by 3 % times the root of 2; 1.96 of that are 0.2 ms.
    assert 140_000 < floor.at(20) < 290_000
    assert floor.at(20) == floor.at(80)
    assert nights_floor(medians, 0.998).at(20) > 1.4 * floor.at(20)
    assert nights_floor(medians[:11]) is None
    assert nights_floor([2_400_000] * 12).at(9) == 0


# From a store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def keep(store, make_session):
    """A night's A/A of 8 boots in the store."""

    def make(night, shift_ns, kernel="6.12", host="n1", dimensions="vcpus=2"):
        session = replace(
            make_session(f"20260101-{night:06d}-aaaa", night * DAY_NS),
            environment={"host": host, "kernel": kernel},
        )
        store.add_session(session)
        store.add_aa(session.id, AaEntry(host, dimensions, 8, shift_ns, "same"))
        return session

    return make


def test_another_kernel_or_host_has_its_own_floor(store, keep, make_run):
    for night in range(1, 11):
        keep(night, 40_000)
        keep(100 + night, 900_000, kernel="6.13")
        keep(200 + night, 700_000, host="n2")
        keep(300 + night, 500_000, dimensions="vcpus=4")
    tonight = replace(keep(500, 0), started_unix_ns=500 * DAY_NS)
    floors = noise_floors(store, tonight, [make_run()])
    assert floors["anon"].at(8) == pytest.approx(40_000 * 3.3, rel=0.1)
    assert floors["anon"].nights == 11
    newer = replace(tonight, environment={"host": "n1", "kernel": "6.13"})
    assert noise_floors(store, newer, [make_run()])["anon"].at(8) > 2_000_000
    unknown = replace(tonight, environment={"host": "n1", "kernel": "6.14"})
    assert noise_floors(store, unknown, [make_run()]) == {}


def test_later_nights_do_not_change_what_was_said(store, keep, make_run):
    nights = [keep(night, 40_000) for night in range(1, 11)]
    before = noise_floors(store, nights[-1], [make_run()])
    for night in range(20, 60):
        keep(night, 900_000)
    assert noise_floors(store, nights[-1], [make_run()]) == before


def test_false_alarms():
    assert false_alarms([]) == (0, 0)
    assert false_alarms(["same", "regressed", "undecided", "improved", "same"]) == (2, 5)
