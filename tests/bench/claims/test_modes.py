"""Every mode with real QEMU: one bracket for all, checked by independent measurements."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.claims.modes import SHORT, plan
from bench.claims.private_ram import lose_private_ram
from bench.cli import main
from bench.measurement.instruments import Instrument
from bench.measurement.scenarios import BUILTIN, find_scenario, resolve
from bench.measurement.schedule import Trial
from bench.measurement.session import LiveSession, open_session
from results.errors import PausebenchError
from results.judgement.judge import judge
from results.qemu.modes import known_modes, lacks, named
from results.records.modes import MODES, PROMISES
from results.records.recording import Recording
from results.records.run import Run
from results.records.scenario import MIB, Build, Mode, Scenario
from results.store.recordings import read_recording
from results.store.store import open_store
from runners.builds.catalogue import resolve_build
from runners.builds.discover import default_build
from runners.qemu.process import Qemu
from runners.transfer.base import Hooks

pytestmark = [pytest.mark.qemu, pytest.mark.bpf]
ACCELS = [pytest.param("kvm", marks=pytest.mark.kvm), "tcg"]
TRIES = 4  # on a busy host a run may be invalid although the guest is unharmed


class Silent:
    def doing(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, run: Run) -> None: ...
    def skipped(self, updates: int) -> None: ...

    planned = None


@dataclass(slots=True)
class Interfering(Instrument):
    """Runs a test's hooks at the steps of an update."""

    hooks: Hooks

    def resumed(self, old: Qemu, new: Qemu) -> None:
        self.hooks.resumed(old, new)


def newest() -> Build:
    """The build with the most modes: one from the cache if there is one."""
    try:
        return resolve_build("trixie-backports")
    except PausebenchError:
        return default_build()


@pytest.fixture(scope="module")
def build() -> Build:
    return newest()


@pytest.fixture(scope="module")
def store() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def live(store: Path, build: Build) -> Iterator[LiveSession]:
    with (
        open_store(store) as opened,
        open_session([scenario("cpr-transfer", "tcg")], [build], opened, Silent(), ["x"], {}) as s,
    ):
        yield s
        s.status = 0


def scenario(mode: Mode, accel: str) -> Scenario:
    anon = replace(find_scenario("anon", BUILTIN), ram_bytes=64 * MIB, vcpus=2, accel=accel)  # type: ignore[arg-type]
    return named(resolve(replace(anon, mode=mode)))


def skip_without(build: Build, mode: Mode) -> None:
    if reason := lacks(build, mode):
        pytest.skip(f"{reason}; `pausebench build get debian:trixie-backports` has all")


def updated(
    live: LiveSession, build: Build, mode: Mode, accel: str, hooks: Hooks | None = None, n: int = 2
) -> list[Run]:
    """`n` updates in a row of one guest."""
    chosen = scenario(mode, accel)
    updated.boots += 1  # type: ignore[attr-defined]
    trial = Trial(chosen, build, build, updated.boots, n, f"{chosen.id}-{accel}")  # type: ignore[attr-defined]
    instruments = live.experiment.instruments.plus(Interfering(hooks or Hooks()))
    return asyncio.run(replace(live.experiment, instruments=instruments).run([trial]))


updated.boots = 0  # type: ignore[attr-defined]


def measured(live: LiveSession, build: Build, mode: Mode, accel: str) -> list[Run]:
    for _ in range(TRIES):
        runs = updated(live, build, mode, accel)
        if [run.outcome for run in runs] == ["completed"] * 2:
            return runs
    pytest.fail(f"{mode}: {[run.reason for run in runs]}")


def recorded(store: Path, run: Run) -> Recording:
    return read_recording(store, run.id)


@pytest.mark.slow
@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("mode", MODES)
def test_update_after_update(
    live: LiveSession, store: Path, build: Build, mode: Mode, accel: str
) -> None:
    skip_without(build, mode)
    for run in measured(live, build, mode, accel):
        seen = recorded(store, run)
        assert judge(seen).outcome == "completed"
        assert seen.scenario.mode == mode
        assert (run.old_pid == run.new_pid) == PROMISES[mode].one_process
        assert bool(run.fds) == PROMISES[mode].descriptors
        assert run.ram is not None
        assert (run.ram.bad_pages, len(run.vcpu_blackouts_ns)) == (0, 2)
        assert run.blackout_ns is not None
        assert run.blackout_start_ns is not None
        end = run.blackout_start_ns + run.blackout_ns
        # Independent of the probes: the controller's own timestamps enclose the bracket.
        assert seen.steps["migrate"] < run.blackout_start_ns
        assert run.residual_ns == run.blackout_ns - sum(s.blackout_ns for s in run.spans)
        if "old_gone" in seen.steps:
            assert run.blackout_start_ns < seen.steps["old_gone"] < seen.steps["monitor"] < end
        if mode == "cpr-exec":
            # An unpacked tree is started through `env` and its own loader, an execve each.
            execs = [e.ns for e in seen.events if e.mark == "exec"]
            assert execs
            assert run.blackout_start_ns < min(execs) <= max(execs) < end
            assert {b.old_tid for b in seen.brackets}.isdisjoint(b.new_tid for b in seen.brackets)


