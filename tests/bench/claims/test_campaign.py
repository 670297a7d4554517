"""The order of a campaign's steps, without a guest."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from bench.claims.campaign import Campaign, Collected, oldest_first, run_steps
from bench.claims.steps import Route, Step
from results.claims.catalogue import Finding
from results.errors import GuestLost
from results.records.scenario import Build

BUILD, LATER = (Build(label, "/qemu", "10.0.2", "", "", ()) for label in ("a", "b"))


class Synced:
    """Stands for an experiment: what the loop itself uses of one."""

    store = SimpleNamespace(sync=lambda: None)


def collected(*steps: Step, left_s: float = 60.0) -> Collected:
    context: Any = SimpleNamespace(experiment=Synced)
    found = Collected()
    routes = (Route(BUILD, BUILD), Route(BUILD, LATER))
    asyncio.run(run_steps(context, routes, steps, time.monotonic() + left_s, found))
    return found


async def succeeding(context: object, route: Route) -> list[Finding]:
    return [Finding("claim", 5, route.name, "good", "shown", "seen")]


async def losing_its_guest(context: object, route: Route) -> list[Finding]:
    raise GuestLost("QEMU is gone")


async def vanishing(context: object, route: Route) -> list[Finding]:
    raise FileNotFoundError("/proc/1/mem")


async def forever(context: object, route: Route) -> list[Finding]:
    await asyncio.sleep(3600)
    return []


@pytest.mark.parametrize("step", [losing_its_guest, vanishing])
def test_the_other_steps_run_after_one_fails(step: Any) -> None:
    found = collected(Step("bad", "claim", (2, 4), step), Step("good", "claim", (5,), succeeding))
    assert [(f.claim, f.build, f.found) for f in found.findings] == [
        *((claim, "a", "not testable") for claim in (2, 4)),
        *((claim, "a -> b", "not testable") for claim in (2, 4)),
        (5, "a", "shown"),
        (5, "a -> b", "shown"),
    ]
    assert "bad failed: " in found.findings[0].detail


def test_a_step_that_hangs_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.claims.campaign._GRACE_S", 0.0)
    slow = Step("slow", "claim", (2,), forever, upgrades=False, expected_s=0.0)
    found = collected(slow, left_s=0.05)
    assert [f.detail for f in found.findings] == ["timed out"]
    assert found.notes == ["slow on a timed out (--limit)"]


def test_a_step_without_time_is_not_started() -> None:
    found = collected(Step("late", "claim", (2,), forever, expected_s=120.0))
    assert {f.detail for f in found.findings} == {"no time was left (raise --limit)"}
    assert len(found.notes) == 2


def test_routes_are_each_build_to_itself_then_every_upgrade() -> None:
    versions = {"new": "11.1.3 (Debian)", "old": "9.2.1", "mid": "10.0.2"}
    builds = oldest_first([Build(k, "/qemu", v, "", "", ()) for k, v in versions.items()])
    campaign = Campaign(builds, boots=1, updates=1, seed=1, limit_s=1)
    assert [route.name for route in campaign.routes] == [
        *("old", "mid", "new", "old -> mid", "old -> new", "mid -> new")
    ]
    for campaign in (
        Campaign(builds, boots=1, updates=1, seed=1, limit_s=1, upgrades=False),
        Campaign(builds, boots=1, updates=1, seed=1, limit_s=1, assigned_only=True),
    ):
        assert [route.name for route in campaign.routes] == ["old", "mid", "new"]
