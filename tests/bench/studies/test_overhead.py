"""Every tier on real updates: what a tier loads is seen, the rest leaves no trace."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bench.measurement.scenarios import BUILTIN, find_scenario, resolve
from bench.measurement.session import open_session
from bench.studies.overhead import OverheadStudy
from results.instrument.overhead import TIERS
from results.store.store import open_store
from runners.builds.discover import default_build

pytestmark = [pytest.mark.bpf, pytest.mark.qemu, pytest.mark.slow]


class Silent:
    def doing(self, what): ...
    def note(self, text): ...
    def finished(self, run): ...
    def skipped(self, updates): ...

    planned = None


@pytest.fixture(scope="module", params=[pytest.param("kvm", marks=pytest.mark.kvm), "tcg"])
def watched(request, tmp_path_factory):
    build = default_build()
    scenario = resolve(replace(find_scenario("anon", BUILTIN), accel=request.param))
    with (
        open_store(tmp_path_factory.mktemp("store")) as store,
        open_session([scenario], [build], store, Silent(), ["test"], {}, watch=None) as live,
    ):
        study = OverheadStudy(live.experiment)
        asyncio.run(study.cell(scenario, build, rounds=1, updates=3, seed=1))
        live.status = 0
        yield study, {tier: [r for r in store.runs() if tier in r.id] for tier in TIERS}, store


def test_every_tier_has_its_boot(watched):
    study, runs, _ = watched
    assert {boot.tier for boot in study.boots} == set(TIERS), [
        r.reason for mine in runs.values() for r in mine
    ]
    assert all(boot.gap_ns > 0 and boot.handover_ns > boot.gap_ns for boot in study.boots)


def test_without_probes_nothing_is_recorded(watched):
    _, runs, store = watched
    for run in runs["none"]:
        assert run.blackout_ns is None
        assert {span.side for span in run.spans} == {"controller"}
        assert run.guest_gap_ns is not None or run.outcome == "failed"
        assert store.recording(run.id).events == ()


def test_the_bracket_alone_shows_the_blackout_and_no_more(watched):
    _, runs, store = watched
    valid = [run for run in runs["bracket"] if run.outcome == "completed"]
    assert valid
    for run in valid:
        assert run.blackout_ns is not None
        assert run.guest_gap_ns >= run.blackout_ns - 100_000
        assert store.recording(run.id).events == ()
        assert run.proof is None


def test_the_default_has_marks_and_proof_and_only_perf_has_perf(watched):
    _, runs, _ = watched
    assert all(run.spans and run.proof and not run.perf for run in runs["default"])
    for run in runs["perf"]:
        assert {"old", "new"} <= set(run.perf)
        assert all(counts["context-switches"] > 0 for counts in run.perf.values())
