"""The instrument that gathers proof: RAM, descriptors and pins before and after a transfer."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from probes.memory_accounts import read_accounts
from probes.pagemap import PAGE_BYTES, Numbers, choose_pages
from probes.pin_events import PinProbe
from results.errors import PausebenchError
from results.records.evidence import Accounts, Control, Dma, Evidence, PinEvents, Point, SameFile
from results.records.recording import Recording
from results.records.scenario import Build, Scenario
from results.timeline.cpr_channel import carried_descriptors
from runners.pins.holder import DMA_OFFSET, HolderLost, PinHolder
from runners.qemu.guest import Guest, GuestPlace
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_mapping

from .controls import Controls
from .evidence import View, compare_descriptors, compare_views, read_word, unit_bytes, view_of
from .instruments import Instrument, Update


def _not_seen() -> View:
    return View(missing="the transfer did not get that far")


@dataclass(slots=True)
class Prover(Instrument):
    """Gathers the evidence of a proof, for cpr-transfer, the only mode that claims to keep pins."""

    controls: Controls
    pins: PinProbe
    _controls: tuple[Control, ...] = field(default=(), init=False)
    _holder: PinHolder | None = field(default=None, init=False)
    _holder_lost: str = field(default="", init=False)
    _ram_bytes: int = field(default=0, init=False)
    _pids: set[int] = field(default_factory=set, init=False)
    _calls_before: dict[str, int] = field(default_factory=dict, init=False)
    _pin_events: PinEvents | None = field(default=None, init=False)
    _unit: int = field(default=PAGE_BYTES, init=False)
    _units: Numbers = field(default_factory=lambda: np.zeros(0, dtype=np.int64), init=False)
    _touched: int = field(default=0, init=False)
    _accounts: list[Accounts] = field(default_factory=list, init=False)
    _dma: list[Dma] = field(default_factory=list, init=False)
    _files: tuple[SameFile, ...] = field(default=(), init=False)
    _old: View = field(default_factory=_not_seen, init=False)
    _new: View = field(default_factory=_not_seen, init=False)
    _spent_ns: int = field(default=0, init=False)

    def works_for(self, update: Update) -> bool:
        return update.guest is not None and update.scenario.mode == "cpr-transfer"

    async def before_boot(self, scenario: Scenario, build: Build, place: GuestPlace) -> None:
        await self.controls.before_boot(scenario, build, place, self.pins)

    def begin(self) -> None:
        guest = self._guest
        self._controls = self.controls.of(guest.scenario)
        self._ram_bytes = guest.scenario.ram_bytes
        self._holder = self.update.holder
        self._pids = {self._holder.pid} if self._holder is not None else set()
        plan = guest.plan
        self._unit = unit_bytes(guest.scenario)
        seed = zlib.crc32(self.update.run.encode())  # another sample for each run, repeatable
        self._units = choose_pages(plan.first_page, plan.end_page, self._unit, seed)
        self._touched = -(-plan.pages * PAGE_BYTES // self._unit)

    @property
    def _guest(self) -> Guest:
        assert self.update.guest is not None  # `works_for`
        return self.update.guest

    def started(self, old: int, new: int) -> None:
        """Read the accounts of old QEMU and start to watch the pin paths."""
        self._pids |= {old, new}
        for pid in self._pids:
            self.pins.watch(pid)
        self._calls_before = self.pins.totals()
        self._timed(lambda: self._account("before", {"old": old}))

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        def observe() -> None:
            self._old = view_of(old.pid, self._ram_bytes, self._units, self._unit)
            self._write("hold", old.pid)
            self._account("hold", {"old": old.pid, "new": new.pid})

        self._timed(observe)

    def resumed(self, old: Qemu, new: Qemu) -> None:
        """The guest runs in new QEMU and old still exists: the only time to compare descriptors."""
        carried, _ = carried_descriptors(self.update.events, old.pid, new.pid)

        def observe() -> None:
            self._files = compare_descriptors(old.pid, new.pid, carried)
            self._write("resumed", new.pid)
            self._account("resumed", {"old": old.pid, "new": new.pid})

        self._timed(observe)

    def ended(self, new: Qemu) -> None:
        """RAM was read through new QEMU, which populated its page table."""
        self._pin_events = self.pins.since(self._calls_before)

        def observe() -> None:
            self._write("end", new.pid)
            self._account("end", {"new": new.pid})
            self._new = view_of(new.pid, self._ram_bytes, self._units, self._unit)

        self._timed(observe)

    def close(self) -> None:
        """Stop watching the pin paths, whether the transfer completed or failed."""
        for pid in self._pids:
            self.pins.forget(pid)

    def recorded(self, about: Recording) -> Recording:
        if self._holder is not None:
            self._holder_lost = self._holder_lost or self._holder.lost()
        lost = (self._holder_lost,) if self._holder_lost else ()
        return replace(
            about,
            evidence=self._evidence(),
            lost_witnesses=(*about.lost_witnesses, *lost),
        )

    def _evidence(self) -> Evidence:
        return Evidence(
            frames=compare_views(self._units, self._unit, self._touched, self._old, self._new),
            files=self._files,
            accounts=tuple(self._accounts),
            dma=tuple(self._dma),
            pin_events=self._pin_events,
            pinned_bytes=self._holder.bytes if self._holder else 0,
            pins_missing=self.update.pins_missing,
            holder_lost=self._holder_lost,
            controls=self._controls,
            duration_ns=self._spent_ns,
        )

    def _timed(self, work: Callable[[], None]) -> None:
        start = time.monotonic_ns()
        # A process that vanishes meanwhile is a failure of the transfer, reported elsewhere.
        with suppress(ProcessLookupError, FileNotFoundError):
            work()
        self._spent_ns += time.monotonic_ns() - start

    def _account(self, point: Point, pids: dict[str, int]) -> None:
        if self._holder is not None:
            pids = pids | {"holder": self._holder.pid}
        self._accounts.append(read_accounts(point, pids, exact_pins=self._holder is not None))

    def _write(self, point: Point, pid: int) -> None:
        """Write as the stand-in device, and read it back through QEMU's own mapping."""
        if self._holder is None or self._holder_lost:
            return
        value = time.monotonic_ns()
        try:
            self._holder.dma(value)
            seen = read_word(pid, ram_mapping(pid, self._ram_bytes).start + DMA_OFFSET)
        except HolderLost as error:
            self._dma.append(Dma(point, value, None, str(error), answered=False))
            self._holder_lost = self._holder.lost()
            return
        except (PausebenchError, OSError) as error:
            self._dma.append(Dma(point, value, None, str(error)))
            return
        self._dma.append(Dma(point, value, seen))
