"""Causes injected into real transfers are named, also by the command."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.measurement.instruments import Instrument
from bench.measurement.loading import Watch
from bench.measurement.probing import SchedulerRing
from bench.measurement.scenarios import BUILTIN, changed, find_scenario, resolve
from bench.measurement.schedule import Trial
from bench.measurement.session import LiveSession, open_session
from probes.pause_injector import PauseInjector
from reports.terminal.why import reasons, sentence
from results.causes.attribution import OURSELVES
from results.causes.explain import explain
from results.judgement.judge import judge
from results.records.run import Run
from results.records.scenario import MIB
from results.records.scheduler import Cause
from results.store.store import open_store
from runners.builds.discover import default_build
from runners.qemu.process import Qemu
from runners.transfer.handover import Hooks

pytestmark = [pytest.mark.qemu, pytest.mark.kvm, pytest.mark.bpf]

BOOTS = itertools.count(1)
PAUSE_NS = 30_000_000
HOG = (
    "import sys; open('/proc/self/comm', 'w').write('hog'); print('on', flush=True)\nwhile 1: pass"
)


class Silent:
    """Shows no progress."""

    def doing(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, run: Run) -> None: ...
    def skipped(self, updates: int) -> None: ...

    planned = None


@dataclass(slots=True)
class Meddling(Instrument):
    """Calls a test's functions at the steps of an update."""

    hooks: Hooks

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        self.hooks.hold(old, new, old_tids, new_tids)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def live(directory: Path) -> Iterator[LiveSession]:
    scenarios = [resolve(changed(find_scenario("anon", BUILTIN), {"ram_bytes": 64 * MIB}))]
    with (
        open_store(directory) as store,
        open_session(
            scenarios, [default_build()], store, Silent(), ["pytest"], {}, Watch(why=True)
        ) as live,
    ):
        yield live


def updates(
    live: LiveSession,
    count: int = 1,
    hooks: Hooks | None = None,
    without: Sequence[type[Instrument]] = (),
    **changes: Any,
) -> list[Run]:
    """Update a new guest, with functions called at its steps or with fewer instruments."""
    scenario = changed(find_scenario("anon", BUILTIN), {"ram_bytes": 64 * MIB} | changes)
    build = live.session.builds[0]
    trial = Trial(resolve(scenario), build, build, next(BOOTS), count, "anon")
    instruments = live.experiment.instruments.plus(Meddling(hooks or Hooks())).without(*without)

    async def whole() -> list[Run]:
        async with await live.experiment.boot(trial) as booted:
            return [await booted.update(instruments=instruments) for _ in range(count)]

    return asyncio.run(whole())


def causes(run: Run) -> tuple[Cause, ...]:
    assert run.blackout_ns is not None, run.reason
    assert run.attribution is not None
    assert not run.attribution.missing
    assert sum(c.ns for c in run.attribution.causes) == run.blackout_ns
    return run.attribution.causes


def spent(run: Run, state: str) -> int:
    return sum(c.ns for c in causes(run) if c.state == state)


@pytest.fixture
def hogs() -> Iterator[Callable[[Qemu, Qemu], None]]:
    """Three spinners on one CPU; the call pins both QEMUs to it."""
    cpu = max(os.sched_getaffinity(0))
    running = []
    try:
        for _ in range(3):
            running.append(
                subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE, text=True)
            )
            assert running[-1].stdout.readline() == "on\n"
            os.sched_setaffinity(running[-1].pid, {cpu})
            running[-1].send_signal(signal.SIGSTOP)

        def pin(old: Qemu, new: Qemu) -> None:
            for qemu in (old, new):
                for task in Path(f"/proc/{qemu.pid}/task").iterdir():
                    os.sched_setaffinity(int(task.name), {cpu})
            for hog in running:
                hog.send_signal(signal.SIGCONT)

        yield pin
    finally:
        for hog in running:
            hog.kill()
            hog.communicate()


