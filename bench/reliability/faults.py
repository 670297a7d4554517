"""Faults of QEMU in every phase of an update, each on a guest of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from bench.measurement.experiment import Booted, Experiment
from bench.measurement.schedule import Trial
from results.records.rollback import Where
from results.records.run import Run, Side
from results.records.scenario import MIB, Build, Scenario
from results.summary.failures.faults import PHASES, FaultRow, Phase, fault_row
from runners.qemu.broken_monitor import GREETING, MUTE, NONSENSE, broken_launcher
from runners.qemu.command_line import NO_VARIATION, Variation

from .injection import Act, Injectors, SignalFault

RAM_BYTES = 64 * MIB
VCPUS = 2
_LONG = "d" * 60  # two of them make a path that no unix socket takes
_DEVICE = ("-object", "rng-builtin,id=rngf", "-device", "virtio-rng-pci,rng=rngf,id=fault0")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: in which phase, of which QEMU, and where the guest may be alive afterwards."""

    phase: Phase
    name: str
    expected: tuple[Where, ...]
    signal: tuple[Side, Act] | None = None
    old_monitor: tuple[str, str] | None = None  # how it fails, and at which command
    new_monitor: tuple[str, str] | None = None
    long_path: bool = False
    device_lost: bool = False  # new QEMU lacks a device of the guest
    return_path: bool = False
    backward: bool = False  # from the newer build to the older


def _signals() -> Iterator[Fault]:
    """Either QEMU killed, or stopped for longer than any wait."""
    for phase in PHASES:
        for side in ("old", "new"):
            for act in get_args(Act):
                yield Fault(
                    phase, f"{side} {act}", _left(phase, side, return_path=False), (side, act)
                )
        if phase in ("stopped", "load"):
            for act in get_args(Act):
                where = _left(phase, "new", return_path=True)
                name = f"new {act}, return path"
                yield Fault(phase, name, where, ("new", act), return_path=True)


def _left(phase: Phase, side: Side, *, return_path: bool) -> tuple[Where, ...]:
    """Where the guest may be alive after a QEMU was killed or stopped."""
    if phase == "resumed":
        return ("new",) if side == "old" else ("nowhere",)
    if side == "old":
        # Old QEMU may have sent everything when new begins to load it.
        return ("nowhere", "new") if phase == "load" else ("nowhere",)
    if phase not in ("stopped", "load") or return_path:
        return ("old",)
    # Without a return path old QEMU is done once its sockets have taken the guest.
    return ("old", "nowhere")


def _monitors() -> Iterator[Fault]:
    for kind, word in ((MUTE, "mute"), (NONSENSE, "nonsense")):
        yield Fault("cpr-state", f"new's monitor {word}", ("old",), new_monitor=(kind, GREETING))
        yield Fault(
            "hold", f"new's monitor {word}", ("old",), new_monitor=(kind, "query-cpus-fast")
        )
        yield Fault(
            "load", f"new's monitor {word}", ("new",), new_monitor=(kind, "migrate-incoming")
        )
        yield Fault("start", f"old's monitor {word}", ("old",), old_monitor=(kind, "migrate"))
        yield Fault(
            "resumed", f"old's monitor {word}", ("new",), old_monitor=(kind, "query-migrate")
        )


def all_faults(builds: Sequence[Build]) -> tuple[Fault, ...]:
    """Every fault that these builds, oldest first, allow; in the order of the phases."""
    found = [*_signals(), *_monitors()]
    found.append(Fault("start", "socket path too long", ("old",), long_path=True))
    found.append(Fault("load", "new lacks a device", ("old", "nowhere"), device_lost=True))
    found.append(
        Fault(
            "load", "new lacks a device, return path", ("old",), device_lost=True, return_path=True
        )
    )
    if len(builds) > 1:
        # The older one does not know the version of the CPR state.
        found.append(Fault("cpr-state", "new is an older build", ("old",), backward=True))
    order = list(PHASES)
    return tuple(sorted(found, key=lambda fault: order.index(fault.phase)))


def one_per_phase(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """A short choice for every commit: new QEMU killed, in each phase."""
    return tuple(fault for fault in faults if fault.name == "new killed")


@dataclass(slots=True)
class FaultTrials:
    """Injects faults one after the other; `builds` are oldest first."""

    experiment: Experiment
    scenario: Scenario
    builds: Sequence[Build]
    injectors: Injectors
    note: Callable[[FaultRow], None] = lambda row: None
    rows: list[FaultRow] = field(default_factory=list)

    async def run(self, faults: Sequence[Fault]) -> list[FaultRow]:
        for number, fault in enumerate(faults, 1):
            self.experiment.progress.doing(f"{fault.phase}: {fault.name}")
            row = await self._try(fault, number)
            self.rows.append(row)
            self.note(row)
            self.experiment.store.sync()
        return self.rows

    async def _try(self, fault: Fault, number: int) -> FaultRow:
        trial = self._trial(fault, number)
        variation = Variation(_DEVICE) if fault.device_lost else NO_VARIATION
        async with await self.experiment.boot(trial, variation) as booted:
            instruments = self.experiment.instruments
            if fault.signal is not None:
                side, act = fault.signal
                at = self.injectors.at(fault.phase)
                instruments = instruments.plus(SignalFault(fault.phase, side, act, at))
            if fault.long_path:
                _lengthen(booted)
            start = time.monotonic()
            run: Run = await booted.update(
                trial.cell,
                variation=NO_VARIATION if fault.device_lost else None,
                instruments=instruments,
            )
            took_s = time.monotonic() - start
        return fault_row(fault.phase, fault.name, run, took_s, fault.expected)

    def _trial(self, fault: Fault, number: int) -> Trial:
        old, new = self.builds[0], self.builds[0]
        if fault.backward:
            old, new = self.builds[-1], self.builds[0]
        scenario = replace(self.scenario, return_path=fault.return_path)
        cell = f"fault-{number:02}-{fault.phase}"
        return Trial(
            replace(scenario, id=cell),
            _with_monitor(old, fault.old_monitor),
            _with_monitor(new, fault.new_monitor),
            1,
            1,
            cell,
        )


def _with_monitor(build: Build, broken: tuple[str, str] | None) -> Build:
    if broken is None:
        return build
    return replace(build, launcher=broken_launcher(build.launcher, *broken))


def _lengthen(booted: Booted) -> None:
    """New QEMU's sockets get a path that is longer than sun_path."""
    guest = booted.guest
    directory = guest.place.directory / _LONG / _LONG
    directory.mkdir(parents=True, exist_ok=True)
    guest.place = replace(guest.place, directory=directory)
