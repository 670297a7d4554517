"""The experiment loop: boots guests, updates each several times, judges every run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

from results.errors import HostUnfit, PausebenchError
from results.judgement.guest_clock import Sample, tick_rate
from results.judgement.judge import judge
from results.records.hotplug import Plugging
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, Run
from results.records.scenario import Mode
from results.store.recordings import new_run_id
from results.store.store import Store
from runners.host.load import host_state, load_snapshot
from runners.host.lock import others_measuring
from runners.host.strangers import strangers
from runners.pins.holder import PinHolder
from runners.qemu.command_line import NO_VARIATION, Variation
from runners.qemu.guest import Guest, GuestPlace
from runners.qemu.shortage import Shortage
from runners.system.process_memory import ram_descriptor
from runners.transfer.handover import Transferred, update_guest

from .instruments import Instruments, Update
from .observation import Observation
from .schedule import Trial


class Progress(Protocol):
    """Shows what is being done, of `planned` updates (None: not known in advance)."""

    @property
    def planned(self) -> int | None: ...
    def doing(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, run: Run) -> None: ...
    def skipped(self, updates: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Experiment:
    """A running session: its directory, progress, store and instruments."""

    session: str
    place: GuestPlace
    store: Store
    progress: Progress
    instruments: Instruments

    async def run(self, trials: Sequence[Trial]) -> list[Run]:
        """Carry out the trials in order. A failure ends its boot, not the session."""
        asyncio.get_running_loop().set_exception_handler(_without_lost_monitors)
        runs: list[Run] = []
        for trial in trials:
            runs += await self._trial(trial)
        return runs

    async def _trial(self, trial: Trial) -> list[Run]:
        where = f"{trial.scenario.id} on {trial.new_build.label}, boot {trial.boot}"
        self.progress.doing(f"{where}: starting the guest")
        started = time.time_ns()
        shortage = Shortage(trial.scenario)
        try:
            booted = await self.boot(trial)
        except PausebenchError as error:
            run = self.keep(self._never_started(trial, started, error, shortage))
            self.progress.skipped(trial.updates - 1)
            return [run]
        runs = []
        async with booted:
            for update in range(1, trial.updates + 1):
                self.progress.doing(f"{where}: update {update} of {trial.updates}")
                runs.append(await booted.update())
                if not booted.arrived:
                    self.progress.skipped(trial.updates - update)
                    break
        self.store.sync()
        return runs

    async def boot(self, trial: Trial, variation: Variation = NO_VARIATION) -> Booted:
        """Start the guest of a trial; raises GuestLost if it does not start."""
        await self.instruments.before_boot(trial.scenario, trial.old_build, self.place)
        guest = await Guest.boot(trial.scenario, trial.old_build, self.place, variation)
        try:
            return Booted(self, trial, guest)
        except BaseException:
            guest.close()
            raise

    def _never_started(
        self, trial: Trial, started: int, error: PausebenchError, shortage: Shortage
    ) -> Recording:
        tail = getattr(error, "log_tail", "")
        argv = getattr(error, "argv", ())
        return replace(
            self.blank(trial, 1, started),
            old=Process(0, argv, (), "gone", tail),
            failure=f"the guest did not start: {shortage.explained(str(error))}",
        )

    def blank(self, trial: Trial, update: int, started: int) -> Recording:
        """The recording of one update of a trial before anything is known of it."""
        absent = Process(0, (), ())
        return Recording(
            schema=SCHEMA,
            id=new_run_id(self.session, trial.cell, trial.boot, update),
            session=self.session,
            boot=trial.boot,
            update=update,
            started_unix_ns=started,
            scenario=trial.scenario,
            # After its first update a guest runs in the new build.
            old_build=(trial.old_build if update == 1 else trial.new_build).label,
            new_build=trial.new_build.label,
            old=absent,
            new=absent,
            steps={},
            probed=self.instruments.trace_marks,
        )

    def keep(self, recording: Recording) -> Run:
        """Judge and store one recording."""
        run = judge(recording)
        self.store.add_run(run, recording)
        self.progress.finished(run)
        return run


def _without_lost_monitors(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """A monitor that breaks off ends in an error that is never awaited: expected."""
    if not isinstance(context.get("exception"), EOFError | ConnectionError | ValueError):
        loop.default_exception_handler(context)


class Booted:
    """The guest of a trial, for any number of updates; an async context manager that ends it."""

    def __init__(self, experiment: Experiment, trial: Trial, guest: Guest) -> None:
        self._experiment = experiment
        self._trial = trial
        self.guest = guest
        self._clock = GuestClock(guest)
        self._strangers = _strangers(trial)
        self._updates = 0
        self._holder: PinHolder | None = None
        self._pins_missing = ""
        if trial.scenario.pinned:
            try:
                self._holder = _pin(guest)
            except HostUnfit as error:  # this evidence is missing; all else is measured
                self._pins_missing = str(error)
        self.arrived = True  # False once a transfer has failed: the guest cannot be updated again

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.end()

    async def end(self) -> None:
        """End the guest and release its pins."""
        last, tids = self.guest.qemu.pid, self.guest.vcpu_tids
        try:
            await self.guest.end()
        finally:
            self._experiment.instruments.forget(last, tids)
            if self._holder is not None:
                self._holder.close()

    async def update(
        self,
        known_as: str = "",
        *,
        mode: Mode | None = None,
        variation: Variation | None = None,
        plugged: Callable[[str], Awaitable[Plugging]] | None = None,
        instruments: Instruments | None = None,
    ) -> Run:
        """Update the guest once; the run is judged and stored, whether it completes or fails.

        `known_as` is the name to store it under if it is not an ordinary run of its scenario,
        `mode` overrides the scenario's, `variation` is how new QEMU's command line departs from
        the scenario (None: as old's does). `plugged` examines hot-plugged devices after the
        transfer, given why it failed. `instruments` replace those of the experiment.
        """
        self._updates += 1
        watched = instruments if instruments is not None else self._experiment.instruments
        recording = await self._record(self._updates, known_as, mode, variation, watched)
        if plugged is not None:
            recording = replace(recording, plugging=await plugged(recording.failure))
        self.arrived = not recording.failure and _unharmed(recording)
        return self._experiment.keep(recording)

    async def _record(
        self,
        update: int,
        known_as: str,
        mode: Mode | None,
        variation: Variation | None,
        instruments: Instruments,
    ) -> Recording:
        trial = self._trial
        scenario = replace(
            trial.scenario, id=known_as or trial.scenario.id, mode=mode or trial.scenario.mode
        )
        trial = replace(trial, scenario=scenario, cell=known_as or trial.cell)
        about = self._experiment.blank(trial, update, time.time_ns())
        watched = Update(about.id, scenario, self.guest, self._holder, self._pins_missing)
        observation = Observation(instruments.at(watched))
        others = others_measuring()
        before, shortage = load_snapshot((self.guest.qemu.pid,)), Shortage(scenario)
        with observation:
            seen = await update_guest(
                self.guest,
                trial.new_build,
                observation.hooks(),
                mode=scenario.mode,
                variation=variation,
            )
        if seen.failure:
            seen.failure = shortage.explained(seen.failure)
        return replace(
            observation.recorded(about, seen),
            beats=seen.beats,
            tick_ns=self._clock.follow(seen),
            ram=seen.ram,
            host=replace(
                host_state(before, load_snapshot((seen.new.pid,))),
                others=tuple(map(str, dict.fromkeys((*others, *others_measuring())))),
                strangers=self._strangers,
            ),
            device=seen.device,
        )


def _strangers(trial: Trial) -> tuple[int, ...]:
    found = strangers((trial.old_build, trial.new_build))
    return tuple(dict.fromkeys(pid for pids in found.values() for pid in pids))


def _pin(guest: Guest) -> PinHolder:
    """Pin all of guest RAM, through its own descriptor, as a DMA device would."""
    size = guest.scenario.ram_bytes
    return PinHolder(ram_descriptor(guest.qemu.pid, size), size)


def _unharmed(recording: Recording) -> bool:
    """Whether the guest is intact; a damaged one would fail every later run too."""
    return (
        recording.ram is not None
        and not recording.ram.bad_pages
        and not any(beats.pattern_errors for beats in recording.beats)
    )


class GuestClock:
    """Calibrates the payload's tick over all periods of a boot in which the guest ran freely."""

    def __init__(self, guest: Guest) -> None:
        self._since = _pooled(guest.memory.sample_ticks())
        self._segments: list[tuple[list[Sample], list[Sample]]] = []

    def follow(self, seen: Transferred) -> float:
        """Duration of a tick in ns after one more transfer; 0.0 while it is not known."""
        before = [sample for beats in seen.beats for sample in beats.before]
        after = [sample for beats in seen.beats for sample in beats.after]
        if before and self._since:
            self._segments.append((self._since, before))
        if after:
            self._since = after
        return tick_rate(self._segments)


def _pooled(samples: list[list[Sample]]) -> list[Sample]:
    return [sample for vcpu in samples for sample in vcpu]
