"""Numbers that can be worked out by hand, by scipy, or by simulating many boots."""

from __future__ import annotations

import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.records.run import Span, Summary, Witnesses
from results.stats.intervals import (
    LockingCost,
    boot_medians,
    interval_over_boots,
    locking_costs,
    median_ns,
    median_of_boots,
    order_statistic_interval,
    summarise,
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
    ("n", "method"),
    [
        (0, "none"),
        (3, "none"),
        (4, "t"),
        (5, "t"),
        (6, "order"),
        (40, "order"),
    ],
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


def test_pooling_updates_would_have_been_wrong(make_run):
    """Boots that differ by 5 % and updates by 0.1 %: boots decide the width, not updates."""
    random = np.random.default_rng(7)
    runs = [
        make_run(boot=b, update=u, blackout_ns=int(level * random.normal(1, 0.001)))
        for b, level in enumerate(random.normal(4_420_000, 221_000, 6))
        for u in range(1, 41)
    ]
    (summary,) = summarise(runs)
    low, high = order_statistic_interval([r.blackout_ns for r in runs])
    assert summary.high_ns - summary.low_ns > 1.5 * (high - low)


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


# Summaries


def test_the_unit_is_the_boot(make_run):
    runs = [
        *(make_run(boot=1, update=u, blackout_ns=100) for u in range(9)),
        make_run(boot=2, blackout_ns=300),
        make_run(boot=3, blackout_ns=200),
        make_run(boot=3, update=2, blackout_ns=900, outcome="failed", reason="lost"),
    ]
    assert boot_medians(runs) == (100, 300, 200)
    assert median_of_boots(runs) == 200  # pooled, it would be 100
    assert median_of_boots([]) is None


def test_boots_of_different_sessions_are_different_boots(make_run):
    runs = [
        make_run(boot=1, blackout_ns=100),
        make_run(boot=1, blackout_ns=300, session="20261124-221500-0b1c"),
    ]
    assert boot_medians(runs) == (100, 300)
    assert summarise(runs)[0].boots == 2


def test_failed_runs_are_counted_and_never_averaged(make_run):
    runs = [
        make_run(boot=1, update=1, blackout_ns=100),
        make_run(boot=1, update=2, blackout_ns=900_000, outcome="failed", reason="lost"),
        make_run(boot=2, update=1, blackout_ns=None, outcome="failed", reason="lost"),
        make_run(boot=3, update=1, blackout_ns=120),
    ]
    (summary,) = summarise(runs)
    assert (summary.boots, summary.updates, summary.valid, summary.failed) == (3, 2, 2, 2)
    assert (summary.median_ns, summary.max_ns) == (110, 120)
    assert (summary.low_ns, summary.interval) == (None, "none")


def test_nothing_but_failures_is_no_zero(make_run):
    failed = make_run(blackout_ns=None, outcome="failed", reason="lost")
    (summary,) = summarise([failed])
    assert (summary.valid, summary.failed, summary.interval) == (0, 1, "none")
    for name in ("median_ns", "low_ns", "high_ns", "max_ns", "qemu_median_ns"):
        assert getattr(summary, name) is None, name
    assert summary.qemu_error_percent is None
    assert summary.phases == {}
    assert summarise([]) == ()


def test_groups_are_kept_apart_in_first_seen_order(make_run):
    runs = [
        make_run(scenario="memfd"),
        make_run(),
        make_run(new_build="11.1.3"),
        make_run(old_build="11.1.3"),
        make_run(dimensions="vcpus=4"),
        make_run(scenario="memfd", update=2),
    ]
    found = summarise(iter(runs))
    assert [(s.scenario, s.old_build, s.new_build, s.valid) for s in found] == [
        ("memfd", "system", "system", 2),
        ("anon", "system", "system", 1),
        ("anon", "system", "11.1.3", 1),
        ("anon", "11.1.3", "system", 1),
        ("anon", "system", "system", 1),
    ]


def test_what_qemu_claimed_and_by_how_much_it_is_off(make_run):
    claims = [(2_000_000, 4_000_000), (3_000_000, 4_000_000), (None, 4_000_000), (3, 4)]
    runs = [
        make_run(update=i, blackout_ns=real, witnesses=Witnesses(qemu=claim))
        for i, (claim, real) in enumerate(claims)
    ]
    (summary,) = summarise(runs)
    assert summary.qemu_median_ns == 2_000_000
    assert summary.qemu_error_percent == -25.0  # median of -50, -25, -25


def test_phases_are_medians_over_all_runs(make_run):
    def spans(**shares):
        return tuple(Span(n, "old", 0, 9, share) for n, share in shares.items())

    runs = [
        make_run(update=1, spans=spans(quiesce=10, rare=5, none=0)),
        make_run(update=2, spans=spans(quiesce=30)),
        make_run(update=3, spans=spans(quiesce=20, often=4)),
        make_run(update=4, spans=spans(quiesce=20, often=8), outcome="failed", reason="x"),
        make_run(update=5, spans=spans(quiesce=20, often=8)),
        make_run(update=6, spans=spans(quiesce=20, often=9)),
    ]
    assert summarise(runs)[0].phases == {"quiesce": 20, "often": 4}


def test_the_other_medians(make_run):
    runs = [
        make_run(update=i, handover_ns=h, guest_gap_ns=h + 1, first_progress_ns=None)
        for i, h in enumerate((5, 9, 6))
    ]
    (summary,) = summarise(runs)
    assert summary.handover_median_ns == 6
    assert summary.guest_gap_median_ns == 7
    assert summary.first_progress_median_ns is None


def test_a_blackout_of_zero_makes_no_interval_of_zero(make_run):
    (summary,) = summarise(make_run(boot=b, blackout_ns=0) for b in (1, 2, 3, 4))
    assert (summary.interval, summary.low_ns, summary.qemu_error_percent) == ("none", None, None)


def _summary(scenario, dimensions, median, handover):
    return Summary(
        scenario, "a", "a", 3, 5, 15, 0, median, None, None, median,
        handover_median_ns=handover, dimensions=dimensions,
    )  # fmt: skip


def test_what_locking_costs_is_told_of_scenarios_that_differ_in_nothing_else():
    locked = _summary("anon-locked", "id=anon-locked mem_lock=True vcpus=1", 5_000, 90_000)
    plain = _summary("anon", "id=anon mem_lock=False vcpus=1", 4_000, 70_000)
    other = _summary("two", "id=two mem_lock=False vcpus=2", 1_000, 10_000)
    assert locking_costs([other, plain, locked]) == (
        LockingCost("anon-locked", "anon", 1_000, 20_000),
    )
    assert locking_costs([other, locked]) == ()
    assert locking_costs([other, plain]) == ()
