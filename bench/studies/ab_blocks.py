"""Measuring two builds in turns: blocks of A B B A on one host, one boot the unit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.measurement.experiment import Experiment
from bench.measurement.schedule import Trial
from results.comparison.compare import Comparison
from results.records.run import Run
from results.records.scenario import Build, Scenario
from results.stats.boots import blocks_by_boot, boot_values, medians, strata
from results.stats.intervals import median_ns
from results.stats.shift import blind_half_width
from results.store.store import AaEntry, Store

BOOTS_PER_BLOCK = 2  # of each side: A B B A


@dataclass(frozen=True, slots=True)
class Pair:
    """Two builds to compare; `upgrades` are measured as well, one update per boot."""

    a: Build
    b: Build
    upgrades: tuple[tuple[Build, Build], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How a pair is compared: scenarios, boots of each side and precision.

    At least `boots`; with `precision`, in percent of A's median, at most `limit`.
    """

    scenarios: Sequence[Scenario]
    pair: Pair
    boots: int
    updates: int
    seed: int
    precision: float | None = None
    limit: int = 0

    @property
    def least(self) -> int:
        """Blocks that are measured in any case."""
        return -(-self.boots // BOOTS_PER_BLOCK)

    @property
    def most(self) -> int:
        """Blocks after which measuring stops."""
        if self.precision is None:
            return self.least
        return max(self.least, self.limit // BOOTS_PER_BLOCK)

    @property
    def least_updates(self) -> int:
        """Updates in the blocks that are measured in any case."""
        order = random.Random(self.seed)  # noqa: S311 - a schedule, stored to be repeated
        trials = plan_block(self.scenarios, self.pair, 0, self.updates, order)
        return self.least * sum(trial.updates for trial in trials)


def plan_block(
    scenarios: Sequence[Scenario], pair: Pair, block: int, updates: int, order: random.Random
) -> tuple[Trial, ...]:
    """Trials of block number `block` (from 0), scenarios in a fresh order, A B B A or B A A B.

    A boot's number gives its block: both sides count alike, two boots per block.
    """
    trials: list[Trial] = []
    for scenario in order.sample(list(scenarios), len(scenarios)):
        first, second = (pair.a, pair.b) if order.random() < 0.5 else (pair.b, pair.a)
        taken = {first.label: 0, second.label: 0}
        for build in (first, second, second, first):
            taken[build.label] += 1
            boot = BOOTS_PER_BLOCK * block + taken[build.label]
            cell = f"{scenario.id}+{build.label}"
            trials.append(Trial(scenario, build, build, boot, updates, cell))
        trials += [
            Trial(scenario, old, new, block + 1, 1, f"{scenario.id}+{old.label}-to-{new.label}")
            for old, new in pair.upgrades
        ]
    return tuple(trials)


def sides(runs: Sequence[Run], pair: Pair) -> tuple[list[Run], list[Run], list[Run]]:
    """Runs of A → A, of B → B, and the rest (upgrades)."""
    a, b, rest = [], [], []
    for run in runs:
        if (run.old_build, run.new_build) == (pair.a.label, pair.a.label):
            a.append(run)
        elif (run.old_build, run.new_build) == (pair.b.label, pair.b.label):
            b.append(run)
        else:
            rest.append(run)
    return a, b, rest


def narrow(runs_a: Sequence[Run], runs_b: Sequence[Run], percent: float) -> bool:
    """Whether every cell's interval is about ± `percent` of the median wide.

    By a width that does not know which boots are A's (results.stats.shift.blind_half_width).
    """
    scenarios = dict.fromkeys(run.scenario for run in (*runs_a, *runs_b))
    return all(
        _is_narrow(
            [run for run in runs_a if run.scenario == scenario],
            [run for run in runs_b if run.scenario == scenario],
            percent,
        )
        for scenario in scenarios
    )


def _is_narrow(runs_a: Sequence[Run], runs_b: Sequence[Run], percent: float) -> bool:
    boots = [value for runs in (runs_a, runs_b) for value in medians(boot_values(runs, "blackout"))]
    middle = median_ns(boots)
    half = blind_half_width(strata(runs_a, runs_b, "blackout", blocks_by_boot(BOOTS_PER_BLOCK)))
    return middle is not None and half is not None and half <= middle * percent / 100.0


async def measure_pair(
    experiment: Experiment,
    plan: Plan,
    judge: Callable[[Sequence[Run], Sequence[Run]], Comparison],
    repeat: int = 1,
    compared: Callable[[Comparison, Sequence[Run]], None] = lambda comparison, runs: None,
) -> tuple[Comparison, list[Run]]:
    """Measure and compare `repeat` times; the last comparison, with its runs.

    `judge` compares runs of A with those of B; `compared` is called with every comparison.
    """
    order = random.Random(plan.seed)  # noqa: S311 - a schedule, stored to be repeated

    def enough(runs: Sequence[Run]) -> bool:
        runs_a, runs_b, _ = sides(runs, plan.pair)
        return plan.precision is None or narrow(runs_a, runs_b, plan.precision)

    def block(first: int, number: int) -> tuple[Trial, ...]:
        return plan_block(plan.scenarios, plan.pair, first + number, plan.updates, order)

    for number in range(repeat):
        # Every comparison has its own blocks, so that boot numbers differ.
        blocks = partial(block, number * plan.most)
        runs = await measure_blocks(experiment, blocks, plan.least, plan.most, enough)
        runs_a, runs_b, _ = sides(runs, plan.pair)
        comparison = judge(runs_a, runs_b)
        compared(comparison, runs)
    return comparison, runs


async def measure_blocks(
    experiment: Experiment,
    plan: Callable[[int], tuple[Trial, ...]],
    least: int,
    most: int,
    enough: Callable[[list[Run]], bool],
) -> list[Run]:
    """Carry out at least `least` blocks, then go on until `enough` says so or `most` are done.

    `enough` may look at what does not change when A and B are swapped, as `narrow` does. Stopping
    when p is small finds changes where there are none, and stopping when the interval itself is
    narrow prefers intervals that are too narrow by chance.
    """
    runs: list[Run] = []
    for block in range(most):
        if block >= least and enough(runs):
            break
        runs += await experiment.run(plan(block))
    return runs


def remember_aa(
    store: Store, session: str, host: str, comparison: Comparison, runs: Sequence[Run]
) -> None:
    """Store the shift and verdict of every cell of an A/A, for this host's noise floor."""
    dimensions = {run.scenario: run.dimensions for run in runs}
    for cell in comparison.cells:
        if cell.shift_ns is not None:
            boots = min(cell.n_a, cell.n_b)
            entry = AaEntry(host, dimensions[cell.scenario], boots, cell.shift_ns, cell.verdict)
            store.add_aa(session, entry)
