"""Which instruments are loaded, and in which order they are called."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.measurement import loading
from bench.measurement.controls import Controls
from bench.measurement.instruments import Instrument, Update
from bench.measurement.loading import Watch, load_brackets, load_instruments
from bench.measurement.probing import (
    BeatObserver,
    Brackets,
    HandoverMarks,
    Interrupts,
    PerfCounts,
    SchedulerRing,
)
from bench.measurement.prover import Prover
from results.records.scenario import Scenario

DEFAULT = [HandoverMarks, Interrupts, Prover, Brackets]
ALL = [HandoverMarks, Interrupts, Prover, PerfCounts, Brackets, BeatObserver, SchedulerRing]


@pytest.fixture(autouse=True)
def no_probe_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(*args: object, **options: object) -> AbstractContextManager[object]:
        return nullcontext(SimpleNamespace(options=options))

    for name in ("HandoverProbe", "PinProbe", "SchedulerProbe"):
        monkeypatch.setattr(loading, name, probe)
    monkeypatch.setattr(loading, "build_observer", lambda directory: directory / "observer")


@pytest.mark.parametrize(
    ("watch", "kinds", "tier"),
    [
        (Watch(), DEFAULT, "tracepoints+uprobes"),
        (Watch(why=True), [*DEFAULT, SchedulerRing], "tracepoints+uprobes+scheduler"),
        (Watch(True, True, True), ALL, "tracepoints+uprobes+scheduler+observer+perf"),
    ],
)
def test_instruments_are_loaded_in_order(
    watch: Watch, kinds: list[type[Instrument]], tier: str, tmp_path: Path
) -> None:
    assert watch.tier == tier
    with load_instruments([], watch, tmp_path, Controls(), vfio=False) as found:
        assert [type(instrument) for instrument in found.loaded] == kinds
        assert found.trace_marks


def test_the_schedulers_ring_opens_after_what_the_caller_adds(tmp_path: Path) -> None:
    update = Update("run", Scenario("anon", "anon"))
    with load_instruments([], Watch(why=True), tmp_path, Controls(), vfio=False) as found:
        own = Instrument()
        kinds = [type(instrument) for instrument in found.plus(own).at(update)]
    assert kinds == [HandoverMarks, Brackets, Instrument, SchedulerRing]


def test_brackets_alone_show_no_mark() -> None:
    with load_brackets([]) as found:
        assert [type(instrument) for instrument in found.loaded] == [HandoverMarks, Brackets]
        assert not found.trace_marks
