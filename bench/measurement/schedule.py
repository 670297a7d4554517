"""The schedule of a session: which guest boots when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from results.records.scenario import Build, Scenario


@dataclass(frozen=True, slots=True)
class Trial:
    """One boot of a guest and its updates."""

    scenario: Scenario
    old_build: Build
    new_build: Build
    boot: int  # from 1
    updates: int
    cell: str  # names the trial's runs: the scenario, and the build where there are several


def plan_trials(
    scenarios: Sequence[Scenario], builds: Sequence[Build], boots: int, updates: int, seed: int
) -> tuple[Trial, ...]:
    """Every scenario on every build once per round, each round in a new random order.

    A host that drifts then affects all cells alike. Each build is updated to itself.
    """
    order = random.Random(seed)  # noqa: S311 - a schedule, stored to be repeated
    cells = [
        (scenario, build, f"{scenario.id}+{build.label}" if len(builds) > 1 else scenario.id)
        for build in builds
        for scenario in scenarios
    ]
    trials = []
    for boot in range(1, boots + 1):
        order.shuffle(cells)
        trials += [Trial(s, build, build, boot, updates, cell) for s, build, cell in cells]
    return tuple(trials)
