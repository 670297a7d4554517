"""The order in which instruments are called, which modes they work for, what each records."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from bench.measurement.controls import Controls
from bench.measurement.instruments import Instrument, Instruments, Update
from bench.measurement.observation import Observation
from bench.measurement.probing import BeatObserver, Interrupts, PerfCounts, SchedulerRing
from bench.measurement.prover import Prover
from results.records.modes import MODES
from results.records.recording import Process, Recording
from results.records.run import SCHEMA
from results.records.scenario import Mode, Scenario
from runners.transfer.handover import Transferred

OLD: Any = SimpleNamespace(pid=10)
NEW: Any = SimpleNamespace(pid=11)
NOBODY = Process(0, (), ())


def update(mode: Mode = "cpr-transfer", **changes: Any) -> Update:
    return Update("run", replace(Scenario("anon", "anon"), mode=mode, **changes))


@dataclass(slots=True)
class Noting(Instrument):
    """Records what is called in which order."""

    name: str
    calls: list[str]
    state: list[str] = field(default_factory=list, init=False)

    def _note(self, step: str) -> None:
        self.calls.append(f"{self.name}.{step}")

    def begin(self) -> None:
        self.state.append(self.update.run)
        self._note("begin")

    def started(self, old: int, new: int) -> None:
        self._note("started")

    def hold(self, *step: object) -> None:
        self._note("hold")

    def disarm(self, new: Any) -> None:
        self._note("disarm")

    def resumed(self, old: Any, new: Any) -> None:
        self._note("resumed")

    def ended(self, new: Any) -> None:
        self._note("ended")

    def main_path(self, path: Path) -> Path:
        return path.with_name(path.name + self.name)

    def close(self) -> None:
        self._note("close")

    def recorded(self, about: Recording) -> Recording:
        return replace(about, steps=about.steps | {self.name: len(about.steps)})

    def forget(self, pid: int, tids: object) -> None:
        self._note(f"forget {pid}")


class NotingLate(Noting):
    late: ClassVar[bool] = True


def steps_of(found: tuple[Instrument, ...]) -> Recording:
    """A transfer that completes, and its recording."""
    seen = Transferred(Process(10, (), (1,)), Process(11, (), (2,)), failure="on purpose")
    about = Recording(
        SCHEMA, "run", "session", 1, 1, 0, Scenario("anon", "anon"), "a", "b", NOBODY, NOBODY, {}
    )
    with Observation(found) as observation:
        hooks = observation.hooks()
        hooks.started(10, 11)
        hooks.hold(OLD, NEW, (1,), (2,))
        hooks.resumed(OLD, NEW)
        hooks.ended(NEW)
    return observation.recorded(about, seen)


def test_armed_in_order_disarmed_in_reverse_and_collected_in_order() -> None:
    calls: list[str] = []
    loaded = (Noting("a", calls), NotingLate("late", calls), Noting("b", calls))
    instruments = Instruments(loaded).plus(Noting("further", calls))
    recording = steps_of(instruments.at(update()))
    names = ["a", "b", "further", "late"]
    assert sorted(calls[:4]) == sorted(f"{name}.begin" for name in names)
    assert calls[4:] == [
        *(f"{name}.started" for name in names),
        *(f"{name}.hold" for name in names),
        *(f"{name}.disarm" for name in reversed(names)),
        *(f"{name}.resumed" for name in names),
        *(f"{name}.ended" for name in names),
        *(f"{name}.close" for name in reversed(names)),
    ]
    assert list(recording.steps) == list(reversed(names))
    assert (recording.old.pid, recording.new.pid, recording.failure) == (10, 11, "on purpose")


def test_every_update_has_fresh_copies_of_what_is_loaded() -> None:
    template, own = Noting("a", []), Noting("own", [])
    instruments = Instruments((template,)).plus(own)
    first, second = (instruments.at(update())[0] for _ in range(2))
    assert first is not second
    assert (first.state, second.state, template.state) == (["run"], ["run"], [])  # type: ignore[attr-defined]
    assert instruments.at(update())[1] is own, "the caller's is to be read after the update"


def test_all_are_closed_even_if_one_fails() -> None:
    calls: list[str] = []

    class Breaking(Noting):
        def close(self) -> None:
            raise OSError("broken")

    found = Instruments((Noting("a", calls), Breaking("b", calls), Noting("c", calls)))
    with pytest.raises(OSError, match="broken"), Observation(found.at(update())):
        calls.clear()
    assert calls == ["c.close", "a.close"]


def test_the_main_channel_goes_through_all() -> None:
    found = Instruments((Noting("x", []), Noting("y", []))).at(update())
    assert Observation(found).hooks().main_path(Path("/s/main")) == Path("/s/mainxy")


def test_without_leaves_a_kind_out_and_keeps_those_of_the_caller() -> None:
    calls: list[str] = []
    instruments = Instruments((Noting("a", calls), PerfCounts())).plus(Noting("b", calls))
    left = instruments.without(Noting)
    assert [type(i) for i in left.loaded] == [PerfCounts]
    assert len(left.further) == 1
    assert len(instruments.loaded) == 2


def test_loaded_instruments_forget_a_guest_that_has_ended() -> None:
    calls: list[str] = []
    Instruments((Noting("a", calls),)).plus(Noting("b", calls)).forget(7, (8,))
    assert calls == ["a.forget 7"]


def test_nothing_loaded_traces_nothing() -> None:
    assert not Instruments().trace_marks
    assert Instruments().at(update()) == ()


# -- which work where -----------------------------------------------------------------------------

PROBE: Any = None


@pytest.mark.parametrize(
    ("instrument", "modes"),
    [
        (SchedulerRing(PROBE), {"cpr-transfer"}),
        (BeatObserver(Path("/observer")), {"cpr-transfer", "cpr-exec"}),
        (PerfCounts(), set(MODES)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_modes_in_which_it_works(instrument: Instrument, modes: set[Mode]) -> None:
    assert {mode for mode in MODES if instrument.works_for(update(mode))} == modes


def test_a_proof_is_of_the_payload_and_of_cpr_transfer() -> None:
    prover = Prover(Controls(), PROBE)
    guest: Any = object()
    assert {mode for mode in MODES if prover.works_for(replace(update(mode), guest=guest))} == {
        "cpr-transfer"
    }
    assert not prover.works_for(update())


def test_interrupts_are_those_of_assigned_devices() -> None:
    assert not Interrupts(PROBE).works_for(update())
    assert Interrupts(PROBE).works_for(update(devices="0000:01:00.0"))
