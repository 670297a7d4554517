"""Updates from every build to every build, in turns."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

from bench.measurement.experiment import Experiment
from bench.measurement.schedule import Trial
from results.records.run import Run
from results.records.scenario import Build, Scenario


async def measure_matrix(
    experiment: Experiment, scenario: Scenario, builds: Sequence[Build], boots: int, seed: int
) -> list[Run]:
    """All pairs once per round, in a new order each; a pair that failed is not tried again."""
    order = random.Random(seed)  # noqa: S311 - a schedule, stored to be repeated
    runs: list[Run] = []
    failed: set[tuple[str, str]] = set()
    for boot in range(1, boots + 1):
        pairs = list(product(builds, builds))
        order.shuffle(pairs)
        for old, new in pairs:
            if (old.label, new.label) in failed:
                experiment.progress.skipped(1)
                continue
            cell = f"{scenario.id}+{old.label}-to-{new.label}"
            found = await experiment.run([Trial(scenario, old, new, boot, 1, cell)])
            runs += found
            if any(run.outcome == "failed" for run in found):
                failed.add((old.label, new.label))
    return runs
