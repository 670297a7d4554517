"""The noise floor must hold the next A/A shift, however few were seen before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.comparison.noise_floor import false_alarms, noise_floor


def test_by_hand():
    assert noise_floor([]) is None
    assert noise_floor([0, 0]) == 0
    assert noise_floor([-100_000]) == 1_270_621  # t(1, 97.5 %) = 12.70620
    assert noise_floor([3_000, -4_000]) == 15_213  # 4.30265 * sqrt((9 + 16) / 2) * 1000
    # From 19 on: the 19th of 19, the 38th of 39.
    assert noise_floor(range(-9, 10)) == 9
    assert noise_floor(range(1, 40)) == 38
    assert noise_floor([*range(17), -900]) >= 900


@pytest.mark.parametrize("n", [1, 2, 5, 10, 18, 19, 40])
def test_the_next_shift_stays_below_it(n):
    random = np.random.default_rng(n)
    sets = random.normal(0, 50_000, (3000, n + 1)).astype(np.int64).tolist()
    above = sum(abs(following) > noise_floor(seen) for *seen, following in sets)
    assert above / len(sets) <= 0.062  # 5 % and three standard errors
    if n < 19:
        assert above / len(sets) >= 0.03


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30))
def test_signs_and_order_do_not_matter(shifts):
    found = noise_floor(shifts)
    assert found == noise_floor([-s for s in reversed(shifts)])
    assert found >= sorted(abs(s) for s in shifts)[int(0.95 * len(shifts)) - 1]


def test_false_alarms():
    assert false_alarms([]) == (0, 0)
    assert false_alarms(["same", "regressed", "undecided", "improved", "same"]) == (2, 5)
