"""Injects one fault into one update, at a phase that the kernel itself finds."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from bench.measurement.instruments import Instrument
from probes.pause_injector import OLD_BOUNDARY, PauseInjector
from results.records.run import Side
from results.records.scenario import Build
from results.summary.failures.faults import Phase
from runners.qemu.process import Qemu

Act = Literal["killed", "stopped"]
_SIGNALS: dict[Act, signal.Signals] = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}

# Phases that begin inside QEMU: the QEMU that reaches it, and the function. All builds export them.
_BOUNDARIES: dict[Phase, tuple[Side, str]] = {
    "cpr-state": ("new", "machine_run_board_init"),
    "stopped": ("old", OLD_BOUNDARY),
    "load": ("new", "qemu_loadvm_state_main"),
}


class Injectors:
    """One injector for each phase that begins inside QEMU; a context manager."""

    def __init__(self, builds: Sequence[Build]) -> None:
        self._at: dict[Phase, PauseInjector] = {
            phase: PauseInjector(builds, function) for phase, (_, function) in _BOUNDARIES.items()
        }
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            for injector in self._at.values():
                opening.enter_context(injector)
            self._stack = opening.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def at(self, phase: Phase) -> PauseInjector | None:
        return self._at.get(phase)


@dataclass(slots=True)
class SignalFault(Instrument):
    """Kills or stops one QEMU of an update in one phase."""

    late: ClassVar[bool] = True  # probes are armed first
    phase: Phase
    side: Side
    act: Act
    injector: PauseInjector | None  # None: at a step of the driver

    def started(self, old: int, new: int) -> None:
        if self.phase == "start":
            self._strike(old, new)
        elif self.phase == "cpr-state":  # reached before the hold
            self._arm(old, new)

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        if self.phase == "hold":
            self._strike(old.pid, new.pid)
        elif self.phase in ("stopped", "load"):
            self._arm(old.pid, new.pid)

    def resumed(self, old: Qemu, new: Qemu) -> None:
        if self.phase == "resumed":
            self._strike(old.pid, new.pid)

    def _arm(self, old: int, new: int) -> None:
        assert self.injector is not None
        reaches = _BOUNDARIES[self.phase][0]
        stays = self.act == "stopped" and self.side == reaches
        self.injector.arm(
            old if reaches == "old" else new,
            None if stays else 0,
            (lambda: None) if stays else lambda: self._strike(old, new),
        )

    def _strike(self, old: int, new: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(old if self.side == "old" else new, _SIGNALS[self.act])
