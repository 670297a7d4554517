"""All claims tested on the builds of one session, step by step, within a time limit."""

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
from results.records.harm import harm_of
from results.records.scenario import Build
from results.store.store import Store
from results.summary.failures.failed_runs import failed_runs
from runners.host.lock import host_lock

from .lab import in_the_lab
from .steps import Route, Step, StepContext, steps_for
from .vfio_devices import DECIDES, DeviceFindings, on_this_host

_GRACE_S = 30.0  # for a step that was started in time
_INTERRUPTED = "interrupted: the remaining steps were not run"


@dataclass(frozen=True, slots=True)
class Campaign:
    """What to test, on which builds (oldest first), in how many seconds."""

    builds: Sequence[Build]
    boots: int
    updates: int
    seed: int
    limit_s: int
    claims: tuple[int, ...] = ()  # empty: all
    upgrades: bool = True  # from older to newer builds too
    devices: tuple[str, ...] = ()  # addresses of PCI devices to assign
    lab: bool = True  # without such devices: use the lab's, where it has been made
    assigned_only: bool = False  # only the claims that `devices` decide
    share: bool = False  # although another session measures on the host

    @property
    def routes(self) -> list[Route]:
        """Each build to itself, then every upgrade."""
        found = [Route(build, build) for build in self.builds]
        if self.upgrades and not self.assigned_only:
            found += [Route(old, new) for old, new in combinations(self.builds, 2)]
        return found


def oldest_first(builds: Sequence[Build]) -> list[Build]:
    return sorted(builds, key=_version)


def _version(build: Build) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", build.version.split()[0])[:3]))


def run_campaign(campaign: Campaign, store: Store, command: Sequence[str]) -> ClaimsDocument:
    """Run the campaign in one session and store its findings, after an interrupt those so far.

    Raises HostUnfit when no guest can run, KeyboardInterrupt after an interrupt.
    """
    began = time.monotonic()
    deadline = began + campaign.limit_s
    base = [resolve(find_scenario("anon", BUILTIN))]
    (scenario,), machine = on_common_machine(base, campaign.builds, None)
    extra = {"seed": str(campaign.seed), "machine": machine, "purpose": "claims"}
    with (
        SessionProgress(None, boot_lines=False) as progress,
        host_lock(progress.note, share=campaign.share),
    ):
        assigned = _assigned_devices(campaign, store, progress, command, extra, deadline)
        collected = Collected(assigned.findings, assigned.notes)
        if campaign.assigned_only:
            if not assigned.session:
                raise HostUnfit("; ".join(f.detail for f in collected.findings[:1]))
            return _stored(campaign, store, began, assigned.session, collected)
        with open_session([scenario], campaign.builds, store, progress, command, extra) as live:
            context = StepContext(
                live.experiment, scenario, campaign.boots, campaign.updates, campaign.seed
            )
            steps = steps_for(campaign.claims)
            complete = False
            try:
                asyncio.run(
                    run_steps(context, campaign.routes, steps, deadline, collected, progress.note)
                )
                complete = True
            finally:
                collected.notes += [] if complete else [_INTERRUPTED]
                lab = assigned.session
                document = _stored(campaign, store, began, live.session.id, collected, lab)
            live.status = document.exit_code
    return document


def _stored(
    campaign: Campaign,
    store: Store,
    began: float,
    session: str,
    collected: Collected,
    lab: str = "",
) -> ClaimsDocument:
    document = ClaimsDocument(
        schema=SCHEMA,
        session=session,
        made_unix_ns=time.time_ns(),
        took_s=round(time.monotonic() - began),
        builds={build.label: build.version for build in campaign.builds},
        columns=tuple(route.name for route in campaign.routes),
        findings=tuple(collected.findings),
        claims=DECIDES if campaign.assigned_only else campaign.claims,
        lab=lab,
        notes=tuple(collected.notes),
        damaged=tuple(
            run.id
            for each in filter(None, (session, lab))
            for run in failed_runs(store, each)
            if harm_of(run) == "damage"
        ),
    )
    write_claims(store.path, document)
    return document


def _assigned_devices(
    campaign: Campaign,
    store: Store,
    progress: SessionProgress,
    command: Sequence[str],
    extra: dict[str, str],
    deadline: float,
) -> DeviceFindings:
    """What assigned devices decide: on this host, in the lab, or nothing."""
    if campaign.claims and not set(DECIDES) & set(campaign.claims):
        return DeviceFindings()
    builds = campaign.builds
    if campaign.devices:
        return on_this_host(store, builds, campaign.devices, progress, command, extra, deadline)
    if not campaign.lab:
        return DeviceFindings()
    return in_the_lab(store, builds, command, campaign.limit_s, progress.note)


@dataclass(slots=True)
class Collected:
    """The findings so far, and a note on each step that was skipped."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def run_steps(
    context: StepContext,
    routes: Sequence[Route],
    steps: Sequence[Step],
    deadline: float,
    collected: Collected,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Run each of `steps` on every route until `deadline` (time.monotonic).

    A step that fails makes its claims `not testable`, and the others still run. A step that is
    still running after the deadline is cancelled.
    """
    for step in steps:
        for route in routes:
            if route.upgrade and not step.upgrades:
                continue
            began = time.monotonic()
            findings = await _run_step(context, route, step, deadline, collected)
            collected.findings += findings
            others = ", ".join(f"{f.found} {f.test}" for f in findings if f.found != "shown")
            took = time.monotonic() - began
            note(f"{route.name}: {step.title}, {took:.0f} s: {others or 'as claimed'}")
            context.experiment.store.sync()


async def _run_step(
    context: StepContext, route: Route, step: Step, deadline: float, collected: Collected
) -> list[Finding]:
    """The findings of one step, or the reason why it has none."""
    left = deadline - time.monotonic()
    if left < step.expected_s:
        collected.notes.append(f"no time was left for {step.title} on {route.name} (--limit)")
        return not_testable(step, route.name, "no time was left (raise --limit)")
    try:
        async with asyncio.timeout(left + _GRACE_S):
            return await step.run(context, route)
    except TimeoutError:
        collected.notes.append(f"{step.title} on {route.name} timed out (--limit)")
        return not_testable(step, route.name, "timed out")
    except (PausebenchError, OSError) as error:  # a QEMU that has exited raises either
        return not_testable(step, route.name, f"{step.title} failed: {error}")


def not_testable(step: Step, build: str, why: str) -> list[Finding]:
    """The findings of a step that did not complete."""
    return [
        Finding(step.topic, claim, build, step.title, "not testable", why)
        for claim in step.claims or (0,)
    ]
