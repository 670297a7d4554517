"""What boots can tell is known before they are measured, and what cannot decide is refused."""

from __future__ import annotations

import pytest

from results.comparison.compare import blocks_by_boot, compare
from results.comparison.plan import (
    COMPARE_BOOTS,
    NIGHTLY_BOOTS,
    NIGHTLY_COMPARISONS,
    boots_needed,
    family,
    least_adjusted_p,
    level,
    planned_boots,
    planned_self_check,
)
from results.errors import UsageError

MS = 1_000_000


def test_by_hand():
    assert (family(1), family(5), family(8), family(8, 3)) == (5, 5, 8, 24)
    assert level(1) == pytest.approx(0.01)
    assert level(8, 3) == pytest.approx(0.05 / 24)
    # 2 of C(8, 4) = 70 deals, 2 of C(12, 6) = 924, 2 of C(16, 8) * C(4, 2) = 77220; 5 at the least.
    assert least_adjusted_p(4, 2) == pytest.approx(5 * 2 / 70)
    assert least_adjusted_p(6, 6) == pytest.approx(6 * 2 / 924)
    assert least_adjusted_p(10, 30) == pytest.approx(30 * 2 / 77220)
    assert least_adjusted_p(3, 1) == least_adjusted_p(4, 90) == 1.0


@pytest.mark.parametrize(
    ("cells", "comparisons", "boots"),
    [(1, 1, 6), (23, 1, 6), (24, 1, 8), (1, NIGHTLY_COMPARISONS, 6), (8, NIGHTLY_COMPARISONS, 8)],
)
def test_boots_needed(cells, comparisons, boots):
    assert boots_needed(cells, comparisons) == boots
    assert least_adjusted_p(boots, cells, comparisons) <= 0.05
    assert least_adjusted_p(boots - 2, cells, comparisons) > 0.05


@pytest.mark.parametrize("cells", [1, 2, 6, 23, 24, 40])
@pytest.mark.parametrize("boots", [4, 6, 8, 10])
def test_a_comparison_reaches_the_p_that_was_foreseen(make_run, cells, boots):
    """The clearest change there is, in one of many cells: B's boots all far above A's."""

    def side(build, far):
        return [
            make_run(boot, scenario=f"s{cell}", old_build=build, new_build=build,
                     blackout_ns=3 * MS + boot * 1000 + (far if cell == 0 else 0))
            for cell in range(cells)
            for boot in range(1, boots + 1)
        ]  # fmt: skip

    found = compare(side("a", 0), side("b", 6 * MS), block_of=blocks_by_boot(2)).cells[0]
    assert found.p_adjusted == pytest.approx(least_adjusted_p(boots, cells))
    decides = boots >= boots_needed(cells)
    assert found.verdict == ("regressed" if decides else "undecided")
    assert (found.smallest_detectable_ns is not None) == decides


def test_boots_are_added_where_none_were_asked_for():
    assert planned_boots(None, COMPARE_BOOTS, 2) == COMPARE_BOOTS
    assert planned_boots(None, 6, 24) == 8
    assert planned_boots(None, NIGHTLY_BOOTS, 8, NIGHTLY_COMPARISONS) == NIGHTLY_BOOTS
    assert planned_boots(12, COMPARE_BOOTS, 2) == 12


@pytest.mark.parametrize(
    ("asked", "cells", "told"),
    [
        (4, 2, r"4 boots .* 2 cells the smallest p would be 0\.14, .* 0\.05; 6 boots would do"),
        (4, 1, r"4 boots of each side cannot call any change: with 1 cell .*; 6 boots would do"),
        (6, 30, r"smallest p would be 0\.065, .*; 8 boots would do"),
        (2, 1, r"smallest p would be 1, .*; 6 boots would do"),
    ],
)
def test_a_plan_that_cannot_decide_is_refused(asked, cells, told):
    with pytest.raises(UsageError, match=told):
        planned_boots(asked, COMPARE_BOOTS, cells)


def test_a_build_against_itself_takes_boots_too():
    assert planned_self_check(None) == 8
    assert planned_self_check(4) == 4
    with pytest.raises(UsageError, match="3 boots of each side tell nothing of this host's noise"):
        planned_self_check(3)
