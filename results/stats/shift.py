"""How far one set of boots lies from another: the shift, its exact interval and its p.

Input are strata: pairs (A's values, B's values) in integer ns, one value per guest boot. Some
A B B A blocks are a stratum; boots that were not interleaved are one stratum together. A and B are
compared within strata only, so what drifts from stratum to stratum cancels. Everything follows from
one statistic: U, the number of pairs within a stratum in which B is above A (Wilcoxon and
Mann-Whitney for one stratum, van Elteren's stratified form for several). If nothing changed, each
way to deal A and B within each stratum is equally likely, so the distribution of U is counted, not
sampled: no seed, no Monte Carlo, and an interval excludes 0 exactly when p <= 1 - confidence.

Sources: Hodges and Lehmann, Ann. Math. Stat. 34 (1963) 598, for the estimate and the interval;
van Elteren, Bull. Int. Stat. Inst. 37 (1960) 351, for strata; Benjamini and Hochberg, J. R. Stat.
Soc. B 57 (1995) 289, for many cells.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import comb, prod, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

from .intervals import CONFIDENCE, LEAST_BOOTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Stratum = tuple[Sequence[int], Sequence[int]]

# Counting takes about pairs * boots steps. At 50 and 50 boots the normal curve's ranks are the
# exact ones (tests/results/test_shift.py), so beyond it the curve serves.
_MOST_PAIRS = 2_500
# Sums of floats that stand for whole counts may miss a bound by their last bit.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Shift:
    """B minus A, ns. The bounds are None when there are too few boots for any such interval: below
    LEAST_BOOTS of a side always.

    `shift_ns` is None only where no stratum holds boots of both sides, and so is `p`, the
    two-sided probability of a shift at least as clear if nothing had changed.
    """

    shift_ns: int | None = None
    low_ns: int | None = None
    high_ns: int | None = None
    p: float | None = None

    @property
    def clear(self) -> bool:
        """Whether there is an interval and it excludes 0."""
        if self.low_ns is None or self.high_ns is None:
            return False
        return self.low_ns > 0 or self.high_ns < 0


def estimate_shift(strata: Sequence[Stratum], confidence: float = CONFIDENCE) -> Shift:
    """Shift of B against A with its interval and p; strata with one side alone say nothing.

    The shift is the median of all differences B - A within strata (Hodges-Lehmann), the interval
    their k-th smallest and k-th largest with the largest k that keeps the confidence. Ties make
    the interval wider than it need be, never narrower.
    """
    whole = _whole(strata)
    if not whole:
        return Shift()
    differences = _differences(whole)
    low, high = _bounds(whole, differences, confidence) or (None, None)
    return Shift(_middle(differences), low, high, permutation_p(whole))


def shift_interval(strata: Sequence[Stratum], confidence: float) -> tuple[int, int] | None:
    """The interval of `estimate_shift` alone, at another confidence."""
    whole = _whole(strata)
    return _bounds(whole, _differences(whole), confidence) if whole else None


def has_interval(strata: Sequence[Stratum], confidence: float = CONFIDENCE) -> bool:
    """Whether so many boots in such strata have an interval, whatever their values."""
    whole = _whole(strata)
    return bool(whole) and _rank(whole, confidence) > 0


def _whole(strata: Sequence[Stratum]) -> list[Stratum]:
    return [(a, b) for a, b in strata if a and b]


def _differences(strata: Sequence[Stratum]) -> NDArray[np.int64]:
    """All B - A within strata, ascending."""
    # A tenth of a second to import: only when something is compared.
    import numpy as np

    found = np.concatenate([np.subtract.outer(b, a).ravel() for a, b in strata])
    found.sort()
    return found


def _bounds(
    strata: Sequence[Stratum], differences: NDArray[np.int64], confidence: float
) -> tuple[int, int] | None:
    k = _rank(strata, confidence)
    return (int(differences[k - 1]), int(differences[-k])) if k else None


def _rank(strata: Sequence[Stratum], confidence: float) -> int:
    """As `interval_rank`, and 0 below LEAST_BOOTS of a side."""
    sizes = tuple((len(a), len(b)) for a, b in strata)
    if min(sum(a for a, _ in sizes), sum(b for _, b in sizes)) < LEAST_BOOTS:
        return 0
    return interval_rank(sizes, confidence)


def _middle(ordered: NDArray[np.int64]) -> int:
    """Median, an even count's half rounded towards 0: swapping A and B only turns the sign."""
    n = len(ordered)
    twice = int(ordered[(n - 1) // 2]) + int(ordered[n // 2])
    return abs(twice) // 2 * (1 if twice >= 0 else -1)


def blind_half_width(strata: Sequence[Stratum], confidence: float = CONFIDENCE) -> int | None:
    """Half of the interval as it would be if A and B were one, ns: their names are not looked at.

    Whoever stops measuring when the interval itself is narrow picks those in which A and B happen
    to scatter too little, and calls a change more often than the confidence says. This width does
    not change when A and B are dealt otherwise within strata, so stopping on it leaves each deal as
    likely as it was. A true shift widens it: more is then measured than need be, never less.

    Differences B - A are drawn from those of all pairs of a stratum, so the interval's k-th largest
    of m is the pairs' quantile (m - k + 1/2) / m. None where there is no interval.
    """
    import numpy as np

    whole = _whole(strata)
    k = _rank(whole, confidence) if whole else 0
    if k == 0:
        return None
    pairs, weights = [], []
    for a, b in whole:
        mixed = np.array([*a, *b], dtype=np.int64)
        apart = np.subtract.outer(mixed, mixed)[~np.eye(len(mixed), dtype=np.bool_)]
        pairs.append(apart)
        weights.append(np.full(len(apart), len(a) * len(b) / len(apart)))
    values, share = np.concatenate(pairs), np.concatenate(weights)
    order = np.argsort(values)
    reached = np.cumsum(share[order])
    return int(values[order[np.searchsorted(reached, reached[-1] - k + 0.5)]])


def least_p(sizes: Sequence[tuple[int, int]]) -> float:
    """The smallest p that strata of these boots of A and B can have: all of B above all of A."""
    return min(1.0, 2.0 / prod(comb(a + b, b) for a, b in sizes))


def interval_rank(sizes: Sequence[tuple[int, int]], confidence: float = CONFIDENCE) -> int:
    """Largest k with P(U < k) <= (1 - confidence) / 2 if nothing changed; 0 when there is none.

    `sizes` are the boots of A and B in each stratum. For 95 % one stratum needs 4 and 4 boots
    (or 3 and 5, 2 and 8), A B B A blocks need three.
    """
    tail = (1.0 - confidence) / 2.0
    if _is_small(sizes):
        return _counted_rank(tuple(sizes), tail)
    mean = sum(a * b for a, b in sizes) / 2.0
    variance = sum(a * b * (a + b + 1) for a, b in sizes) / 12.0
    return max(0, int(mean + 0.5 + NormalDist().inv_cdf(tail) * sqrt(variance)))


@functools.lru_cache(maxsize=1024)
def _counted_rank(sizes: tuple[tuple[int, int], ...], tail: float) -> int:
    # Without ties 2U takes even values alone.
    below = accumulate(float(share) for share in _null_of_u(_untied(sizes))[::2])
    return sum(1 for share in below if share <= tail * (1.0 + _ROUNDING))


def permutation_p(strata: Sequence[Stratum]) -> float:
    """Two-sided p of U among all ways to deal A and B within the strata; ties count half.

    Twice the smaller tail, at most 1. Needs strata with both sides.
    """
    seen = _excess(strata)
    pairs = sum(len(a) * len(b) for a, b in strata)
    if not _is_small([(len(a), len(b)) for a, b in strata]):
        return _normal_p(strata, seen / 2.0)
    null = _null_of_u(tuple((_doubled_ranks([*a, *b]), len(b)) for a, b in strata))
    twice_u = seen + pairs
    tails = (float(null[: twice_u + 1].sum()), float(null[twice_u:].sum()))
    return min(1.0, 2.0 * min(tails))


def _excess(strata: Sequence[Stratum]) -> int:
    """Pairs within strata in which B is above A, less those in which it is below."""
    import numpy as np

    return sum(int(np.sign(np.subtract.outer(b, a)).sum()) for a, b in strata)


def _normal_p(strata: Sequence[Stratum], excess: float) -> float:
    """`excess` is U minus its mean; with the corrections for ties and for continuity."""
    variance = 0.0
    for a, b in strata:
        n = len(a) + len(b)
        ties = sum(t**3 - t for t in Counter([*a, *b]).values())
        variance += len(a) * len(b) / 12.0 * (n + 1 - ties / (n * (n - 1)))
    if variance <= 0.0:  # every value is the same: each deal is as good as the one seen
        return 1.0
    return min(1.0, 2.0 * NormalDist().cdf(-max(0.0, abs(excess) - 0.5) / sqrt(variance)))


def _is_small(sizes: Sequence[tuple[int, int]]) -> bool:
    return sum(a * b for a, b in sizes) <= _MOST_PAIRS


def _untied(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[tuple[int, ...], int], ...]:
    return tuple((tuple(range(2, 2 * (a + b) + 1, 2)), b) for a, b in sizes)


def _doubled_ranks(values: Sequence[int]) -> tuple[int, ...]:
    """Twice the rank from 1 of each value, ascending; equal values share the mean of theirs."""
    ranks: list[int] = []
    for _, count in sorted(Counter(values).items()):
        ranks += [2 * len(ranks) + count + 1] * count
    return tuple(ranks)


def _null_of_u(strata: tuple[tuple[tuple[int, ...], int], ...]) -> NDArray[np.float64]:
    """Probability of 2U = 0, 1, 2, … over strata given as (doubled ranks, boots of B)."""
    import numpy as np

    null = np.ones(1)
    for ranks, count_b in strata:
        null = np.convolve(null, _null_of_stratum(ranks, count_b))
    return null


@functools.lru_cache(maxsize=256)
def _null_of_stratum(ranks: tuple[int, ...], count_b: int) -> NDArray[np.float64]:
    """Probability of 2U in one stratum, by counting the subsets of ranks that B can be dealt.

    ways[j, s] is the number of subsets of j ranks with sum s. Sums of positive floats keep their
    relative precision however many ways there are.
    """
    import numpy as np

    n = len(ranks)
    ways = np.zeros((count_b + 1, sum(ranks[n - count_b :]) + 1))
    ways[0, 0] = 1.0
    for rank in ranks:
        if rank < ways.shape[1]:
            ways[1:, rank:] += ways[:-1, :-rank].copy()
    least = count_b * (count_b + 1)  # of B's doubled rank sum, where U is 0
    twice_pairs = 2 * (n - count_b) * count_b
    null = np.zeros(twice_pairs + 1)
    found = ways[count_b, least : least + twice_pairs + 1] / comb(n, count_b)
    null[: len(found)] = found
    null.flags.writeable = False  # it is shared by the cache
    return null


def adjust_for_many(ps: Sequence[float | None], count: int = 0) -> tuple[float | None, ...]:
    """Benjamini-Hochberg's adjusted p in the order given; None stays None and is not counted.

    Calling those at or below 0.05 changed keeps the expected share of false calls at 5 %. `count`
    is how many p there are, where there are more than are given: those count as if they were 1.
    """
    ranked = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    count = max(count, len(ranked))
    adjusted: list[float | None] = [None] * len(ps)
    least = 1.0
    for rank in range(len(ranked), 0, -1):
        p, i = ranked[rank - 1]
        least = min(least, p * count / rank)
        adjusted[i] = least
    return tuple(adjusted)
