"""Names and ids after hot-plug and unplug: a guest is plugged, unplugged and transferred."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.measurement.experiment import Booted, Experiment
from bench.measurement.instruments import Instrument
from bench.measurement.scenarios import BUILTIN, find_scenario, on_common_machine, resolve
from bench.measurement.schedule import Trial
from probes.pagemap import PAGE_BYTES, read_frames
from results.claims.catalogue import Finding, pair_name
from results.claims.hotplug import answer, finding_of, lookups
from results.errors import PausebenchError
from results.records.hotplug import PluggedMemory, Plugging
from results.records.run import Run
from results.records.scenario import MIB, Build, Scenario
from runners.devices.hotplug import (
    HOTPLUG_ARGUMENTS,
    HotplugUnit,
    Part,
    dimm_placement,
    host_address,
    looked_up_names,
    plug,
    saved_names,
    unplug,
)
from runners.qemu.command_line import Variation
from runners.qemu.process import Qemu
from runners.system.process_memory import read_memory, shared_mappings, write_memory
from runners.system.timeouts import scaled_timeout

from .hotplug_cases import KINDS, MEMORY_BYTES, Case, PluggedKind, cases

RAM_BYTES = 64 * MIB
_BEAT_S = 0.5
_FREE_S = scaled_timeout(1.0)
_PAGES = MEMORY_BYTES // PAGE_BYTES
_WORDS = PAGE_BYTES // 8


class Peer:
    """A listener for the chardevs of both QEMUs that counts connections."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self.count = 0

    async def __aenter__(self) -> Peer:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.count += 1

        self._server = await asyncio.start_unix_server(connected, self._path)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self._path.unlink(missing_ok=True)


@dataclass(slots=True)
class _Filled:
    """Memory that was filled in old QEMU, with its page frames there."""

    name: str
    number: int
    address: int | None
    frames: np.ndarray[tuple[int], np.dtype[np.int64]]


def pattern(number: int) -> bytes:
    """The bytes of backend `number`: each word holds the backend and the word's own index."""
    words = np.arange(_PAGES * _WORDS, dtype="<u8") | np.uint64((number + 1) << 48)
    return words.tobytes()


def matching_pages(content: bytes, expected: bytes) -> int:
    """The number of pages of 4 KiB that have the expected bytes."""
    if len(content) != len(expected):
        return 0
    both = [np.frombuffer(data, dtype="<u8").reshape(-1, _WORDS) for data in (content, expected)]
    return int((both[0] == both[1]).all(axis=1).sum())


@dataclass(slots=True)
class _NewLog(Instrument):
    """The log file of an update's new QEMU."""

    path: Path | None = None

    def started(self, old: int, new: int) -> None:
        self.path = Path(f"/proc/{new}/fd/2").readlink()


