"""Calibration on real updates, and an injector that reports a wrong length."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bench.measurement.scenarios import BUILTIN, find_scenario, resolve
from bench.measurement.session import open_session
from bench.studies.calibrate import Calibrator, Injectors
from results.instrument.calibration import calibrate
from results.instrument.shots import KINDS
from results.store.store import open_store
from runners.builds.discover import default_build

pytestmark = [pytest.mark.bpf, pytest.mark.qemu, pytest.mark.slow]

LEVEL_NS = 30_000_000
# What a noisy machine may add to a pause of 30 ms, far below what a missed pause would show.
NOISE_NS = 12_000_000


class Silent:
    def doing(self, what): ...
    def note(self, text): ...
    def finished(self, run): ...
    def skipped(self, updates): ...

    planned = None


@pytest.fixture(scope="module", params=[pytest.param("kvm", marks=pytest.mark.kvm), "tcg"])
def calibrated(request, tmp_path_factory):
    """A calibrator after its updates, and the runs of its session."""
    build = default_build()
    scenario = resolve(replace(find_scenario("anon", BUILTIN), accel=request.param))
    with (
        open_store(tmp_path_factory.mktemp("store")) as store,
        open_session([scenario], [build], store, Silent(), ["test"], {}) as live,
        Injectors([build]) as injectors,
    ):
        calibrator = Calibrator(live.experiment, injectors, (LEVEL_NS,))
        asyncio.run(calibrator.cell(scenario, build, boots=1, rounds=4, seed=1))
        live.status = 0
        yield calibrator, store.runs()


def test_every_kind_of_pause_is_recovered(calibrated):
    calibrator, _ = calibrated
    found = calibrator.judged()
    assert {level.kind for level in found.levels} == set(KINDS), (found.faults, found.lost)
    for level in found.levels:
        assert level.injected_ns >= LEVEL_NS
        assert abs(level.error_ns) < NOISE_NS, level
        assert level.shift_ns > LEVEL_NS - NOISE_NS, level


def test_an_injector_that_reports_a_wrong_length_fails_the_calibration(calibrated):
    calibrator, _ = calibrated
    lied = [replace(shot, injected_ns=shot.injected_ns * 3) for shot in calibrator.shots]
    found = calibrate(lied)
    assert not found.passed
    assert sum("off by" in fault for fault in found.faults) == len(KINDS)


def test_shots_are_stored_under_other_names(calibrated):
    calibrator, runs = calibrated
    names = {run.scenario for run in runs}
    assert "anon" not in names, "an injected pause must never be averaged with ordinary runs"
    assert any(name.endswith(".main-30ms") for name in names)
    assert {shot.run for shot in calibrator.shots} <= {run.id for run in runs}
