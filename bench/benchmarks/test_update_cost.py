"""What measuring costs: a measured, verified, stored update compared with the bare QMP steps.

Both kinds alternate on one guest in one run, and the figure is the ratio of their medians.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import time
from typing import Any

import pytest

from bench.measurement.experiment import Booted
from bench.measurement.scenarios import BUILTIN, changed, find_scenario, resolve
from bench.measurement.schedule import Trial
from bench.measurement.session import LiveSession
from results.records.scenario import Scenario
from runners.qemu.command_line import Sockets, channel
from runners.qemu.guest import Guest, start_qemu, vcpu_tids
from runners.qemu.migration import is_listening

PAIRS = int(os.environ.get("PAUSEBENCH_PAIRS", "15"))


async def bare_update(guest: Guest) -> None:
    """The same steps with nothing probed, sampled, compared, judged or stored."""
    old, place = guest.qemu, guest.place
    name = secrets.token_hex(4)
    sockets = Sockets(place.directory / f"{name}.cpr", place.directory / f"{name}.main")
    old.stamps.clear()
    new = start_qemu(guest.scenario, guest.build, place, sockets)
    await old.execute(
        "migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}]
    )
    await old.execute("migrate-set-parameters", mode="cpr-transfer")
    while not is_listening(sockets.cpr):
        await asyncio.sleep(0.001)
    await old.execute(
        "migrate", channels=[channel("main", sockets.main), channel("cpr", sockets.cpr)]
    )
    await new.connect()
    tids = await vcpu_tids(new, guest.scenario.vcpus)
    await new.execute("migrate-incoming", uri=f"unix:{sockets.main}")
    await old.wait_for(
        lambda m: m.get("event") == "MIGRATION" and "completed" in str(m.get("data")), "end", 30
    )
    await new.wait_for(lambda m: m.get("event") == "RESUME", "resume", 30)
    while (await old.execute("query-status"))["status"] != "postmigrate":
        await asyncio.sleep(0.001)  # reported as completed a moment before
    assert (await new.execute("query-status"))["status"] == "running"
    await old.quit()
    for path in (sockets.cpr, sockets.main):
        path.unlink(missing_ok=True)
    guest.qemu, guest.vcpu_tids = new, tids


async def alternate(booted: Booted) -> tuple[list[float], list[float]]:
    """Seconds of bare and of measured updates, taken in turns (ABBA)."""
    bare: list[float] = []
    measured: list[float] = []

    async def time_bare() -> None:
        start = time.perf_counter()
        await bare_update(booted.guest)
        bare.append(time.perf_counter() - start)

    async def time_measured() -> None:
        start = time.perf_counter()
        run = await booted.update()
        measured.append(time.perf_counter() - start)
        assert run.outcome == "completed", run.reason

    for pair in range(PAIRS):
        first, second = (time_bare, time_measured) if pair % 2 else (time_measured, time_bare)
        await first()
        await second()
    return bare, measured


@pytest.mark.parametrize("vcpus", [1, 2])
@pytest.mark.benchmark(group="cost of measuring")
def test_cost_of_measuring(benchmark: Any, live: LiveSession, vcpus: int) -> None:
    scenario: Scenario = resolve(changed(find_scenario("anon", BUILTIN), {"vcpus": vcpus}))
    build = live.session.builds[0]
    boot = 1 + secrets.randbelow(999_998)  # makes the ids of the runs unique
    trial = Trial(scenario, build, build, boot, PAIRS, scenario.id)

    async def measure_all() -> tuple[list[float], list[float]]:
        async with await live.experiment.boot(trial) as booted:
            return await alternate(booted)

    bare, measured = benchmark.pedantic(lambda: asyncio.run(measure_all()), rounds=1, iterations=1)
    ratio = statistics.median(measured) / statistics.median(bare)
    benchmark.extra_info.update(
        ratio=round(ratio, 3),
        bare_s=[round(value, 4) for value in bare],
        measured_s=[round(value, 4) for value in measured],
    )
    print(
        f"\n{vcpus} vCPU: bare {statistics.median(bare) * 1e3:.1f} ms, measured "
        f"{statistics.median(measured) * 1e3:.1f} ms, ratio {ratio:.2f} (goal: at most 1.5)"
    )