@dataclass(slots=True)
class _Attempt:
    """What one attempt sees of both QEMUs, to become a record."""

    booted: Booted
    case: Case
    directory: Path
    old: Qemu
    filled: list[_Filled] = field(default_factory=list)
    kept_before: tuple[str, ...] = ()
    files: dict[str, int] = field(default_factory=dict)  # with everything plugged
    kept: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    new_log: _NewLog = field(default_factory=_NewLog)
    peer: Peer | None = None

    def unit(self, which: tuple[int, str]) -> HotplugUnit:
        return self.case.kind.make(*which, self.directory)

    async def plug_and_unplug(self) -> None:
        """Plug, fill, unplug and plug again, as the case demands."""
        names = [*self.case.plug, *([self.case.replug] if self.case.replug else [])]
        for which in self.case.plug:
            await self._plug(which, names.index(which))
        log = self.old.log.read_text()
        self.kept_before = saved_names(log)
        self.files = _files(self.old.pid, log)
        for which in self.case.unplug:
            closing = self._owned(which)
            await unplug(self.old, self.unit(which))
            await self._freed(closing)
            self.filled = [f for f in self.filled if f.name != which[1]]
        if self.case.replug is not None:
            await self._plug(self.case.replug, len(names) - 1)
        log = self.old.log.read_text()
        self.kept = saved_names(log)
        now = _files(self.old.pid, log)
        self.stale = tuple(
            pair for pair in self.kept if pair in self.files and self.files[pair] != now.get(pair)
        )

    async def _freed(self, closing: Mapping[str, int]) -> None:
        """Wait until old QEMU has closed the files of unplugged memory.

        It frees them some time after the device (RCU).
        """
        end = time.monotonic() + _FREE_S
        while set(closing.values()) & set(_open_files(self.old.pid)) and time.monotonic() < end:
            await asyncio.sleep(0.005)

    def _owned(self, which: tuple[int, str]) -> dict[str, int]:
        """`NAME ID` → file of the memory that belongs to a unit."""
        unit = self.unit(which)
        mine = (f"{unit.memory} ", f"0000:00:0{which[0]}.0:00.0/")
        return {pair: file for pair, file in self.files.items() if pair.startswith(mine)}

    async def _plug(self, which: tuple[int, str], number: int) -> None:
        unit = self.unit(which)
        before = {m.start for m in shared_mappings(self.old.pid)}
        await plug(self.old, unit)
        if not unit.memory:
            return
        fresh = [
            m
            for m in shared_mappings(self.old.pid)
            if m.start not in before and m.length == MEMORY_BYTES
        ]
        write_memory(self.old.pid, fresh[0].start, pattern(number))
        at = (await dimm_placement(self.old)).get(unit.memory)
        frames = read_frames(self.old.pid, fresh[0].start, np.arange(_PAGES), PAGE_BYTES)
        self.filled.append(_Filled(unit.memory, number, at["addr"] if at else None, frames))

    async def options(self) -> tuple[str, ...]:
        """Additional options of new QEMU."""
        found: list[str] = []
        where = await dimm_placement(self.old)
        for position, name in self.case.start:
            unit = self.unit((position, name))
            there = where.get(self.case.plug[position - 1][1])
            asked = there if self.case.swapped else where.get(unit.memory) or there
            if asked is not None and self.case.placed:
                *behind, device = unit.parts
                device = Part(device.command, {**device.arguments, **asked})
                unit = replace(unit, parts=(*behind, device))
            found += unit.options()
        return tuple(found)

    async def after(self, failure: str) -> Plugging:
        """The state after the transfer; `failure` is empty if it succeeded."""
        guest = self.booted.guest
        log = self.new_log.path
        asked = looked_up_names(log.read_text()) if log is not None else {}
        memory = [] if failure else [await self._memory(guest.qemu, f) for f in self.filled]
        state = await _state(self.old) if failure else ""
        beats = await self._beats()
        revived = None
        if failure and not beats:
            with suppress(PausebenchError):
                await self.old.execute("cont")
            revived = beats = await self._beats()
        return Plugging(
            plugged=tuple(_label(w) for w in (*self.case.plug, self.case.replug) if w),
            unplugged=tuple(map(_label, self.case.unplug)),
            started=tuple(map(_label, self.case.start)),
            kept_before=self.kept_before,
            kept=self.kept,
            stale=self.stale,
            asked=tuple(asked),
            afresh=tuple(pair for pair, there in asked.items() if not there),
            memory=tuple(memory),
            connections=self.peer.count if self.peer is not None else None,
            old_state=state,
            beats=beats,
            revived=revived,
        )

    async def _beats(self) -> bool:
        memory = self.booted.guest.memory
        with suppress(PausebenchError):
            await asyncio.to_thread(memory.wait_for_beats, memory.beats(), _BEAT_S)
            return True
        return False

    async def _memory(self, new: Qemu, filled: _Filled) -> PluggedMemory:
        """Memory in new QEMU, by guest address; without a device, the region that matches best."""
        if filled.address is not None:
            at = await host_address(new, filled.address)
            starts = [at] if at is not None else []
        else:
            starts = [m.start for m in shared_mappings(new.pid) if m.length == MEMORY_BYTES]
        best = PluggedMemory(filled.name, filled.address, _PAGES, 0, 0, "no memory there")
        for start in starts:
            content = read_memory(new.pid, start, MEMORY_BYTES)
            kept = matching_pages(content, pattern(filled.number))
            frames = read_frames(new.pid, start, np.arange(_PAGES), PAGE_BYTES)
            same = int(((frames == filled.frames) & (frames != 0)).sum()) if kept else 0
            found = "" if kept == _PAGES else self._instead(content)
            best = max(best, replace(best, kept=kept, same_frames=same, found=found),
                       key=lambda m: (m.kept, m.found != "no memory there"))  # fmt: skip
        return best

    def _instead(self, content: bytes) -> str:
        if not any(content):
            return "zeros instead"
        for other in self.filled:
            if matching_pages(content, pattern(other.number)):
                return f"the bytes of {other.name} instead"
        return "other bytes instead"


