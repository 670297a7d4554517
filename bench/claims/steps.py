"""The steps that decide the claims, each on real guests, for one pair of builds."""

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
from results.claims.transfer_checks import PINS, timeline_findings
from results.claims.transfer_verdict import decide
from results.qemu.modes import lacks
from results.records.recording import Recording
from results.records.run import Run
from results.records.scenario import GIB, MIB, Build, Scenario
from results.stats.slopes import boot_of, growth

from .devices import try_devices
from .hazards import try_hazards
from .hotplug import try_hotplug
from .modes import measure_modes
from .private_ram import lose_private_ram
from .refusals import try_refusals

TOUCHED_BYTES = 64 * MIB
_COPIED_BYTES = 64 * MIB
SIZES = (256 * MIB, 1 * GIB, 2 * GIB)


@dataclass(frozen=True, slots=True)
class Route:
    """The build that a guest starts on, and the build that it is updated to."""

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

    def updates(self, wanted: int) -> int:
        """Updates per guest: only the first one leaves the old build."""
        return 1 if self.upgrade else wanted


@dataclass(frozen=True, slots=True)
class Step:
    """One step, run on every route; with `upgrades` also between different builds."""

    title: str
    topic: Topic
    claims: tuple[int, ...]
    run: Callable[[StepContext, Route], Awaitable[list[Finding]]]
    upgrades: bool = True
    expected_s: float = 10.0  # not started with less time left


@dataclass(slots=True)
class StepContext:
    """What all steps share."""

    experiment: Experiment
    scenario: Scenario  # the guest of most steps, on a machine type that all builds have
    boots: int
    updates: int
    seed: int


def copy_ns_per_gib() -> float:
    """How long one CPU of this host takes to copy a GiB of mapped RAM, ns."""
    source = np.ones(_COPIED_BYTES, dtype=np.uint8)
    target = np.zeros_like(source)
    best = float("inf")
    for _ in range(3):
        start = time.monotonic_ns()
        np.copyto(target, source)
        best = min(best, time.monotonic_ns() - start)
    return best * GIB / _COPIED_BYTES


async def plain_transfers(context: StepContext, route: Route) -> list[Finding]:
    """Transfers of guests of three sizes: the claims that show in each, and growth with RAM.

    All guests write to the same amount of RAM, so that only its size differs.
    """
    order = random.Random(context.seed)  # noqa: S311 - a schedule, stored to be repeated
    updates = route.updates(context.updates)
    runs: dict[int, list[list[Run]]] = {size: [] for size in SIZES}
    for boot in range(1, context.boots + 1):
        for size in order.sample(SIZES, len(SIZES)):
            touched = TOUCHED_BYTES / size
            name = f"plain-{size // MIB}m"
            scenario = replace(context.scenario, id=name, ram_bytes=size, touched=touched)
            cell = f"{name}+{route.cell}"
            trial = Trial(scenario, route.old, route.new, boot, updates, cell)
            runs[size].append(await context.experiment.run([trial]))
    by_size = [run for all_boots in runs.values() for boot in all_boots for run in boot]
    boots = [
        found
        for size, all_boots in runs.items()
        for boot in all_boots
        if (found := boot_of("anon", "cpr-transfer", size / GIB, boot)) is not None
    ]
    ids = tuple(run.id for run in by_size)
    grown = ram_growth(route.name, growth("ram", boots), ids, copy_ns_per_gib())
    return [*timeline_findings(route.name, _recordings(context, by_size)), grown]


async def pinned_transfers(context: StepContext, route: Route) -> list[Finding]:
    """A guest whose RAM a process has pinned, with the complete proof."""
    scenario = replace(context.scenario, id="plain-pinned", pinned=True)
    trial = Trial(
        scenario, route.old, route.new, 1, route.updates(2), f"{scenario.id}+{route.cell}"
    )
    runs = await context.experiment.run([trial])
    return [decide(PINS, route.name, _recordings(context, runs))]


async def refusals(context: StepContext, route: Route) -> list[Finding]:
    """What QEMU must refuse, each attempt on a real guest."""
    return await try_refusals(context.experiment, route.old, route.new)


async def hazards(context: StepContext, route: Route) -> list[Finding]:
    """What must leave the guest unharmed when new QEMU hangs or dies."""
    return await try_hazards(context.experiment, route.old, route.new)


async def modes(context: StepContext, route: Route) -> list[Finding]:
    """All modes that both builds have, interleaved; and what cpr-exec does to private RAM."""
    live = context.experiment
    found = await measure_modes(
        live, route.old, route.new, context.boots, context.updates, context.seed, context.scenario
    )
    if route.old == route.new and not lacks(route.old, "cpr-exec"):
        found.append(await lose_private_ram(context.experiment, route.old))
    return found


async def hotplug(context: StepContext, route: Route) -> list[Finding]:
    """Devices and memory plugged, unplugged and plugged again before a transfer."""
    return await try_hotplug(context.experiment, route.old, route.new, context.scenario)


async def devices(context: StepContext, route: Route) -> list[Finding]:
    """Guests with ordinary devices, idle and under load."""
    return await try_devices(context.experiment, route.old, route.new)


def _recordings(context: StepContext, runs: Iterable[Run]) -> list[Recording]:
    return [context.experiment.store.recording(run.id) for run in runs]


# The longest is last: where time runs out, one claim on one route is missing, not all on it.
STEPS: tuple[Step, ...] = (
    Step(
        "plain transfers of guests of three sizes",
        "claim",
        (2, 4, 5, 9, 10, 11),
        plain_transfers,
        expected_s=20.0,
    ),
    Step("transfers of a guest with pinned RAM", "claim", (3,), pinned_transfers),
    Step("transfers that QEMU must refuse", "refusal", (4, 6, 7, 8), refusals),
    Step("hazards", "hazard", (), hazards, upgrades=False),
    Step("hot-plug and unplug", "ids", (12,), hotplug, expected_s=15.0),
    Step("guests with ordinary devices", "device", (), devices, expected_s=15.0),
    Step("all modes of update", "claim", (1,), modes, expected_s=70.0),
)


def steps_for(claims: Iterable[int]) -> list[Step]:
    """The steps that decide any of these claims."""
    wanted = set(claims)
    return [step for step in STEPS if not wanted or wanted & set(step.claims)]
