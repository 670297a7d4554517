"""The same updates with more and with fewer probes: what the probes cost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.measurement.controls import Controls
from bench.measurement.experiment import Experiment
from bench.measurement.instruments import Instruments
from bench.measurement.loading import Watch, load_brackets, load_instruments
from bench.measurement.schedule import Trial
from results.instrument.overhead import (
    TIERS,
    ObserverEffect,
    Tier,
    TierBoot,
    boot_of,
    observer_effect,
)
from results.records.scenario import Build, Scenario


@contextmanager
def loaded_tier(
    build: Build, tier: Tier, directory: Path, controls: Controls
) -> Iterator[Instruments]:
    """Load the probes of a tier and nothing else, and unload them again.

    Probes are in the kernel and in the binary that all QEMUs share: only what is not loaded is
    free.
    """
    match tier:
        case "none":
            yield Instruments()
        case "bracket":
            with load_brackets([build]) as instruments:
                yield instruments
        case "default" | "perf":
            watch = Watch(why=tier == "perf", perf=tier == "perf")
            with load_instruments([build], watch, directory, controls, vfio=False) as instruments:
                yield instruments


@dataclass(slots=True)
class OverheadStudy:
    """Boots of a session that was opened without probes, tier by tier."""

    experiment: Experiment
    tiers: Sequence[Tier] = TIERS
    note: Callable[[str], None] = lambda text: None  # called for every round
    boots: list[TierBoot] = field(default_factory=list)
    lost: int = 0
    controls: Controls = field(init=False)  # run once, though probes are loaded for every boot

    def __post_init__(self) -> None:
        self.controls = Controls(self.experiment.progress.doing)

    async def cell(
        self, scenario: Scenario, build: Build, rounds: int, updates: int, seed: int
    ) -> None:
        """`rounds` boots of every tier, in a new order each round."""
        order = random.Random(seed)  # noqa: S311 - a schedule, stored to be repeated
        cell = f"{scenario.id} on {scenario.accel}"
        for number in range(1, rounds + 1):
            self.note(f"{cell}: round {number} of {rounds}")
            for tier in order.sample(self.tiers, len(self.tiers)):
                await self._boot(cell, scenario, build, number, updates, tier)

    async def _boot(
        self, cell: str, scenario: Scenario, build: Build, number: int, updates: int, tier: Tier
    ) -> None:
        # Stored under another name: with other probes it must not be averaged with runs of `run`.
        name = f"{scenario.id}.{scenario.accel}.watched-{tier}"
        trial = Trial(scenario, build, build, number, updates, name)
        self.experiment.progress.doing(f"{cell}, round {number}: {tier}")
        runs = []
        directory = self.experiment.place.directory
        with loaded_tier(build, tier, directory, self.controls) as instruments:
            watched = replace(self.experiment, instruments=instruments)
            async with await watched.boot(trial) as booted:
                for update in range(1, updates + 1):
                    runs.append(await booted.update(name))
                    if not booted.arrived:
                        self.experiment.progress.skipped(updates - update)
                        break
        found = boot_of(cell, tier, number, runs)
        if found is None:
            self.lost += 1
        else:
            self.boots.append(found)

    def judged(self) -> ObserverEffect:
        return observer_effect(self.boots, self.lost)