def _label(which: tuple[int, str]) -> str:
    return which[1] or f"unnamed{which[0]}"


def _files(pid: int, log: str) -> dict[str, int]:
    """`NAME ID` that a QEMU keeps → inode of its descriptor's file, 0 if it is closed."""
    saved = re.findall(r"^cpr_save_fd (.*?), id (-?\d+), fd (-?\d+)", log, re.MULTILINE)
    numbers = {f"{name} {number}": fd for name, number, fd in saved}
    found = {}
    for pair in saved_names(log):
        found[pair] = 0
        with suppress(OSError):
            found[pair] = Path(f"/proc/{pid}/fd/{numbers[pair]}").stat().st_ino
    return found


def _open_files(pid: int) -> Iterator[int]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            yield entry.stat().st_ino


async def _state(qemu: Qemu) -> str:
    with suppress(PausebenchError):
        return str((await qemu.execute("query-status"))["status"])
    return "gone"


async def attempt(experiment: Experiment, trial: Trial, case: Case) -> tuple[Run, Plugging]:
    """Boot one guest, plug and transfer it as the case demands, and store the run.

    Raises TransferRefused when QEMU refuses to plug or unplug.
    """
    directory = experiment.place.directory
    room = (*HOTPLUG_ARGUMENTS, *case.kind.room)
    async with (
        Peer(directory / "peer") as peer,
        await experiment.boot(trial, Variation(room)) as booted,
    ):
        seen = _Attempt(booted, case, directory, booted.guest.qemu)
        seen.peer = peer if case.kind.name == "port" else None
        await seen.plug_and_unplug()
        variation = Variation((*room, *await seen.options()))
        run = await booted.update(
            trial.cell,
            variation=variation,
            plugged=seen.after,
            instruments=experiment.instruments.plus(seen.new_log),
        )
    assert run.plugging is not None
    return run, run.plugging


async def try_hotplug(
    experiment: Experiment,
    old_build: Build,
    new_build: Build,
    scenario: Scenario | None = None,
    kinds: Sequence[PluggedKind] = KINDS,
    group: str = "",
) -> list[Finding]:
    """Run every case on one pair of builds, each a stored run; the last finding is claim 12.

    `group` distinguishes the findings on all cases from those of other `kinds`.
    """
    if scenario is None:
        anon = resolve(find_scenario("anon", BUILTIN))
        (scenario,), _ = on_common_machine([anon], [old_build, new_build], None)
    scenario = replace(scenario, ram_bytes=RAM_BYTES)
    pair = pair_name(old_build.label, new_build.label)
    upgrade = old_build.label != new_build.label
    builds = f"{old_build.label}-to-{new_build.label}" if upgrade else old_build.label
    findings: list[Finding] = []
    kept: list[Finding] = []  # of cases in which everything must be kept
    attempts: list[tuple[Plugging, Run]] = []
    for case in cases(kinds):
        cell = f"{case.id}+{builds}"
        stored = sum(1 for _ in experiment.store.iter_runs(experiment.session, cell))
        trial = Trial(scenario, old_build, new_build, stored + 1, 1, cell)
        experiment.progress.doing(f"{case.test} on {pair}")
        try:
            run, seen = await attempt(experiment, trial, case)
        except PausebenchError as error:
            message = str(error)
            found = Finding("ids", 0, pair, case.test, "not testable", message, quote=message)
        else:
            attempts.append((seen, run))
            found = finding_of(case.test, pair, case.expected, seen, run, case.fix)
        findings.append(found)
        kept += [found] if case.expected == "kept" else []
    ids = lookups(pair, attempts)
    of_all = [*([ids] if ids is not None else []), answer(pair, kept, ids)]
    suffix = f" ({group})" if group else ""
    return [*findings, *(replace(found, test=found.test + suffix) for found in of_all)]
