"""Every claim put to the test on the builds of one session, step by step, in limited time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.measurement.experiment import Experiment
from bench.measurement.schedule import Trial
from results.claims.catalogue import Finding, Topic, pair_name
from results.claims.ram_scaling import ram_growth
from results.claims.transfer_checks import PINS, decide, timeline_findings
from results.errors import PausebenchError
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
_GRACE_S = 30.0  # for a step that was begun in time
_COPIED_BYTES = 64 * MIB
SIZES = (256 * MIB, 1 * GIB, 2 * GIB)


@dataclass(frozen=True, slots=True)
class Pair:
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
    """Something that is tried on every pair of builds; `upgrades` whether between builds too."""

    about: str
    topic: Topic
    claims: tuple[int, ...]
    try_on: Callable[[Attempt, Pair], Awaitable[list[Finding]]]
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


async def ordinary(attempt: Attempt, pair: Pair) -> list[Finding]:
    """Plain transfers of guests of three sizes: what shows in each of them, and how they grow.

    All of them write to the same amount of RAM: what grows is RAM alone.
    """
    order = random.Random(attempt.seed)  # noqa: S311 - a schedule, stored to be repeated
    updates = pair.updates(attempt.updates)
    runs: dict[int, list[list[Run]]] = {size: [] for size in SIZES}
    for boot in range(1, attempt.boots + 1):
        for size in order.sample(SIZES, len(SIZES)):
            touched = TOUCHED_BYTES / size
            name = f"plain-{size // MIB}m"
            scenario = replace(attempt.scenario, id=name, ram_bytes=size, touched=touched)
            cell = f"{name}+{pair.cell}"
            trial = Trial(scenario, pair.old, pair.new, boot, updates, cell)
            runs[size].append(await attempt.experiment.run([trial]))
    plain = _recordings(attempt, [run for boot in runs[SIZES[0]] for run in boot])
    boots = [
        found
        for size, all_boots in runs.items()
        for boot in all_boots
        if (found := boot_of("anon", "cpr-transfer", size / GIB, boot)) is not None
    ]
    ids = tuple(run.id for all_boots in runs.values() for boot in all_boots for run in boot)
    grown = ram_growth(pair.name, growth("ram", boots), ids, copy_ns_per_gib())
    return [*timeline_findings(pair.name, plain), grown]


async def pinned(attempt: Attempt, pair: Pair) -> list[Finding]:
    """A guest whose RAM a process has pinned, with the whole proof."""
    scenario = replace(attempt.scenario, id="plain-pinned", pinned=True)
    trial = Trial(scenario, pair.old, pair.new, 1, pair.updates(2), f"{scenario.id}+{pair.cell}")
    runs = await attempt.experiment.run([trial])
    return [decide(PINS, pair.name, _recordings(attempt, runs))]


async def refusals(attempt: Attempt, pair: Pair) -> list[Finding]:
    """What is to be refused, each attempt on a real guest."""
    return await try_refusals(attempt.experiment, pair.old, pair.new)


async def hazards(attempt: Attempt, pair: Pair) -> list[Finding]:
    """What is to leave the guest unharmed when new QEMU waits or dies."""
    return await try_hazards(attempt.experiment, pair.old, pair.new)


async def modes(attempt: Attempt, pair: Pair) -> list[Finding]:
    """All modes that both builds know, in turns; and what cpr-exec does to private RAM."""
    live = attempt.experiment
    found = await measure_modes(
        live, pair.old, pair.new, attempt.boots, attempt.updates, attempt.seed, attempt.scenario
    )
    if pair.old == pair.new and not lacks(pair.old, "cpr-exec"):
        found.append(await lose_private_ram(attempt.experiment, pair.old))
    return found


async def plugging(attempt: Attempt, pair: Pair) -> list[Finding]:
    """Devices and memory plugged, unplugged and plugged again before a transfer."""
    return await try_plugging(attempt.experiment, pair.old, pair.new, attempt.scenario)


async def devices(attempt: Attempt, pair: Pair) -> list[Finding]:
    """Guests with ordinary devices, idle and at work."""
    return await try_devices(attempt.experiment, pair.old, pair.new)


def _recordings(attempt: Attempt, runs: Iterable[Run]) -> list[Recording]:
    return [attempt.experiment.store.recording(run.id) for run in runs]


# The longest is the last: where time runs out, one claim on one pair is left, not all on it.
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


@dataclass(slots=True)
class Tried:
    """What was found so far, and a note on each step that was left out."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def try_all(
    attempt: Attempt,
    pairs: Sequence[Pair],
    steps: Sequence[Step],
    deadline: float,
    tried: Tried,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Carry out `steps`, each on every pair, until `deadline` (time.monotonic), into `tried`.

    What goes wrong in a step is said of the claims that it was to decide; the other steps go on.
    One that is at work beyond the deadline is cut off.
    """
    for step in steps:
        for pair in pairs:
            if pair.upgrade and not step.upgrades:
                continue
            began = time.monotonic()
            found = await _within(attempt, pair, step, deadline, tried)
            tried.findings += found
            said = ", ".join(f"{f.found} {f.test}" for f in found if f.found != "shown")
            took = time.monotonic() - began
            note(f"{pair.name}: {step.about}, {took:.0f} s: {said or 'as claimed'}")
            attempt.experiment.store.sync()


async def _within(
    attempt: Attempt, pair: Pair, step: Step, deadline: float, tried: Tried
) -> list[Finding]:
    """The findings of one step, or why there are none."""
    left = deadline - time.monotonic()
    if left < step.expected_s:
        tried.notes.append(f"no time was left for {step.about} on {pair.name} (--limit)")
        return not_tried(step, pair.name, "no time was left, a larger --limit gives more")
    try:
        async with asyncio.timeout(left + _GRACE_S):
            return await step.try_on(attempt, pair)
    except TimeoutError:
        tried.notes.append(f"{step.about} on {pair.name} took too long and was cut off (--limit)")
        return not_tried(step, pair.name, "it took too long and was cut off")
    except (PausebenchError, OSError) as error:  # a QEMU that is gone is met as either
        return not_tried(step, pair.name, f"{step.about} went wrong: {error}")


def not_tried(step: Step, build: str, why: str) -> list[Finding]:
    """The findings of a step that did not come to its end."""
    return [
        Finding(step.topic, claim, build, step.about, "not testable", why)
        for claim in step.claims or (0,)
    ]


def steps_for(claims: Iterable[int]) -> list[Step]:
    """The steps that decide any of these claims."""
    wanted = set(claims)
    return [step for step in STEPS if not wanted or wanted & set(step.claims)]
