"""Medians and intervals of what was measured; the unit of analysis is the guest boot.

Updates of one guest are correlated: pooled, they would make intervals far too narrow. So each
boot counts once, by the median of its updates. All values are integer nanoseconds; failed runs
are counted and never averaged. What cannot be computed is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from results.records.run import Run, Summary

CONFIDENCE = 0.95


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


def median_of_boots(runs: Iterable[Run]) -> int | None:
    """Median over boots of each boot's median blackout, ns; None without a valid run."""
    return median_ns(boot_medians(runs))


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
    except OverflowError:  # two boots that differ by orders of magnitude bound nothing
        return None


def interval_over_boots(medians: Sequence[int]) -> tuple[tuple[int, int] | None, str]:
    """95 % interval for the median over boots, ns, and the method: order, t or none."""
    exact = order_statistic_interval(medians)
    if exact is not None:
        return exact, "order"
    by_t = t_interval_log(medians)
    return (by_t, "t") if by_t is not None else (None, "none")


@dataclass(slots=True)
class _Group:
    """What is kept of the runs of one summary line: numbers only, so that many runs fit."""

    scenario: str
    dimensions: str
    old_build: str
    new_build: str
    counts: dict[tuple[str, int], int] = field(default_factory=dict)  # boot → runs, failed too
    boots: dict[tuple[str, int], list[int]] = field(default_factory=dict)  # boot → blackouts
    valid: int = 0
    failed: int = 0
    qemu: list[int] = field(default_factory=list)
    qemu_errors: list[float] = field(default_factory=list)
    explained: int = 0  # runs with a blackout, the base of every phase's median
    phases: dict[str, list[int]] = field(default_factory=dict)
    handovers: list[int] = field(default_factory=list)
    guest_gaps: list[int] = field(default_factory=list)
    first_progress: list[int] = field(default_factory=list)
    brownouts: list[int] = field(default_factory=list)
    proofs: dict[str, int] = field(default_factory=dict)
    operations: int = 0
    troubles: int = 0
    device_gaps: list[int] = field(default_factory=list)

    def add(self, run: Run) -> None:
        boot = (run.session, run.boot)
        self.counts[boot] = self.counts.get(boot, 0) + 1
        if run.proof is not None:
            self.proofs[run.proof.verdict] = self.proofs.get(run.proof.verdict, 0) + 1
        if run.device is not None:
            self.operations += run.device.operations
            self.troubles += bool(run.device.troubles)
        if run.outcome != "completed":
            self.failed += 1
            return
        if run.device is not None and run.device.longest_gap_ns is not None:
            self.device_gaps.append(run.device.longest_gap_ns)
        self.valid += 1
        if run.blackout_ns is not None:
            self._add_blackout(run, boot, run.blackout_ns)
        for kept, value in (
            (self.handovers, run.handover_ns),
            (self.guest_gaps, run.guest_gap_ns),
            (self.first_progress, run.first_progress_ns),
            (self.brownouts, run.least_brownout_ns),
        ):
            if value is not None:
                kept.append(value)

    def _add_blackout(self, run: Run, boot: tuple[str, int], blackout: int) -> None:
        self.boots.setdefault(boot, []).append(blackout)
        self.explained += 1
        for name, share in run.phases.items():
            self.phases.setdefault(name, []).append(share)
        if run.witnesses.qemu is not None:
            self.qemu.append(run.witnesses.qemu)
            if blackout > 0:
                self.qemu_errors.append((run.witnesses.qemu - blackout) / blackout * 100.0)

    def summary(self) -> Summary:
        medians = [m for values in self.boots.values() if (m := median_ns(values)) is not None]
        bounds, method = interval_over_boots(medians)
        return Summary(
            scenario=self.scenario,
            old_build=self.old_build,
            new_build=self.new_build,
            boots=len(self.counts),
            updates=max(self.counts.values(), default=0),
            valid=self.valid,
            failed=self.failed,
            median_ns=median_ns(medians),
            low_ns=bounds[0] if bounds else None,
            high_ns=bounds[1] if bounds else None,
            max_ns=max((max(values) for values in self.boots.values()), default=None),
            interval=method,
            qemu_median_ns=median_ns(self.qemu),
            qemu_error_percent=_median_percent(self.qemu_errors),
            phases=self._phase_medians(),
            handover_median_ns=median_ns(self.handovers),
            guest_gap_median_ns=median_ns(self.guest_gaps),
            first_progress_median_ns=median_ns(self.first_progress),
            brownout_median_ns=median_ns(self.brownouts),
            dimensions=self.dimensions,
            proofs=dict(self.proofs),
            device_operations=self.operations,
            device_troubles=self.troubles,
            device_gap_ns=max(self.device_gaps, default=None),
        )

    def _phase_medians(self) -> dict[str, int]:
        """Median share over all runs; a run in which a phase had no share counts as 0 for it."""
        shares = {
            name: median_ns([*values, *[0] * (self.explained - len(values))])
            for name, values in self.phases.items()
        }
        return {name: share for name, share in shares.items() if share}


def _median_percent(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2.0


def summarise(runs: Iterable[Run]) -> tuple[Summary, ...]:
    """One Summary per (scenario, dimensions, old build, new build), in first-seen order.

    `updates` is the largest number of runs that a boot has, failed ones included; the phases and
    the medians of QEMU's claim are taken over all valid runs of the group.
    """
    groups: dict[tuple[str, str, str, str], _Group] = {}
    for run in runs:
        key = (run.scenario, run.dimensions, run.old_build, run.new_build)
        if key not in groups:
            groups[key] = _Group(*key)
        groups[key].add(run)
    return tuple(group.summary() for group in groups.values())


def belongs(run: Run, summary: Summary) -> bool:
    """Whether `run` is one of those that `summary` sums up, within one call of `summarise`."""
    return (run.scenario, run.dimensions, run.old_build, run.new_build) == (
        summary.scenario,
        summary.dimensions,
        summary.old_build,
        summary.new_build,
    )


@dataclass(frozen=True, slots=True)
class LockingCost:
    """What locking guest RAM adds, by the medians of two otherwise equal scenarios, ns."""

    locked: str
    unlocked: str
    blackout_ns: int
    handover_ns: int | None


def locking_costs(summaries: Iterable[Summary]) -> tuple[LockingCost, ...]:
    """Pairs that differ in mem_lock alone, on the same builds."""
    found = list(summaries)
    by_key = {(s.dimensions_but_id, s.old_build, s.new_build): s for s in found}
    costs = []
    for summary in found:
        if "mem_lock=True" not in summary.dimensions:
            continue
        twin = by_key.get(
            (
                summary.dimensions_but_id.replace("mem_lock=True", "mem_lock=False"),
                summary.old_build,
                summary.new_build,
            )
        )
        if twin is None or summary.median_ns is None or twin.median_ns is None:
            continue
        ours, theirs = summary.handover_median_ns, twin.handover_median_ns
        costs.append(
            LockingCost(
                summary.scenario,
                twin.scenario,
                summary.median_ns - twin.median_ns,
                None if ours is None or theirs is None else ours - theirs,
            )
        )
    return tuple(costs)
