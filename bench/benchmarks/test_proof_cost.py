"""What the proof costs: the time it takes, and that it does not lengthen the blackout.

    .venv/bin/pytest bench/benchmarks/test_proof_cost.py -s

PAUSEBENCH_BOOTS (10) guests are updated with and without the proof in the order A B B A,
PAUSEBENCH_BLOCKS (3) times each. A boot counts once, with the difference of its two medians.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.measurement.prover import Prover
from bench.measurement.scenarios import BUILTIN, changed, find_scenario, resolve
from bench.measurement.schedule import Trial
from bench.measurement.session import LiveSession
from results.records.run import Run
from results.records.scenario import GIB, Scenario

BOOTS = int(os.environ.get("PAUSEBENCH_BOOTS", "10"))
BLOCKS = int(os.environ.get("PAUSEBENCH_BLOCKS", "3"))
UPDATES = int(os.environ.get("PAUSEBENCH_UPDATES", "10"))
GOAL_NS = 1_000_000_000


def trial_of(live: LiveSession, scenario: Scenario, updates: int) -> Trial:
    build = live.session.builds[0]
    boot = 1 + secrets.randbelow(999_998)  # makes the ids of the runs unique
    return Trial(scenario, build, build, boot, updates, scenario.id)


# -- its time ---------------------------------------------------------------------------------


@pytest.mark.benchmark(group="time of the proof")
def test_time_of_the_proof(benchmark: Any, live: LiveSession) -> None:
    """Proof of a guest of 1 GiB that has touched every 4 KiB page beyond the first 16 MiB."""
    scenario = resolve(changed(find_scenario("anon", BUILTIN), {"ram_bytes": GIB, "touched": 1.0}))

    async def measure_all() -> list[Run]:
        async with await live.experiment.boot(trial_of(live, scenario, UPDATES)) as booted:
            return [await booted.update() for _ in range(UPDATES)]

    runs = benchmark.pedantic(lambda: asyncio.run(measure_all()), rounds=1, iterations=1)
    durations = []
    for run in runs:
        assert run.proof is not None
        assert run.proof.verdict != "broken", run.proof.reason
        durations.append(run.proof.duration_ns)
    benchmark.extra_info.update(proof_ns=durations, goal_ns=GOAL_NS, runs=[run.id for run in runs])
    print(
        f"\nproof of 1 GiB in 4 KiB pages, {len(durations)} updates: median "
        f"{statistics.median(durations) / 1e6:.0f} ms, longest {max(durations) / 1e6:.0f} ms "
        f"(goal: at most {GOAL_NS / 1e6:.0f} ms)\n  {runs[-1].proof.checks[0].text}"
    )


# -- no effect on the blackout ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PairedShift:
    """Hodges-Lehmann shift of paired differences with its exact interval, ns."""

    ns: float
    low_ns: float
    high_ns: float
    confidence: float


def signed_rank_tail(n: int) -> list[float]:
    """P(W <= w) for w = 0, 1, … of Wilcoxon's signed-rank statistic over n pairs."""
    ways = [1]
    for rank in range(1, n + 1):
        longer = ways + [0] * rank
        for w, count in enumerate(ways):
            longer[w + rank] += count
        ways = longer
    total, tail = 0, []
    for count in ways:
        total += count
        tail.append(total / 2**n)
    return tail


def paired_shift(differences: Sequence[float], confidence: float = 0.95) -> PairedShift:
    """Median of all pairwise means, bounded by the signed-rank test's inversion.

    Fewer than 6 differences cannot reach 95 %: the interval then spans all of them, and its true
    confidence is returned. Source: Hollander and Wolfe, Nonparametric Statistical Methods, 3.3.
    """
    n = len(differences)
    walsh = sorted((differences[i] + differences[j]) / 2 for i in range(n) for j in range(i, n))
    tail = signed_rank_tail(n)
    outside = sum(1 for p in tail if p <= (1 - confidence) / 2)
    k = max(1, outside)
    return PairedShift(statistics.median(walsh), walsh[k - 1], walsh[-k], 1 - 2 * tail[k - 1])


@dataclass(slots=True)
class Arms:
    """Blackouts of one boot with and without the proof, ns; failed runs have none."""

    proved: list[int] = field(default_factory=list)
    bare: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def difference(self) -> float:
        return statistics.median(self.proved) - statistics.median(self.bare)


async def alternate(live: LiveSession, scenario: Scenario) -> Arms:
    """One boot, its updates in the order A B B A."""
    arms = Arms()
    everything = live.experiment.instruments
    unproven = everything.without(Prover)
    order = (True, False, False, True) * BLOCKS
    async with await live.experiment.boot(trial_of(live, scenario, len(order))) as booted:
        for prove in order:
            run = await booted.update(instruments=everything if prove else unproven)
            assert booted.arrived, run.reason
            assert (run.proof is not None) == prove
            assert run.proof is None or run.proof.verdict != "broken", run.reason
            if run.outcome == "completed" and run.blackout_ns is not None:
                (arms.proved if prove else arms.bare).append(run.blackout_ns)
            else:
                arms.failed.append(run.reason)
    return arms


@pytest.mark.parametrize("name", ["anon", "pinned"])
@pytest.mark.benchmark(group="blackout with and without the proof")
def test_proof_does_not_lengthen_the_blackout(benchmark: Any, live: LiveSession, name: str) -> None:
    scenario = resolve(find_scenario(name, BUILTIN))

    def measure_all() -> list[Arms]:
        return [asyncio.run(alternate(live, scenario)) for _ in range(BOOTS)]

    everything = benchmark.pedantic(measure_all, rounds=1, iterations=1)
    boots = [arms for arms in everything if arms.proved and arms.bare]
    failed = [reason for arms in everything for reason in arms.failed]
    shift = paired_shift([arms.difference() for arms in boots])
    bare = statistics.median(statistics.median(arms.bare) for arms in boots)
    proved = statistics.median(statistics.median(arms.proved) for arms in boots)
    benchmark.extra_info.update(
        shift_ns=round(shift.ns),
        interval_ns=[round(shift.low_ns), round(shift.high_ns)],
        confidence=round(shift.confidence, 4),
        with_proof_ns=[arms.proved for arms in boots],
        without_proof_ns=[arms.bare for arms in boots],
        failed=failed,
    )
    within = "agree" if shift.low_ns <= 0 <= shift.high_ns else "DIFFER"
    print(
        f"\n{name}, {len(boots)} boots x {4 * BLOCKS} updates (ABBA, {len(failed)} failed): "
        f"blackout {proved / 1e6:.3f} ms with the proof, {bare / 1e6:.3f} ms without; "
        f"shift {shift.ns / 1e6:+.3f} ms "
        f"[{shift.low_ns / 1e6:+.3f}, {shift.high_ns / 1e6:+.3f}] "
        f"({shift.confidence:.1%}, {shift.ns / bare:+.1%}): they {within} within the interval"
    )
