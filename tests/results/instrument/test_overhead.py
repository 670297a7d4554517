"""Boots with a known cost of watching."""

from __future__ import annotations

import random

import pytest

from results.instrument.overhead import (
    GOAL,
    TierBoot,
    boot_of,
    boots_needed,
    observer_effect,
)

GAP = 4_000_000


def boots(cost, rounds=12, noise=5_000, drift=0, cell="anon on kvm"):
    chance = random.Random(1)
    return [
        TierBoot(
            cell,
            tier,
            number,
            round(GAP + extra + drift * number + chance.gauss(0, noise)),
            round(90_000_000 + 5 * extra + drift * number),
        )
        for number in range(1, rounds + 1)
        for tier, extra in (("none", 0), ("default", cost))
    ]


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.0, "within"), (0.01, "within"), (0.05, "beyond"), (0.3, "beyond")]
)
def test_a_known_cost_is_found_and_judged(share, verdict):
    (none, default) = observer_effect(boots(GAP * share)).costs
    assert none.tier == "none"
    assert none.shift_ns is None
    assert default.percent == pytest.approx(share * 100, abs=0.3)
    assert default.low_percent <= share * 100 + 0.3
    assert default.verdict == verdict
    assert default.handover_shift_ns == pytest.approx(5 * GAP * share, abs=10)


def test_a_host_that_drifts_hides_nothing():
    (_, default) = observer_effect(boots(GAP * 0.05, drift=100_000)).costs
    assert default.percent == pytest.approx(4.4, abs=0.8)  # of a median that drifted too
    assert default.verdict == "beyond"


def test_too_noisy_to_tell():
    (_, default) = observer_effect(boots(GAP * GOAL, noise=GAP * 0.1)).costs
    assert default.verdict == "undecided"


def test_too_few_to_tell():
    (_, default) = observer_effect(boots(GAP * 0.05, rounds=2)).costs
    assert default.low_ns is None
    assert default.verdict == "undecided"


def test_the_number_of_boots_that_is_said_to_be_needed_is_enough():
    needed = boots_needed()
    enough, few = (observer_effect(boots(GAP * 0.05, rounds=n)) for n in (needed, needed - 1))
    assert enough.judged
    assert enough.costs[1].low_ns is not None
    assert not few.judged
    assert few.costs[1].low_ns is None


def test_without_the_tier_of_nothing_there_is_no_cost():
    only = [boot for boot in boots(1_000) if boot.tier == "default"]
    (default,) = observer_effect(only).costs
    assert (default.shift_ns, default.percent, default.base_ns) == (None, None, None)


def test_cells_are_kept_apart():
    costs = observer_effect([*boots(0), *boots(GAP * 0.1, cell="anon on tcg")], lost=2)
    assert [c.cell for c in costs.costs] == ["anon on kvm"] * 2 + ["anon on tcg"] * 2
    assert costs.costs[1].verdict == "within"
    assert costs.costs[3].verdict == "beyond"
    assert costs.lost == 2


def test_a_boot_counts_with_the_median_of_its_valid_runs(make_run):
    runs = [make_run(update=u, guest_gap_ns=u * 100, guest_handover_ns=u * 7) for u in (1, 2, 9)]
    runs.append(make_run(update=4, outcome="failed", guest_gap_ns=10**9))
    assert boot_of("c", "none", 3, runs) == TierBoot("c", "none", 3, 200, 14)
    assert boot_of("c", "none", 3, runs[3:]) is None
    assert boot_of("c", "none", 3, [make_run(guest_gap_ns=None)]) is None
