"""How far a build seems to lie from itself on this host, and how often a verdict was wrong.

A verdict rests on tonight's boots. What moves a whole side for as long as it is measured does not
show in their scatter, but it does in comparisons of a build with itself (A/A): a change smaller
than those have shown is not called one.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from results.stats.intervals import CONFIDENCE, LEAST_BOOTS

from .verdict import Verdict

# The last nights count, each half as much as one that is 15 nights younger: a host that was bad for
# a month is itself again after three good weeks.
NIGHTS = 60
_HALF_LIFE = 15
# With fewer the floor would be a guess: of 3 nights it is twice as high as of many.
LEAST_NIGHTS = 6


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Below it lies a shift where nothing changed, with 95 % probability.

    `size_ns` is for comparisons of `boots` boots of each side and falls with the root of their
    number; with `boots` None it is the same for any number. `source` says what showed it.
    """

    size_ns: float
    boots: int | None
    nights: int
    source: str = "A/A comparisons on this host"

    def at(self, boots: int) -> int:
        """Its size in a comparison of so many boots of each side, ns, rounded up."""
        if self.boots is None:
            return math.ceil(self.size_ns)
        return math.ceil(self.size_ns * math.sqrt(self.boots / max(1, boots)))


def aa_floor(nights: Iterable[Sequence[tuple[int, int]]]) -> NoiseFloor | None:
    """From the A/A comparisons of each night, oldest first: (boots of each side, shift in ns).

    Those of too few boots for an interval are left out, each night counts once, and the last NIGHTS
    count. None with fewer than LEAST_NIGHTS.
    """
    sizes = []
    for comparisons in nights:
        night = [abs(s) * math.sqrt(n) for n, s in comparisons if n >= LEAST_BOOTS]
        if night:
            sizes.append(median(night))
    sizes = sizes[-NIGHTS:]
    if len(sizes) < LEAST_NIGHTS:
        return None
    return NoiseFloor(bound_of_next(sizes), 1, len(sizes))


def nights_floor(medians_ns: Sequence[int], confidence: float = CONFIDENCE) -> NoiseFloor | None:
    """How far two nights of one level lie apart, from the medians of such nights, oldest first.

    For comparisons of one night with another: however many boots they have, they do not see what
    moves a whole night. Nights half of them apart are compared, as neighbours are more alike.
    None with fewer than 2 * LEAST_NIGHTS.
    """
    half = len(medians_ns) // 2
    if half < LEAST_NIGHTS:
        return None
    sizes = [abs(medians_ns[i + half] - medians_ns[i]) for i in range(half)]
    bound = bound_of_next(sizes, confidence)
    return NoiseFloor(bound, None, len(medians_ns), "what nights differ by on this host")


def bound_of_next(sizes: Sequence[float], confidence: float = CONFIDENCE) -> float:
    """What the next of these sizes, oldest first, stays below with `confidence`: by their median.

    Sizes are those of normal values around 0, of which almost half may be outliers of any size: the
    median, in which later ones weigh more than earlier ones, stands for all of them. The factor
    makes up for how far the median of so few may lie off.
    """
    weights = _weights(len(sizes))
    ordered = sorted(zip(sizes, weights, strict=True))
    reached = list(accumulate(weight for _, weight in ordered))
    middle, _ = ordered[bisect_left(reached, reached[-1] / 2.0)]
    return middle * _factor(len(sizes), confidence)


def _weights(n: int) -> list[float]:
    return [2.0 ** (-age / _HALF_LIFE) for age in range(n - 1, -1, -1)]


@functools.cache
def _factor(n: int, confidence: float) -> float:
    """c with P(|Z| <= c M) = confidence, M the median of n other |Z|, all standard normal.

    4.2 for 6 at 95 %, 2.9 = 1.96 / 0.674 for many.
    """
    # Half a second to import: only where A/As are stored.
    import numpy as np
    from scipy.special import betaincinv, ndtr, ndtri

    weights = _weights(n)
    # So many equal ones would tell as much (Kish's effective size). The k-th smallest of n uniform
    # values is Beta(k, n - k + 1), the middle one Beta(k, k); its quantiles in equal steps.
    k = (math.fsum(weights) ** 2 / math.fsum(weight**2 for weight in weights) + 1.0) / 2.0
    shares = betaincinv(k, k, (np.arange(4_000) + 0.5) / 4_000)
    medians = ndtri((1.0 + shares) / 2.0)
    low, high = 0.0, 1e6
    while high - low > 1e-6 * high:
        middle = (low + high) / 2.0
        beyond = float(np.mean(2.0 * ndtr(-middle * medians)))
        low, high = (middle, high) if beyond > 1.0 - confidence else (low, middle)
    return high


def false_alarms(verdicts: Iterable[Verdict]) -> tuple[int, int]:
    """Of A/A verdicts, how many claim a change, and how many there are."""
    given = list(verdicts)
    return sum(verdict in ("regressed", "improved") for verdict in given), len(given)
