"""The straight line that best explains how a level wandered off, and how well it does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .partition import Floats

_COARSE = 3


@dataclass(frozen=True, slots=True)
class Ramp:
    """`level` until before night `at`, then moving by `slope` a night up to night `until`.

    `cost` is what the ramp leaves of the values.
    """

    at: int
    until: int
    level: float
    slope: float
    cost: float

    @property
    def rise(self) -> float:
        return self.slope * (self.until - self.at + 1)


def going_on(values: Floats, ar: float, least: int) -> Ramp:
    """The best ramp that lasts until the last night, at least `least` nights.

    `cost` is that of results.stats.partition.SegmentCosts, so that both can be weighed against each
    other.
    """
    basis = _Basis(values, ar)
    begins = np.arange(len(values) - least + 1)
    return basis.best(begins, np.full(len(begins), len(values) - 1))


def ended(values: Floats, ar: float, least: int) -> Ramp | None:
    """The best ramp of at least `least` nights with nights of one level after it, if they fit.

    To three nights, which is nearer than it can be told.
    """
    nights = np.arange(0, len(values) - 1, _COARSE)
    begins, ends = (index.ravel() for index in np.meshgrid(nights, nights))
    long = ends - begins >= least - 1
    return _Basis(values, ar).best(begins[long], ends[long]) if long.any() else None


class _Basis:
    """Products of everything that a ramp is made of, with the correlation `ar` taken out.

    A ramp from after night b to night e is that from b on less that from e on, to the last night
    both. The column of one from b on is 0 up to b, then 1, 1 + rest, 1 + 2 rest, … with rest = 1 -
    ar; that of the level is sqrt(1 - ar²), rest, rest, …
    """

    def __init__(self, values: Floats, ar: float) -> None:
        self.ar, self.rest = ar, 1.0 - ar
        steady = (1.0 - ar * ar) ** 0.5
        fresh = np.concatenate(([steady * values[0]], values[1:] - ar * values[:-1]))
        size = len(values)
        self.level_square = steady**2 + (size - 1) * self.rest**2
        self.level_total = steady * fresh[0] + self.rest * float(fresh[1:].sum())
        self.flat = float(fresh @ fresh) - self.level_total**2 / self.level_square
        after = np.cumsum(fresh[::-1])[::-1] - fresh  # sum of what comes after each night
        weighted = np.cumsum(after[::-1])[::-1]  # each times how long after
        nights = (size - 1.0) - np.arange(size)  # how many come after
        pairs = nights * (nights + 1.0) / 2.0
        self.totals = self.rest * weighted + ar * after
        self.sums = self.rest * pairs + ar * nights
        self.squares = (
            self.rest**2 * pairs * (2.0 * nights + 1.0) / 3.0
            + 2.0 * ar * self.rest * pairs
            + ar**2 * nights
        )

    def best(self, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Ramp:
        """The ramp with the least cost of those from after night begins[i] to night ends[i]."""
        totals = self.totals[begins] - self.totals[ends]
        overlap = self.rest * (self.sums[begins] - self.sums[ends])
        both = self.squares[ends] + self.rest * (ends - begins) * self.sums[ends]
        squares = self.squares[begins] - 2.0 * both + self.squares[ends]
        spread = squares - overlap**2 / self.level_square
        slopes = (totals - overlap * self.level_total / self.level_square) / spread
        gains = slopes**2 * spread
        at = int(gains.argmax())
        slope = float(slopes[at])
        level = (self.level_total - slope * float(overlap[at])) / self.level_square
        cost = self.flat - float(gains[at])
        return Ramp(int(begins[at]) + 1, int(ends[at]), level, slope, cost)
