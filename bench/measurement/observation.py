"""The instruments of one update, called together at each of its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, Self

from results.records.recording import Recording
from runners.qemu.process import Qemu
from runners.transfer.handover import Hooks, Transferred

from .instruments import Instrument

_Arguments = ParamSpec("_Arguments")


class Observation:
    """The instruments of one update; a context manager that detaches them."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        """`instruments` as `Instruments.at` has prepared them for this update."""
        self._instruments = tuple(instruments)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for instrument in self._instruments:
            self._stack.callback(instrument.close)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def hooks(self) -> Hooks:
        """The hooks that the driver of the update calls."""
        return Hooks(
            started=self._each(lambda instrument: instrument.started),
            hold=self._each(lambda instrument: instrument.hold),
            leaving=self._each(lambda instrument: instrument.leaving),
            spawned=self._each(lambda instrument: instrument.spawned),
            arrived=self._each(lambda instrument: instrument.arrived),
            resumed=self._resumed,
            ended=self._each(lambda instrument: instrument.ended),
            main_path=self._main_path,
        )

    def _each(
        self, step: Callable[[Instrument], Callable[_Arguments, None]]
    ) -> Callable[_Arguments, None]:
        def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
            for instrument in self._instruments:
                step(instrument)(*args, **kwargs)

        return call

    def _resumed(self, old: Qemu, new: Qemu) -> None:
        for instrument in reversed(self._instruments):
            instrument.disarm(new)
        for instrument in self._instruments:
            instrument.resumed(old, new)

    def _main_path(self, path: Path) -> Path:
        for instrument in self._instruments:
            path = instrument.main_path(path)
        return path

    def recorded(self, about: Recording, seen: Transferred) -> Recording:
        """`about` with what the driver and all instruments saw."""
        about = replace(
            about,
            old=seen.old,
            new=seen.new,
            steps=seen.steps,
            qmp=seen.qmp,
            migrate_info=seen.migrate_info,
            failure=seen.failure,
            continued_in=seen.continued_in,
            controller_stops=seen.controller_stops,
        )
        for instrument in reversed(self._instruments):
            about = instrument.recorded(about)
        return about
