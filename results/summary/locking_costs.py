"""What locking guest RAM adds, from scenarios that differ in nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from results.records.run import Summary


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
