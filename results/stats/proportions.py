"""Shares of runs and boots: budgets that were kept, and failures of B compared with A."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

from .intervals import CONFIDENCE


@dataclass(frozen=True, slots=True)
class Budget:
    """How many of `total` runs stayed under `limit_ns`; `failed` of them did not, as they failed.

    `low_share` bounds the share of all such runs from below with 95 % confidence, by
    Clopper-Pearson on as many trials as there were boots; None without a run.
    """

    limit_ns: int
    within: int
    total: int
    low_share: float | None
    failed: int = 0


def is_within(ns: int | None, limit_ns: int) -> bool:
    """Whether a run kept a budget: one that took exactly the limit did not, nor one that failed.

    `ns` is None for a failed run.
    """
    return ns is not None and ns < limit_ns


def budget_line(boots: Iterable[Sequence[int | None]], limit_ns: int) -> Budget:
    """Count the runs below `limit_ns`, given each boot's values in ns, None for a failed run.

    Updates of one guest are correlated, so the bound takes them for one trial: no narrower than
    if they were copies of each other.
    """
    measured = [boot for boot in boots if boot]
    values = [value for boot in measured for value in boot]
    within = sum(is_within(value, limit_ns) for value in values)
    low = _low_share(within, len(values), len(measured))
    return Budget(limit_ns, within, len(values), low, values.count(None))


def _low_share(
    within: int, total: int, trials: int, confidence: float = CONFIDENCE
) -> float | None:
    """One-sided bound, Clopper and Pearson, Biometrika 26 (1934) 404.

    The Beta function takes it to the fractional number of successes that `trials` times the share
    is.
    """
    if not total:
        return None
    if not within:
        return 0.0
    from scipy.special import betaincinv

    successes = trials * within / total
    return float(betaincinv(successes, trials - successes + 1.0, 1.0 - CONFIDENCE))


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed runs of one side of a cell, and the boots that had any.

    `damaged_boots`, `lost_boots` and `not_updated_boots` are those of the boots in which the worst
    that a run did to the guest was damage, loss or a failed update; in the rest of `boots` only the
    measurement failed. The same for runs.
    """

    runs: int = 0
    total_runs: int = 0
    boots: int = 0
    total_boots: int = 0
    damaged_runs: int = 0
    lost_runs: int = 0
    not_updated_runs: int = 0
    damaged_boots: int = 0
    lost_boots: int = 0
    not_updated_boots: int = 0

    @property
    def by_severity(self) -> tuple[int, int, int]:
        """Boots with damage, with loss or worse, with a failed update or worse."""
        lost = self.damaged_boots + self.lost_boots
        return self.damaged_boots, lost, lost + self.not_updated_boots


def more_harm(a: Failures, b: Failures) -> bool:
    """Whether a larger share of B's boots damaged or lost its guest, or failed to update it.

    There is no test of significance: what a transfer must never do counts each time it does it.
    """
    if not a.total_boots or not b.total_boots:
        return False
    return any(
        in_b * a.total_boots > in_a * b.total_boots
        for in_a, in_b in zip(a.by_severity, b.by_severity, strict=True)
    )


def more_failures_p(a: Failures, b: Failures) -> float | None:
    """Probability of so many failing boots in B if both sides fail alike; None without boots.

    Fisher's exact test, one-sided. Boots, not runs: one lost guest fails all updates that were to
    follow.
    """
    if not a.total_boots or not b.total_boots:
        return None
    failing, boots = a.boots + b.boots, a.total_boots + b.total_boots
    ways = sum(
        comb(failing, x) * comb(boots - failing, b.total_boots - x)
        for x in range(b.boots, min(failing, b.total_boots) + 1)
    )
    return ways / comb(boots, b.total_boots)
