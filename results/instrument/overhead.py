"""What the probes cost: the same updates with more and with fewer probes, by the guest's own gap.

The guest's own beats need no probe. Every round has one boot of each tier in a random order, and
two rounds make a block, so that a host that drifts affects all tiers alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from results.records.run import Run
from results.stats.intervals import median_ns
from results.stats.shift import Shift, Stratum, estimate_shift, interval_rank

# none: nothing is loaded. bracket: guest entry and exit alone. default: what `run` loads.
# perf: default, the scheduler (`run --why`) and perf events of both processes (`run --perf`).
Tier = Literal["none", "bracket", "default", "perf"]
TIERS: tuple[Tier, ...] = ("none", "bracket", "default", "perf")
GOAL = 0.02
_ROUNDS_PER_BLOCK = 2


@dataclass(frozen=True, slots=True)
class TierBoot:
    """One boot of a tier: the medians over its updates, ns. `round` from 1."""

    cell: str  # scenario and accelerator
    tier: Tier
    round: int
    gap_ns: int
    handover_ns: int | None


@dataclass(frozen=True, slots=True)
class TierCost:
    """How much longer an update is with one tier than with none, 95 % intervals over boots, ns."""

    cell: str
    tier: Tier
    boots: int
    gap_ns: int  # median over boots, the guest's
    shift_ns: int | None
    low_ns: int | None
    high_ns: int | None
    handover_shift_ns: int | None
    handover_low_ns: int | None
    handover_high_ns: int | None
    base_ns: int | None  # the guest's gap with nothing loaded

    @property
    def percent(self) -> float | None:
        return _percent(self.shift_ns, self.base_ns)

    @property
    def low_percent(self) -> float | None:
        return _percent(self.low_ns, self.base_ns)

    @property
    def high_percent(self) -> float | None:
        return _percent(self.high_ns, self.base_ns)

    @property
    def verdict(self) -> Literal["within", "beyond", "undecided"]:
        """Whether the cost is within the goal's share of the gap, by the interval alone."""
        if self.low_percent is None or self.high_percent is None:
            return "undecided"
        if self.high_percent <= GOAL * 100:
            return "within"
        return "beyond" if self.low_percent > GOAL * 100 else "undecided"


@dataclass(frozen=True, slots=True)
class ObserverEffect:
    """Costs of all tiers in all cells. In `lost` boots the guest testified in no run."""

    costs: tuple[TierCost, ...]
    lost: int = 0

    @property
    def judged(self) -> bool:
        """Whether the cost of what `run` loads has an interval in any cell."""
        return any(cost.tier == "default" and cost.low_ns is not None for cost in self.costs)


def boots_needed() -> int:
    """Boots of each tier below which there is no interval."""
    boots = 1
    while not interval_rank(_block_sizes(boots)):
        boots += 1
    return boots


def _block_sizes(boots: int) -> tuple[tuple[int, int], ...]:
    whole, rest = divmod(boots, _ROUNDS_PER_BLOCK)
    sizes = ((_ROUNDS_PER_BLOCK, _ROUNDS_PER_BLOCK),) * whole
    return (*sizes, (rest, rest)) if rest else sizes


def boot_of(cell: str, tier: Tier, number: int, runs: Iterable[Run]) -> TierBoot | None:
    """One boot by the medians of its valid runs; None if the guest testified in none."""
    valid = [run for run in runs if run.outcome == "completed"]
    gap = median_ns(run.guest_gap_ns for run in valid if run.guest_gap_ns is not None)
    if gap is None:
        return None
    handovers = [r.guest_handover_ns for r in valid if r.guest_handover_ns is not None]
    return TierBoot(cell, tier, number, gap, median_ns(handovers))


def observer_effect(boots: Sequence[TierBoot], lost: int = 0) -> ObserverEffect:
    """Compare every tier with none, cell by cell."""
    costs = []
    for cell in dict.fromkeys(boot.cell for boot in boots):
        mine = [boot for boot in boots if boot.cell == cell]
        base = median_ns(boot.gap_ns for boot in mine if boot.tier == "none")
        for tier in TIERS:
            ours = [boot for boot in mine if boot.tier == tier]
            middle = median_ns(boot.gap_ns for boot in ours)
            if middle is None:
                continue
            gap, handover = (Shift(), Shift()) if tier == "none" else _shifts(mine, tier)
            costs.append(
                TierCost(
                    cell=cell,
                    tier=tier,
                    boots=len(ours),
                    gap_ns=middle,
                    shift_ns=gap.shift_ns,
                    low_ns=gap.low_ns,
                    high_ns=gap.high_ns,
                    handover_shift_ns=handover.shift_ns,
                    handover_low_ns=handover.low_ns,
                    handover_high_ns=handover.high_ns,
                    base_ns=base,
                )
            )
    return ObserverEffect(tuple(costs), lost)


def _shifts(boots: Sequence[TierBoot], tier: Tier) -> tuple[Shift, Shift]:
    """The shifts of the guest's gap and of its handover."""
    gaps: dict[int, tuple[list[int], list[int]]] = {}
    handovers: dict[int, tuple[list[int], list[int]]] = {}
    for boot in boots:
        if boot.tier not in ("none", tier):
            continue
        block, side = (boot.round - 1) // _ROUNDS_PER_BLOCK, int(boot.tier == tier)
        gaps.setdefault(block, ([], []))[side].append(boot.gap_ns)
        if boot.handover_ns is not None:
            handovers.setdefault(block, ([], []))[side].append(boot.handover_ns)
    strata: tuple[list[Stratum], list[Stratum]] = list(gaps.values()), list(handovers.values())
    return estimate_shift(strata[0]), estimate_shift(strata[1])


def _percent(ns: int | None, base_ns: int | None) -> float | None:
    return None if ns is None or not base_ns else ns / base_ns * 100.0
