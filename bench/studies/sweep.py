"""Updates of guests of growing size, with a precopy at the end of each boot."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bench.measurement.experiment import Experiment
from bench.measurement.schedule import Trial
from results.records.run import Run
from results.records.scenario import GIB, Build, Scenario
from results.stats.slopes import Dimension, Growth, SizedBoot, boot_of, growth

DEFAULTS: dict[Dimension, tuple[str, ...]] = {
    "ram": ("256M", "512M", "1G"),
    "vcpus": ("1", "2", "4"),
    "devices": ("0", "8", "16"),
}


def sized(scenario: Scenario, dimension: Dimension, value: int) -> Scenario:
    """`scenario` at one value (bytes for RAM, all of which the guest then touches)."""
    match dimension:
        case "ram":
            return replace(scenario, ram_bytes=value, touched=1.0)
        case "vcpus":
            return replace(scenario, vcpus=value)
        case "devices":
            return replace(scenario, spare_devices=value)


def in_units(dimension: Dimension, value: int) -> float:
    return value / GIB if dimension == "ram" else float(value)


@dataclass(slots=True)
class Sweeper:
    """Boots of a session, shuffled over values so that a host that drifts causes no slope."""

    experiment: Experiment
    dimension: Dimension
    note: Callable[[str], None] = lambda text: None  # called for every boot
    boots: list[SizedBoot] = field(default_factory=list)
    failed: int = 0

    async def run(
        self,
        scenarios: Sequence[Scenario],
        values: Sequence[int],
        build: Build,
        boots: int,
        updates: int,
        seed: int,
        *,
        precopy: bool,
    ) -> None:
        """`boots` rounds of every scenario at every value."""
        order = random.Random(seed)  # noqa: S311 - a schedule, stored to be repeated
        cells = [(scenario, value) for scenario in scenarios for value in values]
        for number in range(1, boots + 1):
            order.shuffle(cells)
            for scenario, value in cells:
                amount = f"{in_units(self.dimension, value):g}"
                self.note(f"round {number} of {boots}: {scenario.id}, {self.dimension} {amount}")
                size = sized(scenario, self.dimension, value)
                name = f"{scenario.id}.{self.dimension}-{amount}"
                trial = Trial(size, build, build, number, updates, name)
                await self._boot(scenario.id, trial, value, precopy=precopy)
        self.experiment.store.sync()

    async def _boot(self, scenario: str, trial: Trial, value: int, *, precopy: bool) -> None:
        amount = in_units(self.dimension, value)
        runs: list[Run] = []
        last: list[Run] = []
        async with await self.experiment.boot(trial) as booted:
            while booted.arrived and len(runs) < trial.updates:
                runs.append(await booted.update(trial.cell))
            if precopy and booted.arrived:
                last.append(await booted.update(f"{trial.cell}.precopy", mode="precopy"))
        self.failed += sum(run.outcome == "failed" for run in (*runs, *last))
        for found in (
            boot_of(scenario, "cpr-transfer", amount, runs),
            boot_of(scenario, "precopy", amount, last),
        ):
            if found is not None:
                self.boots.append(found)

    def judged(self) -> Growth:
        return growth(self.dimension, self.boots, self.failed)
