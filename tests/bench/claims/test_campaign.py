"""The order of a campaign's steps, without a guest."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from bench.claims.campaign import Campaign, Tried, oldest_first, try_all
from bench.claims.steps import Route, Step
from results.claims.catalogue import Finding
from results.errors import GuestLost
from results.records.scenario import Build

BUILD, LATER = (Build(label, "/qemu", "10.0.2", "", "", ()) for label in ("a", "b"))


class Synced:
    """Stands for an experiment: all that the loop itself asks of one."""

    store = SimpleNamespace(sync=lambda: None)


def carried_out(*steps: Step, left_s: float = 60.0) -> Tried:
    attempt: Any = SimpleNamespace(experiment=Synced)
    tried = Tried()
    routes = (Route(BUILD, BUILD), Route(BUILD, LATER))
    asyncio.run(try_all(attempt, routes, steps, time.monotonic() + left_s, tried))
    return tried


async def well(attempt: object, route: Route) -> list[Finding]:
    return [Finding("claim", 5, route.name, "well", "shown", "seen")]


async def badly(attempt: object, route: Route) -> list[Finding]:
    raise GuestLost("QEMU is gone")


async def vanishing(attempt: object, route: Route) -> list[Finding]:
    raise FileNotFoundError("/proc/1/mem")


async def forever(attempt: object, route: Route) -> list[Finding]:
    await asyncio.sleep(3600)
    return []


@pytest.mark.parametrize("step", [badly, vanishing])
def test_a_step_that_goes_wrong_leaves_the_others(step: Any) -> None:
    tried = carried_out(Step("bad", "claim", (2, 4), step), Step("good", "claim", (5,), well))
    found = [(f.claim, f.build, f.found) for f in tried.findings]
    assert found == [
        *((claim, "a", "not testable") for claim in (2, 4)),
        *((claim, "a -> b", "not testable") for claim in (2, 4)),
        (5, "a", "shown"),
        (5, "a -> b", "shown"),
    ]
    assert "bad went wrong: " in tried.findings[0].detail


def test_a_step_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.claims.campaign._GRACE_S", 0.0)
    slow = Step("slow", "claim", (2,), forever, upgrades=False, expected_s=0.0)
    tried = carried_out(slow, left_s=0.05)
    assert [f.detail for f in tried.findings] == ["it took too long and was cut off"]
    assert tried.notes == ["slow on a took too long and was cut off (--limit)"]


def test_a_step_without_time_is_not_begun() -> None:
    tried = carried_out(Step("late", "claim", (2,), forever, expected_s=120.0))
    assert {f.detail for f in tried.findings} == {"no time was left, a larger --limit gives more"}
    assert len(tried.notes) == 2


def test_routes_are_each_build_with_itself_then_every_upgrade() -> None:
    versions = {"new": "11.1.3 (Debian)", "old": "9.2.1", "mid": "10.0.2"}
    builds = oldest_first([Build(k, "/qemu", v, "", "", ()) for k, v in versions.items()])
    campaign = Campaign(builds, boots=1, updates=1, seed=1, limit_s=1)
    assert [route.name for route in campaign.routes] == [
        *("old", "mid", "new", "old -> mid", "old -> new", "mid -> new")
    ]
    for alone in (
        Campaign(builds, boots=1, updates=1, seed=1, limit_s=1, upgrades=False),
        Campaign(builds, boots=1, updates=1, seed=1, limit_s=1, assigned_only=True),
    ):
        assert [route.name for route in alone.routes] == ["old", "mid", "new"]
