"""What tracing the scheduler adds to the guest's own gap.

    .venv/bin/pytest bench/benchmarks/test_why_cost.py -s

PAUSEBENCH_BOOTS (10) guests are updated with and without it in the order A B B A,
PAUSEBENCH_BLOCKS (3) times each. A boot counts once, with the difference of its two medians. The
kernel's own count is printed as well: how long its BPF programs ran (kernel.bpf_stats_enabled).
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.measurement.loading import Watch
from bench.measurement.probing import SchedulerRing
from bench.measurement.scenarios import BUILTIN, find_scenario, resolve
from bench.measurement.session import LiveSession
from results.records.run import Run
from results.records.scenario import Scenario

from .conftest import live_session
from .test_proof_cost import BLOCKS, BOOTS, paired_shift, trial_of

GOAL_PERCENT = 2.0
_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


@pytest.fixture(scope="module")
def live() -> Iterator[LiveSession]:
    with live_session(Watch(why=True)) as session:
        yield session


@contextmanager
def counting_bpf() -> Iterator[None]:
    before = _STATS.read_text()
    _STATS.write_text("1")
    try:
        yield
    finally:
        _STATS.write_text(before)


def spent_ns(live: LiveSession) -> int:
    """How long the scheduler's BPF programs have run so far."""
    (ring,) = (i for i in live.experiment.instruments.loaded if isinstance(i, SchedulerRing))
    total = 0
    for fd in ring.probe.program_fds():
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        )
        total += int(fields["run_time_ns"])
    return total


async def alternate(live: LiveSession, scenario: Scenario) -> tuple[list[Run], list[Run]]:
    """One boot, its updates in the order A B B A: with the scheduler traced, and without."""
    everything = live.experiment.instruments
    unwatched = everything.without(SchedulerRing)
    watched: list[Run] = []
    bare: list[Run] = []
    order = (True, False, False, True) * BLOCKS
    async with await live.experiment.boot(trial_of(live, scenario, len(order))) as booted:
        for watch in order:
            run = await booted.update(instruments=everything if watch else unwatched)
            assert booted.arrived, run.reason
            (watched if watch else bare).append(run)
    return watched, bare


def gaps(runs: list[Run]) -> list[int]:
    return [
        run.guest_gap_ns
        for run in runs
        if run.outcome == "completed" and run.guest_gap_ns is not None
    ]


@pytest.mark.parametrize("name", ["anon"])
@pytest.mark.benchmark(group="guest gap with and without the scheduler watched")
def test_cost_of_watching_the_scheduler(benchmark: Any, live: LiveSession, name: str) -> None:
    scenario = resolve(find_scenario(name, BUILTIN))

    def measure_all() -> list[tuple[list[Run], list[Run]]]:
        return [asyncio.run(alternate(live, scenario)) for _ in range(BOOTS)]

    boots = benchmark.pedantic(measure_all, rounds=1, iterations=1)
    pairs = [(gaps(watched), gaps(bare)) for watched, bare in boots]
    medians = [(statistics.median(a), statistics.median(b)) for a, b in pairs if a and b]
    shift = paired_shift([a - b for a, b in medians])
    bare_ns = statistics.median(b for _, b in medians)
    percents = [100 * ns / bare_ns for ns in (shift.ns, shift.low_ns, shift.high_ns)]
    benchmark.extra_info.update(shift_ns=round(shift.ns), percent=percents, goal=GOAL_PERCENT)
    with counting_bpf():
        before = spent_ns(live)
        watched, _ = asyncio.run(alternate(live, scenario))
        each = (spent_ns(live) - before) / len(watched)
    print(
        f"\n{name}, {len(medians)} boots x {4 * BLOCKS} updates (ABBA): guest gap "
        f"{bare_ns / 1e6:.3f} ms without; shift {shift.ns / 1e6:+.3f} ms = {percents[0]:+.1f} % "
        f"[{percents[1]:+.1f}, {percents[2]:+.1f}] ({shift.confidence:.1%}), "
        f"goal {GOAL_PERCENT:.0f} %; BPF ran {each / 1e6:.3f} ms a transfer, "
        f"{100 * each / bare_ns:.1f} % of it (all CPUs, from hold to resumed)"
    )