@pytest.mark.slow
@pytest.mark.kvm
@pytest.mark.parametrize("mode", ["cpr-exec", "cpr-reboot", "snapshot"])
def test_the_guests_own_gap_encloses_the_bracket(
    live: LiveSession, build: Build, mode: Mode
) -> None:
    """In modes whose new threads are not known beforehand: the guest and QMP must agree with it."""
    skip_without(build, mode)
    for _ in range(TRIES):
        measured = [
            run
            for run in updated(live, build, mode, "kvm")
            if run.outcome == "completed" and run.guest_gap_ns is not None
        ]
        if measured:
            break
    for run in measured:
        assert run.guest_gap_ns is not None
        assert run.blackout_ns is not None
        assert run.first_progress_ns is not None
        assert run.guest_gap_ns > run.blackout_ns - 400_000
        # A vCPU beats until its stop and soon after its first entry, or the bracket is too short.
        assert run.blackout_ns > run.guest_gap_ns / 2
        if run.witnesses.qmp is not None:
            assert run.witnesses.qmp < run.blackout_ns + 100_000
    assert measured


@pytest.mark.slow
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "cpr-transfer"])
def test_a_lost_page_fails_the_run(live: LiveSession, build: Build, mode: Mode) -> None:
    skip_without(build, mode)
    from runners.system.process_memory import ram_mapping

    def lose(old: Qemu, new: Qemu) -> None:
        with Path(f"/proc/{new.pid}/mem").open("r+b", buffering=0) as memory:
            # Between two words that the guest itself checks, so that only the host can find it.
            memory.seek(ram_mapping(new.pid, 64 * MIB).start + 17 * MIB + 2048)
            memory.write(b"\0" * 64)

    (run,) = updated(live, build, mode, "tcg", Hooks(resumed=lose), n=1)
    assert run.outcome == "failed"
    assert run.ram is not None
    assert run.ram.bad_pages == 1


@pytest.mark.slow
def test_a_new_qemu_that_cannot_start_fails_the_run(
    live: LiveSession, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without(build, "cpr-exec")
    import runners.transfer.modes

    monkeypatch.setattr(runners.transfer.cpr_exec, "guest_argv", lambda *a, **k: ("/nowhere/qemu",))
    (run,) = updated(live, build, "cpr-exec", "tcg", n=1)
    assert run.outcome == "failed"
    assert "/nowhere/qemu" in run.reason + run.log_tail


@pytest.mark.slow
def test_private_ram_is_lost_by_cpr_exec(live: LiveSession, build: Build) -> None:
    skip_without(build, "cpr-exec")
    for _ in range(TRIES):
        found = asyncio.run(lose_private_ram(live.experiment, build))
        if found.found != "not testable":
            break
    assert (found.topic, found.claim) == ("hazard", 0)
    assert "is not compatible with CPR" in found.quote
    assert len(found.evidence) == 3
    assert found.found == "shown", found.detail
    assert "4096 of 4096 pages" in found.detail


def test_every_round_has_all_modes_in_another_order(build: Build) -> None:
    trials = plan(build, build, 3, 2, 1)
    modes = known_modes(build)
    each = Counter(trial.scenario.mode for trial in trials)
    # Short pauses are close to each other: they get more boots, in the same rounds.
    assert each == {mode: 10 if mode in SHORT else 5 for mode in modes}
    size = len(trials) // 5
    rounds = [[t.scenario.mode for t in trials[n : n + size]] for n in range(0, len(trials), size)]
    assert len({tuple(sorted(one)) for one in rounds}) == 1
    assert len({tuple(one) for one in rounds}) > 1
    assert len({(t.cell, t.boot) for t in trials}) == len(trials)
    assert {t.updates for t in trials if t.scenario.mode in SHORT} == {2}
    assert {t.updates for t in trials if t.scenario.mode not in SHORT} == {1}
    later = replace(build, label="later")
    upgrades = Counter(trial.scenario.mode for trial in plan(build, later, 3, 2, 1))
    assert set(upgrades.values()) == {5}


def test_a_mode_that_the_build_lacks_is_reported_in_one_line(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    if not lacks(default_build(), "cpr-exec"):
        pytest.skip("the system's QEMU has cpr-exec")
    assert main(["run", "anon", "--mode", "cpr-exec", "--store", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "scenario anon@cpr-exec: QEMU system" in lines[0]


def test_an_unknown_mode_is_reported_in_one_line(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["run", "anon", "--mode", "precopi", "--store", str(tmp_path)]) == 2
    assert "did you mean `precopy`?" in capsys.readouterr().err
