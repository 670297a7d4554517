"""What a comparison can tell, known before anything is measured: levels, boots, defaults.

A session's verdicts are wrong at most once in twenty sessions without a change, and a cell's at
most once in a hundred. So p is adjusted (Benjamini-Hochberg) for all cells, for five at the least,
and where each cell is compared with several things (a night's baseline, its anchors) for all of
those comparisons. The alarms and the power that come of it are simulated by
bench.benchmarks.rates; docs/rates.md has the table.
"""

from __future__ import annotations

from results.errors import UsageError
from results.stats.boots import strata_sizes
from results.stats.intervals import LEAST_BOOTS
from results.stats.shift import least_p

# The share of sessions without a change in which any cell may be called changed.
SIGNIFICANCE = 0.05
# A single cell may be called so in 1 of 100: as if it were one of five.
LEAST_CELLS = 5
# Each cell of a night: against the baseline, the last stable stretch and the fixed anchor.
NIGHTLY_COMPARISONS = 3

# Boots of each side and updates of each boot, by the table of rates. A boot of 4 updates takes 1.05
# s and tells most for its time where boots differ by 3 to 8 % and updates by 7 %. At 3 % between
# boots 24 of them (50 s a cell) find +5 % of 2.4 ms in three sessions of four and +10 % in all; 72
# (151 s) find +5 % in four of five also at 5 % between boots, when one in eight is left out.
COMPARE_BOOTS = 24
COMPARE_UPDATES = 4
NIGHTLY_BOOTS = 72
NIGHTLY_UPDATES = 4
SELF_CHECK_BOOTS = 8
# More than this is a night for one cell: what would take more is not resolved on that host.
MOST_BOOTS = 200


def family(cells: int, comparisons: int = 1) -> int:
    """How many comparisons p is adjusted for, where each cell is compared `comparisons` times."""
    return max(cells, LEAST_CELLS) * comparisons


def level(cells: int, comparisons: int = 1) -> float:
    """The p at or below which a change that only one of the cells shows is called one."""
    return SIGNIFICANCE / family(cells, comparisons)


def least_adjusted_p(boots: int, cells: int, comparisons: int = 1) -> float:
    """The smallest adjusted p that a change of one cell can have, with `boots` of each side."""
    if boots < LEAST_BOOTS:
        return 1.0
    return min(1.0, least_p(strata_sizes(boots)) * family(cells, comparisons))


def boots_needed(cells: int, comparisons: int = 1) -> int:
    """The least number of boots of each side that can call a change; even, as blocks have two."""
    boots = LEAST_BOOTS
    while least_adjusted_p(boots, cells, comparisons) > SIGNIFICANCE:
        boots += 2
    return boots


def planned_boots(asked: int | None, default: int, cells: int, comparisons: int = 1) -> int:
    """Boots of each side: `asked`, or the default and as many more as can call a change.

    Raises UsageError when those asked for could not, with the number that would do.
    """
    needed = boots_needed(cells, comparisons)
    if asked is None:
        return max(default, needed)
    if asked < needed:
        least = least_adjusted_p(asked, cells, comparisons)
        raise UsageError(
            f"{asked} boots of each side cannot call any change: with {_counted(cells, 'cell')} "
            f"the smallest p would be {least:.2g}, and it takes {SIGNIFICANCE:.2g}; "
            f"{needed} boots would do"
        )
    return asked


def planned_self_check(asked: int | None) -> int:
    """Boots of each side of a build against itself. Raises UsageError for too few to be used."""
    if asked is not None and asked < LEAST_BOOTS:
        raise UsageError(
            f"{asked} boots of each side tell nothing of this host's noise; it takes {LEAST_BOOTS}"
        )
    return SELF_CHECK_BOOTS if asked is None else asked


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
