"""A level that moved and stayed is a change; an outlier is none, and a drift is called a drift."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from results.stats import drift
from results.stats.change_points import find_changes
from results.stats.night_noise import night_noise, without_outliers
from results.stats.partition import SegmentCosts, optimal_partition


def series(seed, nights, noise=0.03):
    """Logarithms of nights around 4 ms."""
    return np.random.default_rng(seed).normal(np.log(4.0), noise, nights)


def residual(values, ar):
    """Cost of one stretch by generalised least squares, from the correlation's own matrix."""
    size = len(values)
    nights = np.arange(size)
    inverse = np.linalg.inv(ar ** np.abs(np.subtract.outer(nights, nights))) * (1 - ar * ar)
    ones = np.ones(size)
    level = (ones @ inverse @ values) / (ones @ inverse @ ones)
    return float((values - level) @ inverse @ (values - level))


def ramp_residual(values, ar, begin, end):
    size = len(values)
    nights = np.arange(size)
    inverse = np.linalg.inv(ar ** np.abs(np.subtract.outer(nights, nights))) * (1 - ar * ar)
    columns = np.column_stack([np.ones(size), np.clip(nights - begin, 0, end - begin)])
    fit = np.linalg.solve(columns.T @ inverse @ columns, columns.T @ inverse @ values)
    left = values - columns @ fit
    return float(left @ inverse @ left), float(fit[1])


@pytest.mark.parametrize("ar", [0.0, 0.3, 0.7])
def test_costs_are_those_of_generalised_least_squares(ar):
    values = series(1, 20)
    costs = SegmentCosts(values - values.mean(), ar)
    centred = values - values.mean()
    for start, end in ((0, 20), (0, 1), (3, 9), (5, 6), (17, 20)):
        assert costs.of(start, end) == pytest.approx(residual(centred[start:end], ar), abs=1e-12)
    assert costs.ending_at(15, 12) == pytest.approx([costs.of(s, 15) for s in range(12)])


@pytest.mark.parametrize("ar", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_division_costs_less(seed, ar):
    """Against all divisions of 13 nights into stretches of at least three."""
    values = series(seed, 13)
    values[6:] += 0.1 * (seed % 3)
    costs = SegmentCosts(values - values.mean(), ar)
    penalty = 6.0 * 0.03**2
    best = min(
        sum(costs.of(a, b) for a, b in zip((0, *cuts), (*cuts, 13), strict=True))
        + penalty * len(cuts)
        for number in range(4)
        for cuts in combinations(range(3, 11), number)
        if all(b - a >= 3 for a, b in zip((0, *cuts), (*cuts, 13), strict=True))
    )
    found = optimal_partition(costs, penalty, 3)
    edges = (0, *found, 13)
    spent = sum(costs.of(a, b) for a, b in pairwise(edges))
    assert spent + penalty * len(found) == pytest.approx(best)


@pytest.mark.parametrize("ar", [0.0, 0.5])
def test_ramps_cost_what_least_squares_leave(ar):
    values = series(2, 40)
    values[10:] += 0.004 * np.arange(30)
    going_on = drift.going_on(values, ar, 14)
    costs = {begin: ramp_residual(values, ar, begin, 39) for begin in range(26)}
    begin = min(costs, key=lambda each: costs[each][0])
    assert going_on.at == begin + 1
    assert (going_on.cost, going_on.slope) == pytest.approx(costs[begin])
    ended = drift.ended(values, ar, 14)
    assert ended is not None
    cost, slope = ramp_residual(values, ar, ended.at - 1, ended.until)
    assert (ended.cost, ended.slope) == pytest.approx((cost, slope))


@pytest.mark.parametrize("ar", [0.0, 0.5])
def test_the_noise_is_estimated_with_its_correlation(ar):
    """Differences of neighbouring nights understate it where they resemble each other."""
    random = np.random.default_rng(5)
    fresh = random.normal(0.0, 0.05 * np.sqrt(1 - ar * ar), 400)
    values = np.empty(400)
    values[0] = random.normal(0.0, 0.05)
    for night in range(1, 400):
        values[night] = ar * values[night - 1] + fresh[night]
    noise = night_noise(values)
    assert noise.sd == pytest.approx(0.05, rel=0.15)
    assert noise.ar == pytest.approx(ar, abs=0.13)


def test_a_step_is_found_where_it_is():
    values = series(1, 30)
    values[20:] += np.log(1.3)
    (change,) = find_changes(values)
    assert (change.kind, change.clear, change.rises) == ("step", True, True)
    assert change.at == change.until == 20
    assert change.after / change.before == pytest.approx(1.3, rel=0.05)


def test_a_drift_is_no_row_of_steps():
    values = series(3, 100)
    values[30:] += np.log(1.01) / 7 * np.arange(1, 71)
    (change,) = find_changes(values)
    assert (change.kind, change.clear, change.until) == ("drift", True, 99)
    assert 15 <= change.at <= 45
    assert change.after / change.before == pytest.approx(1.01**10, rel=0.05)


@pytest.mark.parametrize("factor", [2, 10, 1000])
@pytest.mark.parametrize("at", [0, 1, 12, 28, 29])
def test_a_single_outlier_is_no_change(factor, at):
    values = series(3, 30)
    values[at] += np.log(factor)
    assert find_changes(values) == ()


def test_an_outlier_is_put_on_the_nearer_side_and_a_step_is_not():
    values = np.zeros(20)
    values[5] = 1.0
    values[12:] = 0.5
    kept = without_outliers(values, 0.03)
    assert kept[5] == 0.0
    assert kept[12:].tolist() == [0.5] * 8


@pytest.mark.parametrize("values", [[], [1.4], [1.4] * 5, [1.4] * 40])
def test_nothing_to_find(values):
    assert find_changes(np.array(values)) == ()
