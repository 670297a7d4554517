"""A level that moved and stayed is a change; an outlier is none."""

from __future__ import annotations

import numpy as np
import pytest

from results.stats.change_points import change_points


def series(seed, nights, noise=0.05):
    return np.exp(np.random.default_rng(seed).normal(1.4, noise, nights))


def test_a_step_is_found_where_it_is():
    values = series(1, 30)
    values[20:] *= 1.3
    (change,) = change_points(values.tolist())
    assert change.at == 20
    assert change.percent == pytest.approx(30, abs=8)


def test_three_nights_are_enough_for_a_large_step():
    values = series(2, 30)
    values[-3:] *= 1.6
    (change,) = change_points(values.tolist())
    assert change.at == 27


@pytest.mark.parametrize("factor", [2, 10, 1000])
@pytest.mark.parametrize("at", [0, 1, 12, 28, 29])
def test_a_single_outlier_is_no_change(factor, at):
    values = series(3, 30)
    values[at] *= factor
    assert change_points(values.tolist()) == ()


@pytest.mark.slow
@pytest.mark.parametrize("nights", [10, 30, 60])
def test_false_alarms_stay_below_five_percent(nights):
    alarms = 0
    for seed in range(200):
        values = series(1000 + seed, nights)
        if nights >= 20:
            values[seed % nights] *= 2
        alarms += bool(change_points(values.tolist()))
    assert alarms <= 16  # 5 % of 200 and two standard deviations


@pytest.mark.parametrize("values", [[], [4.0], [4.0] * 5, [4.0] * 40, [0.0] * 9])
def test_nothing_to_find(values):
    assert change_points(values) == ()
