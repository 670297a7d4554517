"""What a series of nights shows as it stands: steps of its level, and a drift at its end.

A division into levels is chosen that no other one beats (results.stats.partition), and the steps at
its end are weighed against one level that drifts. Both cost the same for each change, so what fits
better is what it is called. What a night announces is another matter
(results.stats.announcements).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np

from . import drift
from .drift import Ramp
from .night_noise import Floats, Noise, Settled, night_noise, without_outliers
from .partition import SegmentCosts, optimal_partition

Kind = Literal["step", "drift"]

LEAST_NIGHTS = 3
LEAST_DRIFT = 28
# All in variances of the noise. A change must lower the cost by the penalty to be seen at all, and
# by more to be called clear: the more, the more nights there are for something false to begin in.
# The rates that follow are in docs/rates-history.md.
_PENALTY = 11.5
_CLEAR = {"step": 19.5, "drift": 17.0}
_CLEAR_NIGHTS = 60
_MORE_NIGHTS = 5.0  # times the logarithm of how many times as many there are
# So much of a clear step must be there without its first night.
_KEPT = 9.0
# A drift of 1 % a week looks like a step for its first weeks. In doubt it is called a drift, as
# those are what no comparison with last week finds; where a step was announced before, a step.
_DOUBT = 4.0
# That a drift has ended is one thing more to be told.
_END = 4.0
# The last nights do not count for the noise: a step that lies in them would hide itself.
_UNSETTLED = 15


@dataclass(frozen=True, slots=True)
class Change:
    """A level moves from `before` to `after`: a step at night `at`, a drift from `at` to `until`.

    `clear`: by more than noise shows in a year. `until` of a step is `at`.
    """

    kind: Kind
    at: int
    until: int
    before: float
    after: float
    clear: bool

    @property
    def rises(self) -> bool:
        return self.after > self.before


class Known(Settled, Protocol):
    """A change that was announced and stands."""

    @property
    def kind(self) -> Kind: ...


def find_changes(logs: Floats, settled: Sequence[Known] = ()) -> tuple[Change, ...]:
    """Changes in logarithms of nights, oldest first; empty below six nights.

    `settled` are those that are known from before. They are looked for like all others, but do not
    count as noise.
    """
    if len(logs) < 2 * LEAST_NIGHTS:
        return ()
    reach = len(logs) - min(_UNSETTLED, len(logs) // 2)
    series = _Series.of(logs, night_noise(logs[:reach], settled))
    if series.starts and series.starts[-1] > reach:
        # Then the nights up to this step have no part in it: more of them, and a surer noise.
        noise = night_noise(logs[: series.starts[-1]], settled)
        series = _Series.of(logs, noise)
    count, drifting = _drift(series, settled)
    return (*series.steps(count), drifting) if drifting else series.steps(count)


@dataclass(frozen=True, slots=True)
class _Series:
    """Nights without outliers about their middle, and where their levels begin but the first."""

    logs: Floats
    values: Floats
    middle: float
    noise: Noise
    costs: SegmentCosts
    starts: tuple[int, ...]

    @staticmethod
    def of(logs: Floats, noise: Noise) -> _Series:
        kept = without_outliers(logs, noise.sd)
        middle = float(np.median(kept))
        costs = SegmentCosts(kept - middle, noise.ar)
        starts = optimal_partition(costs, _PENALTY * noise.fresh_variance, LEAST_NIGHTS)
        return _Series(logs, kept - middle, middle, noise, costs, starts)

    @property
    def edges(self) -> tuple[int, ...]:
        return (0, *self.starts, len(self.values))

    def level(self, number: int) -> float:
        return float(self.values[self.edges[number] : self.edges[number + 1]].mean())

    def rise(self, number: int) -> float:
        """How far the level moves at the start of this number."""
        return self.level(number + 1) - self.level(number)

    def steps(self, count: int) -> tuple[Change, ...]:
        """The first `count` changes of level, as steps."""
        edges = self.edges
        levels = [math.exp(float(np.median(self.logs[a:b]))) for a, b in pairwise(edges)]
        return tuple(
            Change("step", edges[i + 1], edges[i + 1], levels[i], levels[i + 1], self._clear(i))
            for i in range(count)
        )

    def _clear(self, number: int) -> bool:
        start, at, end = self.edges[number : number + 3]
        gain = self.costs.of(start, end) - self.costs.of(start, at) - self.costs.of(at, end)
        kept = self.costs.kept_level(start, at, end)
        return gain >= self.clear("step") and kept >= _KEPT * self.noise.fresh_variance

    def clear(self, kind: Kind) -> float:
        """How much a change must lower the cost to be clear."""
        more = math.log(max(1.0, len(self.values) / _CLEAR_NIGHTS))
        return (_CLEAR[kind] + _MORE_NIGHTS * more) * self.noise.fresh_variance


def _drift(series: _Series, settled: Sequence[Known]) -> tuple[int, Change | None]:
    """How many steps stay, and the drift that explains the nights after them better than steps.

    Only steps of one direction at the series' end can be a drift; where there is none, one that
    goes on can still be.
    """
    unit = series.noise.fresh_variance
    count = len(series.starts)
    best: tuple[int, Change | None] = (count, None)
    most, steps = 0.0, 0.0
    for first in range(count, -1, -1):
        if first < count and series.rise(first) * series.rise(count - 1) < 0:
            break
        start, end = series.edges[first : first + 2]
        steps += series.costs.of(start, end) + (_PENALTY * unit if first < count else 0.0)
        announced = any(each.kind == "step" and each.at > start for each in settled)
        doubt = 0.0 if first == count or announced else _DOUBT
        for ramp, penalty in _ramps(series, start, ended=first < count):
            one_way = first == count or ramp.slope * series.rise(first) > 0
            gain = steps - ramp.cost - (penalty - doubt) * unit
            if one_way and gain > most:
                best, most = (first, _drifting(series, start, ramp)), gain
    return best


def _ramps(series: _Series, start: int, *, ended: bool) -> list[tuple[Ramp, float]]:
    """Ramps that explain the nights from `start` on, each with its penalty."""
    values, ar = series.values[start:], series.noise.ar
    if len(values) < LEAST_DRIFT:
        return []
    found = [(drift.going_on(values, ar, LEAST_DRIFT), _PENALTY)]
    if ended and (ramp := drift.ended(values, ar, LEAST_DRIFT)):
        found.append((ramp, _PENALTY + _END))
    return found


def _drifting(series: _Series, start: int, ramp: Ramp) -> Change:
    gain = series.costs.of(start, len(series.values)) - ramp.cost
    level = series.middle + ramp.level
    return Change(
        "drift",
        start + ramp.at,
        start + ramp.until,
        math.exp(level),
        math.exp(level + ramp.rise),
        gain >= series.clear("drift"),
    )
