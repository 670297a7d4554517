"""What disturbs pausebench or the clocks changes no blackout: lost time is noted, not measured."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.measurement.instruments import Instrument
from bench.measurement.scenarios import BUILTIN, changed, find_scenario, resolve
from bench.measurement.schedule import Trial
from bench.measurement.session import open_session
from probes.pause_injector import NEW_BOUNDARY, PauseInjector
from results.records.run import Run
from results.records.scenario import MIB, Build
from results.store.store import open_store
from runners.builds.discover import default_build
from runners.qemu.process import Qemu

pytestmark = [pytest.mark.qemu, pytest.mark.kvm, pytest.mark.bpf, pytest.mark.slow]

STOPPED_S = 5
# A stop of pausebench must not reach the guest: blackouts take 3 to 30 ms here.
MOST_BLACKOUT_NS = 500_000_000
TRIES = 3  # a busy host may lose a run for reasons of its own


class Silent:
    planned = None

    def doing(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, run: Run) -> None: ...
    def skipped(self, updates: int) -> None: ...


@pytest.fixture
def store() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def one_update(store: Path, old: Build, new: Build | None = None, *disturbing: Instrument) -> Run:
    """An update by a whole session, again while it fails."""
    scenario = resolve(changed(find_scenario("anon", BUILTIN), {"ram_bytes": 64 * MIB}))
    with (
        open_store(store) as opened,
        open_session([scenario], [old], opened, Silent(), ["pytest"], {}) as live,
    ):

        async def attempt(boot: int) -> Run:
            trial = Trial(scenario, old, new or old, boot, 1, scenario.id)
            async with await live.experiment.boot(trial) as booted:
                instruments = live.experiment.instruments.plus(*disturbing)
                return await booted.update(instruments=instruments)

        for boot in range(1, TRIES + 1):
            run = asyncio.run(attempt(boot))
            if run.outcome == "completed":
                break
        live.status = 0
    return run


# -- pausebench is stopped ------------------------------------------------------------------------


def stop_ourselves() -> None:
    """SIGSTOP to this process; a child continues it."""
    script = f"sleep {STOPPED_S}; kill -CONT {os.getpid()}"
    with subprocess.Popen(["/bin/sh", "-c", script]):
        os.kill(os.getpid(), signal.SIGSTOP)


@dataclass(slots=True)
class StopInTheHold(Instrument):
    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        stop_ourselves()


@dataclass(slots=True)
class StopInTheBlackout(Instrument):
    injector: PauseInjector

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        def at_stop() -> None:
            os.kill(new.pid, signal.SIGCONT)  # QEMU goes on while we stand still
            stop_ourselves()

        self.injector.arm(new.pid, 0, at_stop)


def assert_only_noted(run: Run) -> None:
    if run.reason.endswith("gap log overflowed"):
        pytest.skip(f"a host too busy for a guest that is not read for {STOPPED_S} s: {run.reason}")
    assert (run.outcome, run.reason) == ("completed", "")
    assert run.blackout_ns is not None
    assert run.blackout_ns < MOST_BLACKOUT_NS
    assert any("pausebench itself was stopped by a signal" in w for w in run.warnings)


def test_pausebench_is_stopped_in_the_hold(store: Path) -> None:
    assert_only_noted(one_update(store, default_build(), None, StopInTheHold()))


def test_pausebench_is_stopped_in_the_blackout(store: Path) -> None:
    build = default_build()
    with PauseInjector([build], NEW_BOUNDARY) as injector:
        assert_only_noted(one_update(store, build, None, StopInTheBlackout(injector)))


# -- the wall clock of one QEMU is wrong ----------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libfaketime, of the host or unpacked from Debian's package; nothing is installed."""
    installed = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if installed:
        return installed[0]
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))):
        pytest.skip("no libfaketime, and no Debian to take it from")
    place = tmp_path_factory.mktemp("faketime")
    for argv in (["apt-get", "download", "libfaketime"], ["sh", "-c", "dpkg-deb -x *.deb ."]):
        done = subprocess.run(argv, cwd=place, capture_output=True, timeout=60, check=False)
        if done.returncode:
            pytest.skip(f"libfaketime: {' '.join(argv)}: {done.stderr.decode()[-200:]}")
    return next(place.rglob("libfaketimeMT.so.1"))


def with_wall_clock(build: Build, library: Path, offset: str) -> Build:
    """A QEMU whose wall clock alone is wrong; CLOCK_MONOTONIC is the host's."""
    words = (f"LD_PRELOAD={library}", f"FAKETIME={offset}", "FAKETIME_DONT_FAKE_MONOTONIC=1")
    return replace(build, launcher=("/usr/bin/env", *words, *build.launcher))


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
@pytest.mark.parametrize("side", ["old", "new"])
def test_a_wall_clock_wrong_by_an_hour_in_one_qemu(
    store: Path, library: Path, side: str, offset: str
) -> None:
    build = default_build()
    wrong = with_wall_clock(build, library, offset)
    run = one_update(store, wrong if side == "old" else build, wrong if side == "new" else build)
    assert (run.outcome, run.reason) == ("completed", "")
    assert run.blackout_ns is not None
    assert run.blackout_ns < MOST_BLACKOUT_NS
    assert run.witnesses.qmp is None, "QMP does not testify"
    assert any("the wall clock moved by" in warning for warning in run.warnings)


def test_a_wall_clock_wrong_in_both_is_consistent(store: Path, library: Path) -> None:
    run = one_update(store, with_wall_clock(default_build(), library, "-1h"))
    assert (run.outcome, run.reason) == ("completed", "")
    assert run.witnesses.qmp is not None
    assert run.blackout_ns is not None
    assert 0 < run.witnesses.qmp <= run.blackout_ns + 100_000
