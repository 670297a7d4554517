"""Budgets and failures: by hand and by scipy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.stats.proportions import Failures, budget_line, is_within, more_failures_p


def test_a_budget_by_hand():
    boots = [[19, 20, 21], [5, 6, 7], [], [1, 1, 1]]
    found = budget_line(boots, 20)
    assert (found.limit_ns, found.within, found.total) == (20, 7, 9)
    assert found.low_share < 7 / 9
    # All of 6 boots within: 0.05 ** (1 / 6), however many updates each had.
    kept = budget_line([[1] * 20] * 6, 20)
    assert (kept.within, kept.total) == (120, 120)
    assert kept.low_share == pytest.approx(0.05 ** (1 / 6))
    assert budget_line([[30], [40]], 20).low_share == 0.0
    assert budget_line([], 20).low_share is None


def test_a_failed_run_keeps_no_budget():
    found = budget_line([[1, *[None] * 8], [None] * 9], 20)
    assert (found.within, found.total, found.failed) == (1, 18, 17)
    assert found.low_share < 1 / 18
    assert budget_line([[None]], 20).within == 0


def test_a_run_of_exactly_the_limit_does_not_keep_it():
    assert [is_within(ns, 20) for ns in (19, 20, 21, None)] == [True, False, False, False]
    assert budget_line([[20]], 20).within == 0


@pytest.mark.parametrize(("within", "boots"), [(118, 120), (3, 6), (1, 40), (6, 6)])
def test_a_budget_by_scipy(within, boots):
    found = budget_line([[1]] * within + [[99]] * (boots - within), 20)
    expected = stats.binomtest(within, boots, alternative="greater").proportion_ci(0.95, "exact")
    assert found.low_share == pytest.approx(expected.low, abs=1e-9)


@given(st.lists(st.lists(st.integers(0, 40), max_size=5), max_size=8), st.integers(0, 40))
def test_more_room_is_never_kept_less(boots, limit):
    tight, wide = budget_line(boots, limit), budget_line(boots, limit + 1)
    assert tight.within <= wide.within <= wide.total
    if tight.low_share is not None:
        assert 0.0 <= tight.low_share <= wide.low_share + 1e-12 <= 1.0 + 1e-12
        assert tight.low_share <= tight.within / tight.total


@given(*[st.integers(0, 12)] * 4)
def test_failures_are_fishers(bad_a, good_a, bad_b, good_b):
    a = Failures(0, 0, bad_a, bad_a + good_a)
    b = Failures(0, 0, bad_b, bad_b + good_b)
    found = more_failures_p(a, b)
    if not a.total_boots or not b.total_boots:
        assert found is None
        return
    table = [[bad_b, good_b], [bad_a, good_a]]
    assert found == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)


def test_failures_by_hand():
    # 0 of 5 against 4 of 5: C(5, 4) * C(5, 0) / … = 5 of C(10, 4) = 210 ways.
    found = more_failures_p(Failures(0, 50, 0, 5), Failures(12, 50, 4, 5))
    assert found == pytest.approx(5 / 210)
    assert more_failures_p(Failures(0, 50, 0, 5), Failures(0, 50, 0, 5)) == 1.0
