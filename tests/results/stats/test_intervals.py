"""Numbers that can be worked out by hand, by scipy, or by simulating many boots."""

from __future__ import annotations

import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.stats.intervals import (
    boot_medians,
    interval_over_boots,
    median_ns,
    order_statistic_interval,
    t_interval_log,
)

pauses = st.integers(min_value=1, max_value=10**12)


# By hand


@pytest.mark.parametrize(
    ("values", "median"),
    [([], None), ([7], 7), ([9, 1], 5), ([4, 1], 2), ([3, 1, 2], 2), ([8, 1, 3, 2], 2)],
)
def test_median(values, median):
    assert median_ns(values) == median


@pytest.mark.parametrize(
    ("n", "k"),
    # k by hand from sums of C(n, i) / 2^n: 2/64 = 3.1 % outside at n = 6 with k = 1, and so on.
    [(5, None), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (14, 3), (15, 4), (20, 6), (25, 8)],
)
def test_order_statistic_ranks(n, k):
    values = list(range(100, 100 + n))
    expected = None if k is None else (values[k - 1], values[n - k])
    assert order_statistic_interval(values[::-1]) == expected


def test_order_statistic_needs_6_values_for_95_percent_and_8_for_99():
    assert order_statistic_interval([1, 2, 3, 4, 5]) is None
    assert order_statistic_interval([]) is None
    assert order_statistic_interval(range(7), 0.99) is None
    assert order_statistic_interval(range(8), 0.99) == (0, 7)
    assert order_statistic_interval(range(4), 0.80) == (0, 3)


@pytest.mark.parametrize("n", [6, 7, 13, 40, 101, 1000, 3000])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_order_statistic_is_the_narrowest_that_scipy_grants(n, confidence):
    found = order_statistic_interval(range(n), confidence)
    alpha = (1 - confidence) / 2
    k = 0
    while k < n // 2 and stats.binom.cdf(k, n, 0.5) <= alpha:
        k += 1
    assert found == ((k - 1, n - k) if k else None)


def test_t_interval_by_hand():
    # Logs 0 and ln 4: mean ln 2, s = ln 4 / sqrt 2, s / sqrt 2 = ln 2, t(1, 97.5 %) = 12.7062.
    low, high = t_interval_log([1_000_000, 4_000_000])
    assert high == pytest.approx(2_000_000 * 2**12.7062, rel=1e-4)
    assert low == pytest.approx(2_000_000 / 2**12.7062, abs=1)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_t_interval_by_scipy(n):
    values = [4_420_000 + 13_000 * i * i for i in range(n)]
    logs = np.log(values)
    low, high = np.exp(stats.t.interval(0.95, n - 1, logs.mean(), stats.sem(logs)))
    assert t_interval_log(values) == (int(np.floor(low)), int(np.ceil(high)))


@pytest.mark.parametrize("values", [[], [5], [0, 5, 6], [-1, 5], [1, 10**300]])
def test_t_interval_says_none_where_it_cannot_be_computed(values):
    assert t_interval_log(values) is None


@pytest.mark.parametrize(
    ("n", "method"), [(0, "none"), (3, "none"), (4, "t"), (5, "t"), (6, "order"), (40, "order")]
)
def test_the_method_follows_the_number_of_boots(n, method):
    bounds, found = interval_over_boots([1000 + i for i in range(n)])
    assert found == method
    assert (bounds is None) == (n < 4)


def test_two_boots_far_apart_have_no_interval():
    """130 ms [0, 14804863590384] was a headline."""
    assert interval_over_boots([1_000_000, 260_000_000]) == (None, "none")


# Simulated boots: the interval must hold the true median in 95 % of all sessions


@pytest.mark.parametrize("n", [4, 5, 6, 12])
@pytest.mark.parametrize("shape", ["normal", "lognormal"])
def test_coverage(n, shape):
    random = np.random.default_rng(20261123 + n)
    sessions, true = 4000, 4_420_000
    if shape == "normal":
        boots = random.normal(true, 0.05 * true, (sessions, n))
    else:
        boots = true * np.exp(random.normal(0, 0.4, (sessions, n)))
    held = 0
    for session in boots.astype(np.int64).tolist():
        (low, high), _ = interval_over_boots(session)
        held += low <= true <= high
    assert held / sessions >= 0.93
    # An interval that always holds it would be as useless; ranks are discrete: 97.9 % at most.
    assert held / sessions <= 0.985


# Properties


@given(st.lists(pauses, min_size=2, max_size=60))
def test_the_interval_holds_the_median(values):
    bounds, _ = interval_over_boots(values)
    if bounds is not None:  # None only when two boots differ beyond what a float holds
        assert bounds[0] <= median_ns(values) <= bounds[1]


@given(st.lists(pauses, min_size=2, max_size=40), st.randoms())
def test_order_of_boots_does_not_matter(values, random):
    shuffled = values.copy()
    random.shuffle(shuffled)
    assert median_ns(shuffled) == median_ns(values)
    one, other = interval_over_boots(values), interval_over_boots(shuffled)
    assert one == other


@given(st.lists(pauses, min_size=6, max_size=40), st.integers(min_value=1, max_value=1000))
def test_order_statistics_scale_exactly(values, factor):
    low, high = order_statistic_interval(values)
    scaled = order_statistic_interval([v * factor for v in values])
    assert scaled == (low * factor, high * factor)
    assert abs(median_ns([v * factor for v in values]) - median_ns(values) * factor) <= factor


@given(
    st.lists(st.integers(min_value=10**6, max_value=10**8), min_size=3, max_size=5),
    st.integers(min_value=2, max_value=100),
)
def test_t_intervals_scale_but_for_rounding(values, factor):
    low, high = t_interval_log(values)
    scaled_low, scaled_high = t_interval_log([v * factor for v in values])
    assert scaled_low == pytest.approx(low * factor, rel=1e-9, abs=factor + 1)
    assert scaled_high == pytest.approx(high * factor, rel=1e-9, abs=factor + 1)


@given(st.lists(pauses, min_size=6, max_size=50))
def test_more_confidence_is_never_narrower(values):
    found = [order_statistic_interval(values, c) for c in (0.5, 0.8, 0.9, 0.95, 0.99)]
    for narrow, wide in pairwise(found):
        if wide is not None:
            assert wide[0] <= narrow[0]
            assert narrow[1] <= wide[1]


@given(st.lists(pauses, min_size=1))
def test_median_is_that_of_the_standard_library(values):
    assert (
        median_ns(values)
        == int(statistics.median_low(values) + statistics.median_high(values)) // 2
    )


# Boots


def test_the_unit_is_the_boot(make_run):
    runs = [
        *(make_run(boot=1, update=u, blackout_ns=100) for u in range(9)),
        make_run(boot=2, blackout_ns=300),
        make_run(boot=3, blackout_ns=200),
        make_run(boot=3, update=2, blackout_ns=900, outcome="failed", reason="lost"),
    ]
    assert boot_medians(runs) == (100, 300, 200)
    assert median_ns(boot_medians(runs)) == 200  # pooled, it would be 100
    assert boot_medians([]) == ()
