"""Real handovers with pauses of known length in them, in turns with handovers that have none."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.measurement.experiment import Booted, Experiment
from bench.measurement.schedule import Trial
from probes.pause_injector import NEW_BOUNDARY, OLD_BOUNDARY, PauseInjector
from results.errors import EventsLost, PausebenchError
from results.instrument.calibration import (
    KINDS,
    Calibration,
    Kind,
    Shot,
    calibrate,
    inside,
    stretch,
)
from results.records.run import Run
from results.records.scenario import Build, Scenario
from results.timeline.phases import Marks
from runners.qemu.process import Qemu
from runners.transfer.delay_proxy import HeldChannel
from runners.transfer.handover import Hooks

LEVELS_NS = (500_000, 1_000_000, 5_000_000, 20_000_000, 100_000_000)
# A guest that was lost is booted anew, but not for ever.
_MOST_LOST_GUESTS = 3


@dataclass(frozen=True, slots=True)
class Pause:
    """What an injector itself says of a pause (host ns); `length_ns` 0 where none was asked."""

    start_ns: int
    end_ns: int

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


class Injectors:
    """All kinds of pauses for the builds of a session; a context manager."""

    def __init__(self, builds: Sequence[Build]) -> None:
        self._signals: dict[Kind, PauseInjector] = {
            "new": PauseInjector(builds, NEW_BOUNDARY),
            "old": PauseInjector(builds, OLD_BOUNDARY),
        }
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            for injector in self._signals.values():
                opening.enter_context(injector)
            self._stack = opening.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    async def shoot(
        self, experiment: Experiment, booted: Booted, kind: Kind, asked_ns: int, known_as: str
    ) -> tuple[Run, Pause | None]:
        """One handover with a pause of `kind`, and the pause as its injector saw it.

        None where the pause did not come about, which spoils the shot.
        """
        pids: dict[str, int] = {}
        held: list[HeldChannel] = []
        with ExitStack() as stack:

            def hold(
                old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
            ) -> None:
                pids.update(old=old.pid, new=new.pid)
                if asked_ns and kind in self._signals:
                    self._signals[kind].arm(pids[kind], asked_ns)

            def main_path(path: Path) -> Path:
                if kind != "main":
                    return path
                channel = HeldChannel(path.with_suffix(".held"), path, asked_ns)
                held.append(stack.enter_context(channel))
                return path.with_suffix(".held")

            experiment.hooks = Hooks(hold=hold, main_path=main_path)
            try:
                run = await booted.update(known_as)
            finally:
                experiment.hooks = Hooks()
            return run, self._pause(kind, asked_ns, pids, held)

    def _pause(
        self, kind: Kind, asked_ns: int, pids: dict[str, int], held: Sequence[HeldChannel]
    ) -> Pause | None:
        try:
            if kind == "main":
                back = held[0].held()
                return Pause(back.start_ns, back.end_ns)
            if not asked_ns:
                return Pause(0, 0)
            stop = self._signals[kind].injected(pids[kind], timeout_s=1.0)
            return Pause(stop.start_ns, stop.end_ns)
        except (PausebenchError, EventsLost, IndexError, KeyError):
            return None


@dataclass(slots=True)
class Calibrator:
    """Shots of a session, cell by cell."""

    experiment: Experiment
    injectors: Injectors
    levels_ns: Sequence[int] = LEVELS_NS
    kinds: Sequence[Kind] = KINDS
    note: Callable[[str], None] = lambda text: None  # told of every guest
    shots: list[Shot] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)

    async def cell(
        self, scenario: Scenario, build: Build, boots: int, rounds: int, seed: int
    ) -> None:
        """`boots` guests of a scenario, each with `rounds` of every kind and level, shuffled."""
        order = random.Random(seed)  # noqa: S311 - a schedule, stored to be repeated
        boot, lost_guests = 0, 0
        left = [rounds] * boots
        while left:
            boot += 1
            trial = Trial(scenario, build, build, boot, rounds, scenario.id)
            plan = self._plan(left.pop(), order)
            self.note(f"{_cell(scenario)}, boot {boot}: {len(plan)} handovers")
            async with await self.experiment.boot(trial) as booted:
                for number, (kind, asked) in enumerate(plan):
                    self.experiment.progress.doing(
                        f"{_cell(scenario)}, boot {boot}: {kind} {asked / 1e6:g} ms"
                    )
                    await self._shot(booted, scenario, kind, asked)
                    if not booted.arrived:
                        lost_guests += 1
                        self.experiment.progress.skipped(len(plan) - number - 1)
                        break
            if lost_guests >= _MOST_LOST_GUESTS:
                break
        self.experiment.store.sync()

    def _plan(self, rounds: int, order: random.Random) -> list[tuple[Kind, int]]:
        plan = []
        for _ in range(rounds):
            shots = [(kind, level) for kind in self.kinds for level in (0, *self.levels_ns)]
            order.shuffle(shots)
            plan += shots
        return plan

    async def _shot(self, booted: Booted, scenario: Scenario, kind: Kind, asked: int) -> None:
        known_as = f"{scenario.id}.{scenario.accel}.{kind}-{asked / 1e6:g}ms"
        run, pause = await self.injectors.shoot(self.experiment, booted, kind, asked, known_as)
        if run.outcome != "completed" or run.blackout_ns is None:
            self.lost[f"run failed: {run.reason}"] += 1
            return
        if pause is None:
            self.lost[f"{kind}: the pause did not come about"] += 1
            return
        if pause.start_ns and not inside(run, pause.start_ns, pause.end_ns):
            self.lost[f"{kind}: the pause did not lie within the blackout"] += 1
            return
        seen = self.experiment.store.recording(run.id)
        marks = Marks(seen.events, seen.old.pid, seen.new.pid)
        found = stretch(run, marks, kind, pause.start_ns or None)
        if found is None:
            self.lost[f"{kind}: the marks around the pause were not seen"] += 1
            return
        self.shots.append(
            Shot(
                run=run.id,
                cell=_cell(scenario),
                kind=kind,
                asked_ns=asked,
                injected_ns=pause.length_ns,
                stretch_ns=found,
                blackout_ns=run.blackout_ns,
                guest_gap_ns=run.guest_gap_ns,
            )
        )

    def judged(self) -> Calibration:
        return calibrate(self.shots, dict(self.lost))


def _cell(scenario: Scenario) -> str:
    return f"{scenario.id} on {scenario.accel}"
