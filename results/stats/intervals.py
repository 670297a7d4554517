"""Medians and intervals of what was measured; the unit of analysis is the guest boot.

Updates of one guest are correlated: pooled, they would make intervals far too narrow. So each
boot counts once, by the median of its updates. All values are integer nanoseconds; failed runs
are counted and never averaged. What cannot be computed is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from results.records.run import Run

CONFIDENCE = 0.95
# With fewer boots no interval is given: of 2 boots one by t reached from 0 to 15,000 s.
LEAST_BOOTS = 4
TOO_FEW_BOOTS = f"fewer than {LEAST_BOOTS} boots"


def median_ns(values: Iterable[int]) -> int | None:
    """Median, ns; the mean of the middle two rounded down for an even count. None for nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) // 2


def boot_medians(runs: Iterable[Run]) -> tuple[int, ...]:
    """Median blackout of each boot in first-seen order, ns; boots without a valid run are left out.

    A boot is one number within one session.
    """
    boots: dict[tuple[str, int], list[int]] = {}
    for run in runs:
        if run.outcome == "completed" and run.blackout_ns is not None:
            boots.setdefault((run.session, run.boot), []).append(run.blackout_ns)
    return tuple(m for values in boots.values() if (m := median_ns(values)) is not None)


def order_statistic_interval(
    values: Sequence[int], confidence: float = CONFIDENCE
) -> tuple[int, int] | None:
    """Exact interval for the median of any distribution: the k-th smallest and largest value.

    k is the largest with P(Binomial(n, 1/2) < k) <= (1 - confidence) / 2. None when n is too small
    for any k: below 6 for 95 %. Source: Conover, Practical Nonparametric Statistics, 3.2.
    """
    ordered = sorted(values)
    n = len(ordered)
    tail = (1.0 - confidence) / 2.0
    below, ways, k = 0, 1, 0  # ways = C(n, k), below = sum of C(n, i) for i < k
    while k < n // 2 and (below + ways) / 2**n <= tail:
        below += ways
        ways = ways * (n - k) // (k + 1)
        k += 1
    return (ordered[k - 1], ordered[n - k]) if k else None


def t_interval_log(values: Sequence[int], confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Student's t interval on the logarithms, ns, rounded outwards.

    Pauses are positive and skewed to the right, their logarithms nearly symmetric, so the middle
    that it bounds is the median. None below 2 values or when one is not positive. For n <= 5 at
    95 % it always holds the sample's median: that is at most s * sqrt((n - 1) / n) from the mean,
    and t > sqrt(n - 1).
    """
    n = len(values)
    if n < 2 or min(values) <= 0:
        return None
    # Half a second to import: only when an interval is wanted.
    from scipy.special import stdtrit

    logs = [math.log(v) for v in values]
    mean = math.fsum(logs) / n
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in logs) / (n - 1))
    reach = float(stdtrit(n - 1, (1.0 + confidence) / 2.0)) * deviation / math.sqrt(n)
    try:
        return math.floor(math.exp(mean - reach)), math.ceil(math.exp(mean + reach))
    except OverflowError:  # values that differ by orders of magnitude bound nothing
        return None


def interval_over_boots(medians: Sequence[int]) -> tuple[tuple[int, int] | None, str]:
    """95 % interval for the median over boots, ns, and the method: order, t or none.

    None below LEAST_BOOTS, and for values that bound nothing.
    """
    if len(medians) < LEAST_BOOTS:
        return None, "none"
    exact = order_statistic_interval(medians)
    if exact is not None:
        return exact, "order"
    by_t = t_interval_log(medians)
    return (by_t, "t") if by_t is not None else (None, "none")
