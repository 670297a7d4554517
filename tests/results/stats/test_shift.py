"""The shift, its interval and its p: by hand, by scipy, by properties and by simulation."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.stats import shift as module
from results.stats.intervals import LEAST_BOOTS
from results.stats.shift import (
    Shift,
    adjust_for_many,
    blind_half_width,
    estimate_shift,
    has_interval,
    interval_rank,
    least_p,
    permutation_p,
    shift_interval,
)

PAUSE = 4_420_000
values = st.lists(st.integers(min_value=0, max_value=10**10), min_size=1, max_size=7)
tied = st.lists(st.integers(min_value=0, max_value=3), min_size=1, max_size=7)
strata_of = st.lists(st.tuples(tied | values, tied | values), min_size=1, max_size=4)


def swapped(strata):
    return [(b, a) for a, b in strata]


# By hand


def test_four_and_four_boots():
    # Differences 100 ± 0 … 9: [97, 98, 98, 99, 99, 99, 100 x 4, 101 x 3, 102, 102, 103]. Only 2 of
    # C(8, 4) = 70 ways to deal are as extreme as all of B above all of A: p = 2/70, and k = 1.
    found = estimate_shift([([10, 11, 12, 13], [110, 111, 112, 113])])
    assert (found.shift_ns, found.low_ns, found.high_ns) == (100, 97, 103)
    assert found.p == pytest.approx(2 / 70)


def test_three_blocks():
    # Each block drifts by 1000; within it B is 100 or 102 above A. All B above all A in each of
    # three blocks: 2 of 6 ** 3 ways.
    blocks = [([d, d + 1], [d + 101, d + 102]) for d in (0, 1000, 2000)]
    found = estimate_shift(blocks)
    assert found.p == pytest.approx(2 / 216)
    # Differences per block 100, 101, 101, 102; P(U < 2) = (1 + 3) / 216 = 1.9 %, P(U < 3) = 6 %.
    assert (found.shift_ns, found.low_ns, found.high_ns) == (101, 100, 102)
    assert interval_rank([(2, 2)] * 3) == 2
    # The same boots without their blocks: the drift hides the shift.
    pooled = [([x for a, _ in blocks for x in a], [y for _, b in blocks for y in b])]
    assert not estimate_shift(pooled).clear


def test_ties_count_half():
    # U of [1, 1] against [1, 2] is 3 of 4. Of 6 ways to deal (B gets the 2 in 3) 3 have U >= 3.
    assert permutation_p([([1, 1], [1, 2])]) == pytest.approx(1.0)
    assert permutation_p([([5] * 4, [5] * 4)]) == 1.0
    # [0, 0, 0] against [9, 9, 9]: 1 of C(6, 3) = 20 ways at either end.
    assert permutation_p([([0] * 3, [9] * 3)]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("sizes", "k"),
    # Critical values of U at two-sided 5 % in the usual tables (k = critical value + 1).
    [
        ([(3, 3)], 0),
        ([(1, 38)], 0),
        ([(1, 39)], 1),
        ([(2, 7)], 0),
        ([(2, 8)], 1),
        ([(3, 4)], 0),
        ([(3, 5)], 1),
        ([(4, 4)], 1),
        ([(5, 5)], 3),
        ([(6, 6)], 6),
        ([(8, 8)], 14),
        ([(10, 10)], 24),
        ([(20, 20)], 128),
        ([(2, 2)] * 2, 0),
        ([(1, 1)] * 5, 0),
        ([(1, 1)] * 6, 1),
    ],
)
def test_ranks_of_the_interval(sizes, k):
    assert interval_rank(sizes) == k


@pytest.mark.parametrize("n", [45, 50])
def test_the_curve_takes_over_where_it_agrees(n, monkeypatch):
    random = np.random.default_rng(n)
    a, b = (random.integers(0, 10**9, n).tolist() for _ in "ab")
    exact, p = interval_rank([(n, n)]), permutation_p([(a, b)])
    monkeypatch.setattr(module, "_MOST_PAIRS", 0)
    assert abs(interval_rank([(n, n)]) - exact) <= 1
    assert permutation_p([(a, b)]) == pytest.approx(p, abs=2e-3)


def test_what_cannot_be_computed():
    assert estimate_shift([]) == Shift()
    assert estimate_shift([([], [1]), ([2], [])]) == Shift()
    few = estimate_shift([([1, 2, 3], [901, 902, 903])])
    assert (few.shift_ns, few.low_ns, few.high_ns, few.clear) == (900, None, None, False)
    assert few.p == pytest.approx(0.1)


def test_fewer_than_four_boots_of_a_side_have_no_interval():
    """(3, 5) and (2, 8) have a rank, and intervals that are worth nothing."""
    for few in ([1, 2, 3], [1, 2]):
        found = estimate_shift([(few, list(range(100, 112)))])
        assert (found.low_ns, found.high_ns) == (None, None)
        assert found.p < 0.05
        assert not has_interval([(few, list(range(100, 112)))])
        assert blind_half_width([(few, list(range(100, 112)))]) is None
    blocks = [([1, 2], [3, 4])] * 2  # 4 and 4, but no rank
    assert not has_interval(blocks)
    assert has_interval([([1, 2], [3, 4])] * 3)
    assert shift_interval([([1, 2], [3, 4])] * 3, 0.999) is None


def test_the_smallest_p():
    assert least_p([(4, 4)]) == pytest.approx(2 / 70)
    assert least_p([(2, 2)] * 3) == pytest.approx(2 / 216)
    assert least_p([(8, 8), (2, 2)]) == pytest.approx(2 / (12870 * 6))
    assert least_p([]) == least_p([(1, 1)]) == 1.0
    for strata in ([([1, 2, 3, 4], [5, 6, 7, 8])], [([1, 2], [3, 4])] * 3):
        sizes = [(len(a), len(b)) for a, b in strata]
        assert permutation_p(strata) == pytest.approx(least_p(sizes))


def test_p_counts_what_was_not_given():
    assert adjust_for_many([0.01, None], 5) == (pytest.approx(0.05), None)
    assert adjust_for_many([0.01, 0.02], 5) == pytest.approx((0.05, 0.05))
    assert adjust_for_many([0.01, 0.02], 1) == adjust_for_many([0.01, 0.02])


# Without knowing which are A's


@given(
    st.lists(st.integers(0, 10**9), min_size=8, max_size=24),
    st.randoms(use_true_random=False),
)
def test_the_blind_width_does_not_know_the_sides(mixed, random):
    half = len(mixed) // 2
    one = blind_half_width([(mixed[:half], mixed[half:])])
    random.shuffle(mixed)
    assert blind_half_width([(mixed[:half], mixed[half:])]) == one


@pytest.mark.parametrize("strata", [1, 4])
def test_the_blind_width_is_that_of_the_interval_where_nothing_changed(strata):
    random = np.random.default_rng(8)
    blind, seen = [], []
    for _ in range(300):
        values = random.normal(PAUSE, 0.05 * PAUSE, (strata, 2, 8)).astype(np.int64).tolist()
        found = estimate_shift(values)
        blind.append(blind_half_width(values))
        seen.append((found.high_ns - found.low_ns) / 2)
    assert np.mean(blind) == pytest.approx(np.mean(seen), rel=0.1)


def test_the_blind_width_scales():
    values = [([5, 1, 9, 4], [7, 3, 8, 2])]
    ten = [([10 * v for v in a], [10 * v for v in b]) for a, b in values]
    assert blind_half_width(ten) == 10 * blind_half_width(values)


# By scipy


@pytest.mark.parametrize(("n", "m"), [(4, 4), (6, 6), (5, 9), (20, 20), (3, 30)])
def test_one_stratum_is_mann_whitney(n, m):
    random = np.random.default_rng(n * 100 + m)
    for offset in (0, 30, 90):
        a = random.choice(10**4, n, replace=False).tolist()
        b = [10**4 * offset // 100 + x for x in random.choice(10**4, m, replace=False).tolist()]
        if set(a) & set(b):
            continue
        expected = stats.mannwhitneyu(b, a, method="exact").pvalue
        assert permutation_p([(a, b)]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_ties_by_scipys_permutations(seed):
    random = np.random.default_rng(seed)
    a, b = random.integers(0, 4, 5).tolist(), random.integers(0, 5, 5).tolist()
    expected = stats.mannwhitneyu(
        b, a, method=stats.PermutationMethod(n_resamples=10**6), use_continuity=False
    ).pvalue
    assert permutation_p([(a, b)]) == pytest.approx(expected, rel=1e-9)


def test_many_boots_are_scipys_curve():
    random = np.random.default_rng(1)
    a, b = random.integers(0, 300, 80).tolist(), random.integers(10, 310, 90).tolist()
    expected = stats.mannwhitneyu(b, a, method="asymptotic", use_continuity=True).pvalue
    assert permutation_p([(a, b)]) == pytest.approx(expected, rel=1e-9)
    assert permutation_p([([7] * 60, [7] * 60)]) == 1.0


def test_adjusted_p_by_scipy():
    ps = [0.03, 0.001, 0.2, 0.03, 0.9, 0.04]
    assert adjust_for_many(ps) == pytest.approx(stats.false_discovery_control(ps))
    # By hand: 0.01 * 3 / 1, then min(0.04 * 3 / 2, 0.05), then 0.05; the unknown is not counted.
    assert adjust_for_many([0.04, None, 0.01, 0.05]) == pytest.approx((0.05, None, 0.03, 0.05))
    assert adjust_for_many([None]) == (None,)
    assert adjust_for_many([]) == ()


# By properties


def brute_p(strata):
    """All deals within all strata, one by one."""

    def u(a, b):
        return sum((y > x) - (y < x) for x in a for y in b)

    seen = sum(u(a, b) for a, b in strata)
    deals = []
    for a, b in strata:
        pool = [*a, *b]
        deals.append(
            [
                u([v for i, v in enumerate(pool) if i not in chosen], [pool[i] for i in chosen])
                for chosen in combinations(range(len(pool)), len(b))
            ]
        )
    totals = [sum(deal) for deal in product(*deals)]
    tails = (sum(t <= seen for t in totals), sum(t >= seen for t in totals))
    return min(1.0, 2 * min(tails) / len(totals))


small = st.lists(st.integers(min_value=0, max_value=6), min_size=1, max_size=2)


@given(st.lists(st.tuples(small, small), min_size=1, max_size=3))
def test_p_is_that_of_all_permutations(strata):
    assert permutation_p(strata) == pytest.approx(brute_p(strata))


@given(strata_of)
def test_swapping_a_and_b_turns_the_sign(strata):
    one, other = estimate_shift(strata), estimate_shift(swapped(strata))
    assert one.shift_ns == -other.shift_ns
    assert one.p == pytest.approx(other.p)
    assert one.clear == other.clear
    if one.low_ns is not None:
        assert (one.low_ns, one.high_ns) == (-other.high_ns, -other.low_ns)


@given(strata_of, st.randoms(use_true_random=False))
def test_the_order_of_boots_and_blocks_does_not_matter(strata, random):
    found = estimate_shift(strata)
    mixed = [(random.sample(a, len(a)), random.sample(b, len(b))) for a, b in strata]
    random.shuffle(mixed)
    other = estimate_shift(mixed)
    assert (other.shift_ns, other.low_ns, other.high_ns) == (
        found.shift_ns,
        found.low_ns,
        found.high_ns,
    )
    assert other.p == pytest.approx(found.p)


@given(strata_of, st.integers(min_value=1, max_value=1000), st.integers(-(10**9), 10**9))
def test_scale_and_offset(strata, factor, offset):
    """All in units of `2 * factor` and B later by `offset`: even numbers need no rounding."""
    doubled = [([2 * x for x in a], [2 * y for y in b]) for a, b in strata]
    base = estimate_shift(doubled)
    scaled = estimate_shift(
        [([factor * x for x in a], [factor * y for y in b]) for a, b in doubled]
    )
    assert scaled.shift_ns == factor * base.shift_ns
    assert scaled.p == pytest.approx(base.p)
    moved = estimate_shift([(a, [y + 2 * offset for y in b]) for a, b in doubled])
    assert moved.shift_ns == base.shift_ns + 2 * offset
    if base.low_ns is not None:
        assert moved.low_ns == base.low_ns + 2 * offset


@given(st.lists(st.tuples(values, values), min_size=1, max_size=4))
def test_the_interval_and_p_say_the_same(strata):
    """From 4 boots a side on, and without ties, it excludes 0 exactly when p is at most 5 %."""
    every = [v for a, b in strata for v in (*a, *b)]
    found = estimate_shift(strata)
    enough = all(sum(map(len, side)) >= LEAST_BOOTS for side in zip(*strata, strict=True))
    if enough and len(set(every)) == len(every):
        assert found.clear == (found.p <= 0.05 + 1e-12)
    if found.low_ns is not None:
        assert found.low_ns <= found.shift_ns <= found.high_ns


# By simulation


def sequences(random, blocks, spread, drift, shape="normal"):
    """Strata of A B B A blocks on a host that gets slower by `drift` from first to last boot."""
    n = 4 * blocks
    noise = random.normal(0, spread, n) if shape == "normal" else random.exponential(spread, n)
    host = PAUSE * (1 + np.linspace(0, drift, n) + noise)
    ordered = host.astype(np.int64).reshape(blocks, 4).tolist()
    return [([x[0], x[3]], [x[1], x[2]]) for x in ordered]


@pytest.mark.parametrize("blocks", [3, 5])
@pytest.mark.parametrize(("spread", "drift"), [(0.02, 0.04), (0.05, 0.04), (0.02, 0.2)])
@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_coverage_and_false_alarms_of_blocks(blocks, spread, drift, shape):
    random = np.random.default_rng(20261123)
    repeats = 1500
    found = [
        estimate_shift(sequences(random, blocks, spread, drift, shape)) for _ in range(repeats)
    ]
    held = sum(f.low_ns <= 0 <= f.high_ns for f in found) / repeats
    assert held >= 0.945  # 95 % less two standard errors of 1500 repeats
    assert sum(f.p <= 0.05 for f in found) / repeats <= 0.055
    if drift < 0.1:  # an interval that always held would be as useless
        assert held <= 0.99


@pytest.mark.parametrize("n", [4, 6, 12])
def test_coverage_without_blocks(n):
    random = np.random.default_rng(n)
    true, repeats, held = 500_000, 1500, 0
    for _ in range(repeats):
        a = (PAUSE * np.exp(random.normal(0, 0.2, n))).astype(np.int64)
        b = (PAUSE * np.exp(random.normal(0, 0.2, n)) + true).astype(np.int64)
        found = estimate_shift([(a.tolist(), b.tolist())])
        held += found.low_ns <= true <= found.high_ns
    assert 0.945 <= held / repeats <= 0.985


def test_all_of_a_then_all_of_b_would_be_wrong():
    """Why blocks: a drift of 4 % looks like a shift in half of all comparisons."""
    random = np.random.default_rng(5)
    wrong = 0
    for _ in range(300):
        host = PAUSE * (1 + np.linspace(0, 0.04, 20) + random.normal(0, 0.02, 20))
        a, b = host.astype(np.int64).reshape(2, 10).tolist()
        wrong += estimate_shift([(a, b)]).p <= 0.05
    assert wrong / 300 > 0.3
