"""Instruments that watch an update: their steps, and those that a session has loaded.

To add one, write a class (as in bench/measurement/probing.py) and a line in loading.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from results.qemu.modes import promise
from results.records.modes import Promise
from results.records.recording import Event, Recording
from results.records.scenario import Build, Scenario
from runners.pins.holder import PinHolder
from runners.qemu.guest import Guest, GuestPlace
from runners.qemu.process import Qemu


@dataclass(slots=True)
class Update:
    """One update of a guest, as its instruments know it before it begins."""

    run: str  # id
    scenario: Scenario  # in the mode of this update
    guest: Guest | None = None  # None: not the payload, so its RAM proves nothing
    holder: PinHolder | None = None  # of the guest's pinned RAM
    pins_missing: str = ""  # why there are no pins although the scenario asks for them
    # What QEMU did until the guest resumed, for instruments that collect after the marks.
    events: tuple[Event, ...] = ()

    @property
    def promise(self) -> Promise:
        return promise(self.scenario)


@dataclass(slots=True)
class Instrument:
    """Watches updates by what it does at their steps; it ignores the steps it does not override.

    A loaded one is a template: each update is watched by a fresh copy (`Instruments.at`).
    The steps are those of `runners.transfer.base.Hooks`. Nothing runs between `hold`, or `spawned`
    in modes without a hold, and the moment when the guest runs again.
    """

    late: ClassVar[bool] = False  # begins after all others, those of the caller too
    update: Update = field(init=False, repr=False)

    # -- of a session ---------------------------------------------------------------------

    @property
    def traces_marks(self) -> bool:
        """Whether it traces QEMU's own functions, without which no phase is known."""
        return False

    def works_for(self, update: Update) -> bool:
        """Whether it can watch an update of this mode and scenario."""
        return True

    async def before_boot(self, scenario: Scenario, build: Build, place: GuestPlace) -> None:
        """A guest is about to start."""

    def forget(self, pid: int, tids: Iterable[int]) -> None:
        """The last QEMU of a guest, `pid`, has ended, with its vCPU threads."""

    # -- of an update, before the guest stops -------------------------------------------------

    def begin(self) -> None:
        """Before anything is started; `update` is set."""

    def started(self, old: int, new: int) -> None:
        """Both QEMUs run, and `migrate` is next."""

    def main_path(self, path: Path) -> Path:
        """What old QEMU connects to, given the socket that new QEMU listens on."""
        return path

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        """Arm: the vCPU threads of both are known, and old QEMU still runs the guest."""

    def leaving(self, old: Qemu, old_tids: tuple[int, ...]) -> None:
        """Arm, in modes without a hold."""

    def spawned(self, pid: int) -> None:
        """New QEMU was started, in modes without a hold."""

    # -- and after it -------------------------------------------------------------------------

    def arrived(self, new: Qemu, new_tids: tuple[int, ...]) -> None:
        """New QEMU's threads are known, in modes without a hold."""

    def disarm(self, new: Qemu) -> None:
        """The guest runs again: stop whatever counts."""

    def resumed(self, old: Qemu, new: Qemu) -> None:
        """Collect, while old QEMU still lives."""

    def ended(self, new: Qemu) -> None:
        """Old QEMU is gone, and guest RAM was read through new."""

    def close(self) -> None:
        """Detach, whether the update completed or failed."""

    def recorded(self, about: Recording) -> Recording:
        """`about` with what this instrument saw; QEMUs and failure are already filled in."""
        return about


@dataclass(frozen=True, slots=True)
class Instruments:
    """The instruments of a session; none by default.

    They are called in the order of `loaded` (which bench.measurement.loading gives and explains),
    then `further`, then those that are `late`; `disarm`, `close` and `recorded` in the reverse.
    """

    loaded: tuple[Instrument, ...] = ()
    further: tuple[Instrument, ...] = ()  # of the caller: used as they are, not copied

    def plus(self, *further: Instrument) -> Instruments:
        return replace(self, further=(*self.further, *further))

    def without(self, *kinds: type[Instrument]) -> Instruments:
        return replace(self, loaded=tuple(i for i in self.loaded if not isinstance(i, kinds)))

    @property
    def trace_marks(self) -> bool:
        return any(instrument.traces_marks for instrument in self.loaded)

    def at(self, update: Update) -> tuple[Instrument, ...]:
        """Those that work for `update`, prepared for it, in their order."""
        found = [
            *(replace(template) for template in self.loaded if template.works_for(update)),
            *(instrument for instrument in self.further if instrument.works_for(update)),
        ]
        for instrument in found:
            instrument.update = update
            instrument.begin()
        return tuple(sorted(found, key=lambda instrument: instrument.late))

    async def before_boot(self, scenario: Scenario, build: Build, place: GuestPlace) -> None:
        for instrument in self.loaded:
            await instrument.before_boot(scenario, build, place)

    def forget(self, pid: int, tids: Iterable[int]) -> None:
        for instrument in self.loaded:
            instrument.forget(pid, tids)
