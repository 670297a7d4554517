"""The scenarios as pytest-benchmark benchmarks whose time *is* the blackout.

    .venv/bin/pytest bench/benchmarks/test_blackout.py --benchmark-json=out/blackout.json
    pytest-benchmark compare …

The clock of these benchmarks advances only by the measured VM blackout, so that every statistic of
pytest-benchmark is about pauses, not the seconds around them. A failed run fails its benchmark.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import Any

import pytest

from bench.measurement.scenarios import PLAIN, changed, resolve
from bench.measurement.schedule import Trial
from bench.measurement.session import LiveSession
from results.records.run import Run
from results.records.scenario import Scenario

UPDATES = int(os.environ.get("PAUSEBENCH_UPDATES", "10"))


class PauseClock:
    """A clock in seconds that advances only by measured pauses."""

    def __init__(self) -> None:
        self._ns = 0

    def __call__(self) -> float:
        return self._ns / 1e9

    def advance(self, ns: int) -> None:
        self._ns += ns


CLOCK = PauseClock()


@pytest.mark.parametrize("scenario", PLAIN, ids=lambda scenario: scenario.id)
@pytest.mark.benchmark(timer=CLOCK, group="blackout")
def test_blackout(benchmark: Any, live: LiveSession, scenario: Scenario) -> None:
    """Update one guest `PAUSEBENCH_UPDATES` times (10)."""
    resolved = resolve(changed(scenario, {}))
    build = live.session.builds[0]
    # A pytest session has one boot per scenario; the number makes the ids of its runs unique.
    trial = Trial(resolved, build, build, 1 + secrets.randbelow(999_998), UPDATES, resolved.id)
    runs: list[Run] = []
    with asyncio.Runner() as runner:
        booted = runner.run(live.experiment.boot(trial))

        def transfer() -> None:
            run = runner.run(booted.update())
            runs.append(run)
            assert run.outcome == "completed", run.reason
            assert run.blackout_ns is not None
            CLOCK.advance(run.blackout_ns)

        try:
            benchmark.pedantic(transfer, rounds=UPDATES, iterations=1, warmup_rounds=0)
        finally:
            runner.run(booted.end())
    benchmark.extra_info.update(_facts(live, runs))


def _facts(live: LiveSession, runs: list[Run]) -> dict[str, Any]:
    build = live.session.builds[0]
    return {
        "session": live.session.id,
        "scenario": runs[0].dimensions,
        "build": {"label": build.label, "version": build.version, "build_id": build.build_id},
        "runs": [run.id for run in runs],
        "blackouts_ns": [run.blackout_ns for run in runs],
        "vcpu_blackouts_ns": [list(run.vcpu_blackouts_ns) for run in runs],
        "phases_ns": [run.phases for run in runs],
        "qemu_downtime_ns": [run.witnesses.qemu for run in runs],
    }
