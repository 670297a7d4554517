"""The best division of a series into stretches of one level each, exactly.

Nights resemble the night before: a stretch is a level plus noise whose correlation from one night
to the next is `ar`, and its cost is what is left of it once that correlation is taken out. With
`ar` 0 it is the sum of squares about the mean. Source of the search: Jackson et al., IEEE Signal
Processing Letters 12 (2005) 105 (optimal partitioning).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class SegmentCosts:
    """Costs of all stretches of a series, each in constant time, in squares of its unit.

    The first value of a stretch is weighed as one of stationary noise, so that stretches do not
    depend on each other.
    """

    def __init__(self, values: Floats, ar: float) -> None:
        self.size = len(values)
        self._steady = 1.0 - ar * ar
        self._rest = 1.0 - ar
        fresh = np.concatenate(([0.0], values[1:] - ar * values[:-1]))
        self._sums = np.concatenate(([0.0], np.cumsum(fresh)))
        self._squares = np.concatenate(([0.0], np.cumsum(fresh * fresh)))
        self._first = self._steady * values - self._rest * self._sums[1:]
        self._first_square = self._steady * values * values - self._squares[1:]
        weights = self._steady + self._rest**2 * np.arange(self.size)
        self._over = 1.0 / weights
        self._over_reversed = np.ascontiguousarray(self._over[::-1])

    def of(self, start: int, end: int) -> float:
        """Cost of values[start:end] as one stretch; at least one value."""
        total = float(self._first[start] + self._rest * self._sums[end])
        square = float(self._first_square[start] + self._squares[end])
        return square - total * total * float(self._over[end - start - 1])

    def ending_at(self, end: int, starts: int) -> Floats:
        """Costs of values[start:end] for each start below `starts`."""
        totals = self._first[:starts] + self._rest * self._sums[end]
        over = self._over_reversed[self.size - end : self.size - end + starts]
        costs: Floats = self._first_square[:starts] + self._squares[end] - totals * totals * over
        return costs

    def kept_level(self, start: int, change: int, end: int) -> float:
        """What a change of level lowers the cost by when its first value has no say.

        A jump that only decays, as any jump of the noise does, lowers the cost by its first value
        alone.
        """
        before = float(self._first[start] + self._rest * self._sums[change])
        after = self._rest * float(self._sums[end] - self._sums[change + 1])
        weight_before = 1.0 / float(self._over[change - start - 1])
        weight_after = self._rest**2 * (end - change - 1)
        both = (before + after) ** 2 / (weight_before + weight_after)
        return before**2 / weight_before + after**2 / weight_after - both


def optimal_partition(costs: SegmentCosts, penalty: float, least: int) -> tuple[int, ...]:
    """Where the stretches begin but for the first, when each change costs `penalty`.

    No other division into stretches of at least `least` values costs less. O(n²), 1.5 ms for 365
    values.
    """
    size = costs.size
    best = np.full(size + 1, np.inf)
    best[0] = -penalty
    begin = np.zeros(size + 1, dtype=np.int64)
    for end in range(least, size + 1):
        starts = end - least + 1
        totals = best[:starts] + costs.ending_at(end, starts)
        at = int(totals.argmin())
        best[end] = totals[at] + penalty
        begin[end] = at
    changes = []
    end = size
    while end and (end := int(begin[end])):
        changes.append(end)
    return tuple(reversed(changes))
