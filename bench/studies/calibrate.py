"""Real updates with injected pauses of known length, in turns with updates that have none."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.measurement.experiment import Booted, Experiment
from bench.measurement.instruments import Instrument
from bench.measurement.schedule import Trial
from probes.pause_injector import NEW_BOUNDARY, OLD_BOUNDARY, PauseInjector
from results.errors import PausebenchError
from results.instrument.calibration import Calibration, calibrate
from results.instrument.shots import KINDS, Kind, LostShot, Shot, inside, section_length
from results.records.run import Run
from results.records.scenario import Build, Scenario
from results.timeline.moments import Marks
from runners.qemu.process import Qemu
from runners.transfer.delay_proxy import DelayProxy

LEVELS_NS = (500_000, 1_000_000, 5_000_000, 20_000_000, 100_000_000)
_MOST_LOST_GUESTS = 3


@dataclass(frozen=True, slots=True)
class InjectedPause:
    """A pause by the injector's own clock (host ns); `length_ns` is 0 if none was injected."""

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

    async def update(
        self, experiment: Experiment, booted: Booted, kind: Kind, asked_ns: int, known_as: str
    ) -> tuple[Run, InjectedPause | None]:
        """One update with a pause of `kind`, and the pause as its injector saw it.

        None if the pause did not happen, which makes the shot useless.
        """
        injection = _Injection(kind, asked_ns, self._signals.get(kind))
        with injection.channel:
            instruments = experiment.instruments.plus(injection)
            run = await booted.update(known_as, instruments=instruments)
            return run, injection.pause()


@dataclass(slots=True)
class _Injection(Instrument):
    """One pause in one update: by a signal, or (`injector` None) on the main channel."""

    kind: Kind
    asked_ns: int
    injector: PauseInjector | None
    channel: ExitStack = field(default_factory=ExitStack)  # the caller's to close
    _held: DelayProxy | None = None
    _pid: int = 0

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        self._pid = (new if self.kind == "new" else old).pid
        if self.asked_ns and self.injector is not None:
            self.injector.arm(self._pid, self.asked_ns)

    def main_path(self, path: Path) -> Path:
        if self.injector is not None:
            return path
        held = path.with_suffix(".held")
        self._held = self.channel.enter_context(DelayProxy(held, path, self.asked_ns))
        return held

    def pause(self) -> InjectedPause | None:
        """The pause as it happened, once the guest has arrived; None if it did not happen."""
        try:
            if self._held is not None:
                back = self._held.delay()
                return InjectedPause(back.start_ns, back.end_ns)
            if self.injector is None or not self._pid:
                return None
            if not self.asked_ns:
                return InjectedPause(0, 0)
            stop = self.injector.injected(self._pid, timeout_s=1.0)
            return InjectedPause(stop.start_ns, stop.end_ns)
        except PausebenchError:
            return None


@dataclass(slots=True)
class Calibrator:
    """Shots of a session, cell by cell."""

    experiment: Experiment
    injectors: Injectors
    levels_ns: Sequence[int] = LEVELS_NS
    kinds: Sequence[Kind] = KINDS
    note: Callable[[str], None] = lambda text: None  # called for every guest
    shots: list[Shot] = field(default_factory=list)
    lost: list[LostShot] = field(default_factory=list)

    async def cell(
        self, scenario: Scenario, build: Build, boots: int, rounds: int, seed: int
    ) -> None:
        """`boots` guests of a scenario, each with `rounds` of every kind and level, shuffled.

        A lost guest is replaced by a new one, up to three times; what is left then counts as lost.
        """
        order = random.Random(seed)  # noqa: S311 - a schedule, stored to be repeated
        plans = [self._plan(rounds, order) for _ in range(boots)]
        boot = lost_guests = 0
        while plans and lost_guests < _MOST_LOST_GUESTS:
            boot += 1
            plan = plans.pop(0)
            trial = Trial(scenario, build, build, boot, rounds, scenario.id)
            self.note(f"{_cell(scenario)}, boot {boot}: {len(plan)} transfers")
            async with await self.experiment.boot(trial) as booted:
                while plan and booted.arrived:
                    await self._shot(booted, scenario, *plan.pop(0))
            lost_guests += not booted.arrived
            plans = [plan, *plans] if plan else plans
        self._give_up(scenario, [shot for plan in plans for shot in plan])
        self.experiment.store.sync()

    def _give_up(self, scenario: Scenario, left: Sequence[tuple[Kind, int]]) -> None:
        self.experiment.progress.skipped(len(left))
        reason = f"not tried, after {_MOST_LOST_GUESTS} lost guests"
        self.lost += [LostShot(_cell(scenario), kind, asked, reason) for kind, asked in left]

    def _plan(self, rounds: int, order: random.Random) -> list[tuple[Kind, int]]:
        plan = []
        for _ in range(rounds):
            shots = [(kind, level) for kind in self.kinds for level in (0, *self.levels_ns)]
            order.shuffle(shots)
            plan += shots
        return plan

    async def _shot(self, booted: Booted, scenario: Scenario, kind: Kind, asked: int) -> None:
        what = f"{asked / 1e6:g} ms"
        self.experiment.progress.doing(f"{_cell(scenario)}: {kind} {what}")
        known_as = f"{scenario.id}.{scenario.accel}.{kind}-{asked / 1e6:g}ms"
        run, pause = await self.injectors.update(self.experiment, booted, kind, asked, known_as)
        found = self._measured(run, pause, kind, asked, _cell(scenario))
        if isinstance(found, Shot):
            self.shots.append(found)
        else:
            self.lost.append(LostShot(_cell(scenario), kind, asked, found))

    def _measured(
        self, run: Run, pause: InjectedPause | None, kind: Kind, asked: int, cell: str
    ) -> Shot | str:
        """The shot, or why there is none."""
        if run.outcome != "completed" or run.blackout_ns is None:
            return f"run failed: {run.reason}"
        if pause is None:
            return f"{kind}: the pause did not happen"
        if pause.start_ns and not inside(run, pause.start_ns, pause.end_ns):
            return f"{kind}: the pause did not lie within the blackout"
        seen = self.experiment.store.recording(run.id)
        marks = Marks(seen.events, seen.old.pid, seen.new.pid)
        section = section_length(run, marks, kind, pause.start_ns or None)
        if section is None:
            return f"{kind}: the marks around the pause were not seen"
        return Shot(
            run=run.id,
            cell=cell,
            kind=kind,
            asked_ns=asked,
            injected_ns=pause.length_ns,
            section_ns=section,
            blackout_ns=run.blackout_ns,
            guest_gap_ns=run.guest_gap_ns,
            uprobe_ns=run.witnesses.uprobe,
        )

    def judged(self) -> Calibration:
        return calibrate(self.shots, self.lost)


def _cell(scenario: Scenario) -> str:
    return f"{scenario.id} on {scenario.accel}"