@pytest.mark.parametrize("vcpus", [1, 2])
def test_every_ns_is_attributed(live: LiveSession, vcpus: int) -> None:
    for run in updates(live, 3, vcpus=vcpus):
        assert run.attribution is not None
        assert causes(run)
        assert run.attribution.unattributed_ns <= run.blackout_ns / 100, run.attribution
        assert {c.side for c in causes(run)} == {"old", "new"}
        assert judge(live.experiment.store.recording(run.id)) == run


def test_every_ns_is_attributed_under_tcg(live: LiveSession) -> None:
    (run,) = updates(live, accel="tcg")
    assert run.attribution is not None
    assert causes(run)
    assert run.attribution.unattributed_ns <= run.blackout_ns / 100, run.attribution


def test_a_hog_on_the_cpu_is_named(live: LiveSession, hogs: Callable[[Qemu, Qemu], None]) -> None:
    quiet = updates(live, 1)[0]
    (run,) = updates(live, 1, Hooks(hold=lambda old, new, *tids: hogs(old, new)))
    assert not any("hog" in c.by for c in causes(quiet))
    # On a busy host others keep QEMU waiting too, and a kernel worker may wait behind the hogs.
    found = reasons(explain(run, [replace(quiet, outcome="completed")]), most=5)
    said = [sentence(compared.cause) for compared in found]
    assert any("for a CPU" in line and "hog" in line for line in said), said


def test_a_stop_at_a_phase_boundary_is_named(live: LiveSession) -> None:
    with PauseInjector(live.session.builds) as injector:
        (run,) = updates(
            live, 1, Hooks(hold=lambda old, new, *tids: injector.arm(new.pid, PAUSE_NS))
        )
        pause = injector.injected(run.new_pid)
    first = max(causes(run), key=lambda cause: (cause.state == "stopped", cause.ns))
    # All threads stand still; whichever is the last to come back is what the guest waited for.
    assert (first.state, first.side) == ("stopped", "new")
    assert first.phase == "vm_start"
    assert first.by == OURSELVES
    # From the stop to SIGCONT by the injector's clock; the wait for a CPU afterwards is no stop.
    asked = pause.continued_ns - pause.start_ns
    assert abs(first.ns - asked) < asked / 10
    said = [sentence(compared.cause) for compared in reasons(explain(run, []))]
    assert f"new QEMU's {first.thread} was stopped by a signal for " in " ".join(said)


def test_lost_records_leave_the_run_valid_and_unexplained(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ring,) = (i for i in live.experiment.instruments.loaded if isinstance(i, SchedulerRing))
    real = ring.probe.close
    monkeypatch.setattr(ring.probe, "close", lambda: replace(real(), lost=7))
    (run,) = updates(live)
    assert run.attribution is not None
    assert run.attribution.missing == "7 records of the scheduler were lost"
    assert "scheduler" not in run.reason


# -- the command ---------------------------------------------------------------------------------


def test_the_command_explains_a_run(
    live: LiveSession, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = updates(live, 2)
    assert main(["why", runs[0].id, "--store", str(directory)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{runs[0].id}: blackout ")
    assert "%)" in lines[-1] + lines[-2]  # a note on skipped probes may follow
    assert "unattributed" in "\n".join(lines)
    assert main(["why", runs[0].id, "--path", "--store", str(directory)]) == 0
    assert "the critical path" in capsys.readouterr().out
    assert main(["why", runs[0].id, "--json", "--store", str(directory)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert sum(piece["end_ns"] - piece["start_ns"] for piece in made["path"]) == runs[0].blackout_ns
    assert sum(cause["ns"] for cause in made["causes"]) == made["blackout_ns"]


def test_a_run_without_a_scheduler_trace_is_refused(
    live: LiveSession, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = updates(live, without=[SchedulerRing])
    assert run.attribution is None
    assert main(["why", run.id, "--store", str(directory)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "was measured without --why" in said
