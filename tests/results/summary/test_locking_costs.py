"""The cost of locking RAM, from pairs of scenarios that differ only in it."""

from __future__ import annotations

from results.records.run import Summary
from results.summary.locking_costs import LockingCost, locking_costs


def _summary(scenario, dimensions, median, handover):
    return Summary(
        scenario, "a", "a", 3, 5, 15, 0, median, None, None, median,
        handover_median_ns=handover, dimensions=dimensions,
    )  # fmt: skip


def test_locking_cost_of_scenarios_that_differ_only_in_locking():
    locked = _summary("anon-locked", "id=anon-locked mem_lock=True vcpus=1", 5_000, 90_000)
    plain = _summary("anon", "id=anon mem_lock=False vcpus=1", 4_000, 70_000)
    other = _summary("two", "id=two mem_lock=False vcpus=2", 1_000, 10_000)
    assert locking_costs([other, plain, locked]) == (
        LockingCost("anon-locked", "anon", 1_000, 20_000),
    )
    assert locking_costs([other, locked]) == ()
    assert locking_costs([other, plain]) == ()
