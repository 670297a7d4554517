"""Every claim put to the test on the builds of one session, step by step, in limited time."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from bench.measurement.progress import SessionProgress
from bench.measurement.scenarios import BUILTIN, find_scenario, on_common_machine, resolve
from bench.measurement.session import open_session
from results.claims.catalogue import Finding
from results.claims.document import SCHEMA, ClaimsDocument, write_claims
from results.errors import HostUnfit, PausebenchError
from results.records.scenario import Build
from results.store.store import Store

from .lab import in_the_lab
from .steps import Attempt, Route, Step, steps_for
from .vfio_devices import DECIDES, Tested, on_this_host

_GRACE_S = 30.0  # for a step that was begun in time
_INTERRUPTED = "interrupted: what was not tried yet is missing"


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is to be tried, on which builds (from old to new), in how many seconds."""

    builds: Sequence[Build]
    boots: int
    updates: int
    seed: int
    limit_s: int
    claims: tuple[int, ...] = ()  # empty: all
    upgrades: bool = True  # from older to newer builds too
    devices: tuple[str, ...] = ()  # addresses of PCI devices to assign
    lab: bool = True  # without such devices: assigned ones in the lab, where it has been made
    assigned_only: bool = False  # nothing but what `devices` decide

    @property
    def routes(self) -> list[Route]:
        """Each build with itself, then every upgrade."""
        found = [Route(build, build) for build in self.builds]
        if self.upgrades and not self.assigned_only:
            found += [Route(old, new) for old, new in combinations(self.builds, 2)]
        return found


def oldest_first(builds: Sequence[Build]) -> list[Build]:
    return sorted(builds, key=_version)


def _version(build: Build) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", build.version.split()[0])[:3]))


def carry_out(campaign: Campaign, store: Store, command: Sequence[str]) -> ClaimsDocument:
    """Try all of it in one session, and keep what was found; after an interrupt what there is.

    Raises HostUnfit when nothing can be tried, KeyboardInterrupt after an interrupt.
    """
    began = time.monotonic()
    deadline = began + campaign.limit_s
    base = [resolve(find_scenario("anon", BUILTIN))]
    (scenario,), machine = on_common_machine(base, campaign.builds, None)
    extra = {"seed": str(campaign.seed), "machine": machine, "purpose": "claims"}
    with SessionProgress(None, boot_lines=False) as progress:
        assigned = _assigned(campaign, store, progress, command, extra, deadline)
        tried = Tried(assigned.findings, assigned.notes)
        if campaign.assigned_only:
            if not assigned.session:
                raise HostUnfit("; ".join(f.detail for f in tried.findings[:1]))
            return _keep(campaign, store, began, assigned.session, tried)
        with open_session([scenario], campaign.builds, store, progress, command, extra) as live:
            attempt = Attempt(
                live.experiment, scenario, campaign.boots, campaign.updates, campaign.seed
            )
            steps = steps_for(campaign.claims)
            complete = False
            try:
                asyncio.run(
                    try_all(attempt, campaign.routes, steps, deadline, tried, progress.note)
                )
                complete = True
            finally:
                tried.notes += [] if complete else [_INTERRUPTED]
                lab = assigned.session
                document = _keep(campaign, store, began, live.session.id, tried, lab)
            live.status = document.exit_code
    return document


def _keep(
    campaign: Campaign, store: Store, began: float, session: str, tried: Tried, lab: str = ""
) -> ClaimsDocument:
    document = ClaimsDocument(
        schema=SCHEMA,
        session=session,
        made_unix_ns=time.time_ns(),
        took_s=round(time.monotonic() - began),
        builds={build.label: build.version for build in campaign.builds},
        columns=tuple(route.name for route in campaign.routes),
        findings=tuple(tried.findings),
        claims=DECIDES if campaign.assigned_only else campaign.claims,
        lab=lab,
        notes=tuple(tried.notes),
    )
    write_claims(store.path, document)
    return document


def _assigned(
    campaign: Campaign,
    store: Store,
    progress: SessionProgress,
    command: Sequence[str],
    extra: dict[str, str],
    deadline: float,
) -> Tested:
    """What assigned devices decide: on this host, in the lab, or not at all."""
    if campaign.claims and not set(DECIDES) & set(campaign.claims):
        return Tested()
    builds = campaign.builds
    if campaign.devices:
        return on_this_host(store, builds, campaign.devices, progress, command, extra, deadline)
    if not campaign.lab:
        return Tested()
    return in_the_lab(store, builds, command, campaign.limit_s, progress.note)


@dataclass(slots=True)
class Tried:
    """What was found so far, and a note on each step that was left out."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def try_all(
    attempt: Attempt,
    routes: Sequence[Route],
    steps: Sequence[Step],
    deadline: float,
    tried: Tried,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Carry out `steps`, each on every route, until `deadline` (time.monotonic), into `tried`.

    What goes wrong in a step is said of the claims that it was to decide; the other steps go on.
    One that is at work beyond the deadline is cut off.
    """
    for step in steps:
        for route in routes:
            if route.upgrade and not step.upgrades:
                continue
            began = time.monotonic()
            found = await _within(attempt, route, step, deadline, tried)
            tried.findings += found
            said = ", ".join(f"{f.found} {f.test}" for f in found if f.found != "shown")
            took = time.monotonic() - began
            note(f"{route.name}: {step.about}, {took:.0f} s: {said or 'as claimed'}")
            attempt.experiment.store.sync()


async def _within(
    attempt: Attempt, route: Route, step: Step, deadline: float, tried: Tried
) -> list[Finding]:
    """The findings of one step, or why there are none."""
    left = deadline - time.monotonic()
    if left < step.expected_s:
        tried.notes.append(f"no time was left for {step.about} on {route.name} (--limit)")
        return not_tried(step, route.name, "no time was left, a larger --limit gives more")
    try:
        async with asyncio.timeout(left + _GRACE_S):
            return await step.try_on(attempt, route)
    except TimeoutError:
        tried.notes.append(f"{step.about} on {route.name} took too long and was cut off (--limit)")
        return not_tried(step, route.name, "it took too long and was cut off")
    except (PausebenchError, OSError) as error:  # a QEMU that is gone is met as either
        return not_tried(step, route.name, f"{step.about} went wrong: {error}")


def not_tried(step: Step, build: str, why: str) -> list[Finding]:
    """The findings of a step that did not come to its end."""
    return [
        Finding(step.topic, claim, build, step.about, "not testable", why)
        for claim in step.claims or (0,)
    ]
