"""Events that the probes cannot write fail the run, with their number and nothing else."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import probes.handover
from bench.measurement.scenarios import BUILTIN, changed, find_scenario, resolve
from bench.measurement.schedule import Trial
from bench.measurement.session import open_session
from results.records.run import Run
from results.records.scenario import MIB, Build
from results.store.store import open_store
from runners.builds.discover import default_build

pytestmark = [pytest.mark.qemu, pytest.mark.kvm, pytest.mark.bpf]

BACKENDS = 900


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


def with_backends(build: Build, count: int) -> Build:
    """A build whose QEMU makes that many more blocks of shared memory."""
    words = [
        word
        for number in range(count)
        for word in ("-object", f"memory-backend-ram,id=m{number},size=4K,share=on")
    ]
    return replace(build, launcher=(*build.launcher, *words))


def one_update(store: Path, build: Build) -> Run:
    scenario = resolve(changed(find_scenario("anon", BUILTIN), {"ram_bytes": 64 * MIB}))
    trial = Trial(scenario, build, build, 1, 1, scenario.id)
    with (
        open_store(store) as opened,
        open_session([scenario], [build], opened, Silent(), ["pytest"], {}) as live,
    ):
        (run,) = asyncio.run(live.experiment.run([trial]))
        live.status = 0
    return run


def test_900_memory_backends_fit_into_the_ring(store: Path) -> None:
    run = one_update(store, with_backends(default_build(), BACKENDS))
    assert (run.outcome, run.reason) == ("completed", "")
    assert len(run.fds) >= BACKENDS
    assert all(fd.sent_ns and fd.received_ns for fd in run.fds)
    assert run.proof is not None
    assert all(len(check.text) < 300 for check in run.proof.checks)


@pytest.mark.parametrize("pages", [1, 8])
def test_a_ring_that_is_too_small_fails_the_run_with_the_count(
    store: Path, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes.handover, "ring_pages", lambda descriptors: pages)
    run = one_update(store, with_backends(default_build(), 40))
    assert run.outcome == "failed"
    assert re.fullmatch(r"events lost: [1-9]\d*", run.reason)
