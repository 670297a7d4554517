"""What is tried to decide the claims: each step on real guests, on one route of builds."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from bench.measurement.experiment import Experiment
from bench.measurement.schedule import Trial
from results.claims.catalogue import Finding, Topic, pair_name
from results.claims.ram_scaling import ram_growth
from results.claims.transfer_checks import PINS, decide, timeline_findings
from results.qemu.modes import lacks
from results.records.recording import Recording
from results.records.run import Run
from results.records.scenario import GIB, MIB, Build, Scenario
from results.stats.slopes import boot_of, growth

from .devices import try_devices
from .hazards import try_hazards
from .hotplug import try_plugging
from .modes import measure_modes
from .private_ram import lose_private_ram
from .refusals import try_refusals

TOUCHED_BYTES = 64 * MIB
_COPIED_BYTES = 64 * MIB
SIZES = (256 * MIB, 1 * GIB, 2 * GIB)


@dataclass(frozen=True, slots=True)
class Route:
    """The build that a guest is started with, and the one that it is handed to."""

    old: Build
    new: Build

    @property
    def name(self) -> str:
        return pair_name(self.old.label, self.new.label)

    @property
    def upgrade(self) -> bool:
        return self.old.label != self.new.label

    @property
    def cell(self) -> str:
        """Part of a run's id."""
        return f"{self.old.label}-to-{self.new.label}" if self.upgrade else self.old.label

    def updates(self, wished: int) -> int:
        """Updates of one guest: after its first one it is within the new build."""
        return 1 if self.upgrade else wished


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is tried on every route of builds; `upgrades` whether between builds too."""

    about: str
    topic: Topic
    claims: tuple[int, ...]
    try_on: Callable[[Attempt, Route], Awaitable[list[Finding]]]
    upgrades: bool = True
    expected_s: float = 10.0  # is not begun with less time left


@dataclass(slots=True)
class Attempt:
    """What the steps share."""

    experiment: Experiment
    scenario: Scenario  # the guest of most steps, on a machine that all builds know
    boots: int
    updates: int
    seed: int


def copy_ns_per_gib() -> float:
    """How long one CPU of this host takes to copy a GiB of RAM that is mapped already, ns."""
    source = np.ones(_COPIED_BYTES, dtype=np.uint8)
    target = np.zeros_like(source)
    best = float("inf")
    for _ in range(3):
        start = time.monotonic_ns()
        np.copyto(target, source)
        best = min(best, time.monotonic_ns() - start)
    return best * GIB / _COPIED_BYTES


async def ordinary(attempt: Attempt, route: Route) -> list[Finding]:
    """Plain transfers of guests of three sizes: what shows in each of them, and how they grow.

    All of them write to the same amount of RAM: what grows is RAM alone.
    """
    order = random.Random(attempt.seed)  # noqa: S311 - a schedule, stored to be repeated
    updates = route.updates(attempt.updates)
    runs: dict[int, list[list[Run]]] = {size: [] for size in SIZES}
    for boot in range(1, attempt.boots + 1):
        for size in order.sample(SIZES, len(SIZES)):
            touched = TOUCHED_BYTES / size
            name = f"plain-{size // MIB}m"
            scenario = replace(attempt.scenario, id=name, ram_bytes=size, touched=touched)
            cell = f"{name}+{route.cell}"
            trial = Trial(scenario, route.old, route.new, boot, updates, cell)
            runs[size].append(await attempt.experiment.run([trial]))
    plain = _recordings(attempt, [run for boot in runs[SIZES[0]] for run in boot])
    boots = [
        found
        for size, all_boots in runs.items()
        for boot in all_boots
        if (found := boot_of("anon", "cpr-transfer", size / GIB, boot)) is not None
    ]
    ids = tuple(run.id for all_boots in runs.values() for boot in all_boots for run in boot)
    grown = ram_growth(route.name, growth("ram", boots), ids, copy_ns_per_gib())
    return [*timeline_findings(route.name, plain), grown]


async def pinned(attempt: Attempt, route: Route) -> list[Finding]:
    """A guest whose RAM a process has pinned, with the whole proof."""
    scenario = replace(attempt.scenario, id="plain-pinned", pinned=True)
    trial = Trial(
        scenario, route.old, route.new, 1, route.updates(2), f"{scenario.id}+{route.cell}"
    )
    runs = await attempt.experiment.run([trial])
    return [decide(PINS, route.name, _recordings(attempt, runs))]


async def refusals(attempt: Attempt, route: Route) -> list[Finding]:
    """What is to be refused, each attempt on a real guest."""
    return await try_refusals(attempt.experiment, route.old, route.new)


async def hazards(attempt: Attempt, route: Route) -> list[Finding]:
    """What is to leave the guest unharmed when new QEMU waits or dies."""
    return await try_hazards(attempt.experiment, route.old, route.new)


async def modes(attempt: Attempt, route: Route) -> list[Finding]:
    """All modes that both builds know, in turns; and what cpr-exec does to private RAM."""
    live = attempt.experiment
    found = await measure_modes(
        live, route.old, route.new, attempt.boots, attempt.updates, attempt.seed, attempt.scenario
    )
    if route.old == route.new and not lacks(route.old, "cpr-exec"):
        found.append(await lose_private_ram(attempt.experiment, route.old))
    return found


async def plugging(attempt: Attempt, route: Route) -> list[Finding]:
    """Devices and memory plugged, unplugged and plugged again before a transfer."""
    return await try_plugging(attempt.experiment, route.old, route.new, attempt.scenario)


async def devices(attempt: Attempt, route: Route) -> list[Finding]:
    """Guests with ordinary devices, idle and at work."""
    return await try_devices(attempt.experiment, route.old, route.new)


def _recordings(attempt: Attempt, runs: Iterable[Run]) -> list[Recording]:
    return [attempt.experiment.store.recording(run.id) for run in runs]


# The longest is the last: where time runs out, one claim on one route is left, not all on it.
STEPS: tuple[Step, ...] = (
    Step(
        "plain transfers of guests of three sizes",
        "claim",
        (2, 4, 5, 9, 10, 11),
        ordinary,
        expected_s=20.0,
    ),
    Step("transfers of a guest with pinned RAM", "claim", (3,), pinned),
    Step("attempts that are to be refused", "refusal", (4, 6, 7, 8), refusals),
    Step("hazards", "hazard", (), hazards, upgrades=False),
    Step("hot-plug and unplug", "ids", (12,), plugging, expected_s=15.0),
    Step("guests with ordinary devices", "device", (), devices, expected_s=15.0),
    Step("every mode of update", "claim", (1,), modes, expected_s=70.0),
)


def steps_for(claims: Iterable[int]) -> list[Step]:
    """The steps that decide any of these claims."""
    wanted = set(claims)
    return [step for step in STEPS if not wanted or wanted & set(step.claims)]
