"""Where a series of nights changed its level, and stayed there.

A single outlier is no change: the cost of a segment is the sum of absolute deviations from its
median (ruptures' `l1`), which an outlier adds to every segment alike, and a segment has at least
three nights. Source: Killick, Fearnhead and Eckley, JASA 107 (2012) 1590 (PELT).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

LEAST_NIGHTS = 3
# A change must lower the cost by this many times the noise, for each unit of log n. Of 1,000 series
# of 10 to 120 nights of the same level, normal noise and one outlier in 20 nights, fewer than 5 %
# then show any change (tests/results/test_change_points.py).
_PENALTY = 2.5
# Below this relative noise a level that is repeated to the digit would make every tremor a change.
_LEAST_NOISE = 0.01


@dataclass(frozen=True, slots=True)
class Change:
    """From position `at` on the level is another: medians of the nights before and after."""

    at: int
    before: float
    after: float

    @property
    def percent(self) -> float:
        return (self.after / self.before - 1.0) * 100.0


def change_points(values: Sequence[float]) -> tuple[Change, ...]:
    """Changes of level in positive values, oldest first; empty below six values."""
    if len(values) < 2 * LEAST_NIGHTS or min(values) <= 0:
        return ()
    # 2 s to import: only when there is a series.
    import numpy as np
    import ruptures

    logs = np.log(np.asarray(values, dtype=np.float64))
    noise = max(_noise(logs.tolist()), _LEAST_NOISE)
    search = ruptures.Pelt(model="l1", min_size=LEAST_NIGHTS, jump=1).fit(logs / noise)
    ends = search.predict(pen=_PENALTY * math.log(len(values)))
    starts = [0, *ends[:-1]]
    levels = [median(values[a:b]) for a, b in zip(starts, ends, strict=True)]
    return tuple(
        Change(at, before, after)
        for at, before, after in zip(starts[1:], levels, levels[1:], strict=False)
    )


def _noise(logs: Sequence[float]) -> float:
    """Standard deviation from night to night, by the median of differences: steps do not count."""
    steps = [abs(b - a) for a, b in pairwise(logs)]
    return median(steps) / (0.6745 * math.sqrt(2.0))
