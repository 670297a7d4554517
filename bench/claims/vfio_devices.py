"""The claims about assigned devices, put to the test on a host that has VFIO and devices for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from bench.measurement.experiment import Experiment, Progress
from bench.measurement.scenarios import BUILTIN, find_scenario
from bench.measurement.schedule import Trial
from bench.measurement.session import open_session
from results.claims.catalogue import Finding
from results.claims.hotplug import ANSWER
from results.claims.transfer_checks import VFIO_IDS, VFIO_PINS, TimelineCheck, decide
from results.errors import BuildUnfit, PausebenchError
from results.records.run import Run
from results.records.scenario import Build, Scenario
from results.store.store import Store
from runners.host import vfio_pci as devices

from .hotplug import try_plugging
from .hotplug_cases import assigned

_SCENARIOS = {"type1": "vfio-type1", "iommufd": "vfio-iommufd"}  # by the way of assignment
_CHECKS: tuple[TimelineCheck, ...] = (VFIO_PINS, VFIO_IDS)
DECIDES = (3, 11, 12)  # claims
_PLUGGED = 2  # devices that hot-plug and unplug take
_EXPECTED_S = 30.0  # of one way on one build: is not begun with less time left


@dataclass(slots=True)
class Tested:
    """What was found, the session that it was found in (none: empty), what was left out and why."""

    findings: list[Finding] = field(default_factory=list)
    session: str = ""
    notes: list[str] = field(default_factory=list)


def on_this_host(
    store: Store,
    builds: Sequence[Build],
    addresses: Sequence[str],
    progress: Progress,
    command: Sequence[str],
    extra: dict[str, str],
    deadline: float,
) -> Tested:
    """Transfers with the devices, in each way that the kernel knows, on each build that can.

    The first device is in the guest from its start and is driven where the payload knows it; with
    a second one both are plugged and unplugged. Nothing is begun that would not end by `deadline`
    (time.monotonic). Raises UsageError for a device that cannot be lent.
    """
    tested = Tested()
    devices.check_devices(addresses)
    fit = []
    for build in builds:
        try:
            devices.check_build(build)
        except BuildUnfit as error:
            tested.findings += untested([build], str(error))
        else:
            fit.append(build)
    missing = {way: devices.missing_support(way) for way in _SCENARIOS}
    tested.notes += [f"not assigned by {way}: {why}" for way, why in missing.items() if why]
    ways = [way for way, why in missing.items() if not why]
    if not ways:
        tested.findings += untested(fit, "; ".join(filter(None, missing.values())))
    if not ways or not fit:
        return tested
    scenarios = [
        replace(find_scenario(_SCENARIOS[way], BUILTIN), devices=",".join(addresses), accel="kvm")
        for way in ways
    ]
    with open_session(scenarios, fit, store, progress, command, extra) as live:
        tested.session = live.session.id
        for build in fit:
            for scenario in scenarios:
                if time.monotonic() + _EXPECTED_S > deadline:
                    tested.findings += untested([build], "no time was left (--limit)")
                    tested.notes.append(f"no time was left for {scenario.id} on {build.label}")
                    continue
                tested.findings += asyncio.run(_tried(live.experiment, build, scenario, addresses))
        live.status = 3 if any(f.claim and f.found == "refuted" for f in tested.findings) else 0
    return tested


async def _tried(
    experiment: Experiment, build: Build, scenario: Scenario, addresses: Sequence[str]
) -> list[Finding]:
    """One way of assignment on one build."""
    plain = replace(scenario, devices=addresses[0])
    trial = Trial(plain, build, build, 1, 2, f"{plain.id}+{build.label}")
    runs = await experiment.run([trial])
    found = judged(runs, experiment.store, build.label)
    if len(addresses) < _PLUGGED:
        why = "needs two devices that can be plugged (--device twice)"
        return [*found, _of_plugging(build, why, scenario.vfio)]
    kind = assigned(scenario, addresses)
    bare = replace(scenario, vfio="", devices="")
    try:
        found += await try_plugging(experiment, build, build, bare, (kind,), scenario.vfio)
    except (PausebenchError, OSError) as error:  # a QEMU that is gone is met as either
        found.append(_of_plugging(build, f"hot-plug went wrong: {error}", scenario.vfio))
    return found


def judged(runs: Iterable[Run], store: Store, build: str) -> list[Finding]:
    """What transfers with assigned devices say, by the way in which they were assigned."""
    found = []
    recordings = [store.recording(run.id) for run in runs]
    for vfio in dict.fromkeys(r.scenario.vfio for r in recordings):
        mine = [r for r in recordings if r.scenario.vfio == vfio]
        found += [decide(check, build, mine, f"{check.test} ({vfio})") for check in _CHECKS]
    return found


def untested(builds: Sequence[Build], why: str) -> list[Finding]:
    """One finding for each claim that assigned devices decide."""
    return [
        found
        for build in builds
        for found in (
            *(
                Finding("claim", check.claim, build.label, check.test, "not testable", why)
                for check in _CHECKS
            ),
            _of_plugging(build, why, "assigned devices"),
        )
    ]


def _of_plugging(build: Build, why: str, of: str) -> Finding:
    return Finding("ids", 12, build.label, f"{ANSWER} ({of})", "not testable", why)
