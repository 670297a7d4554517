"""The claims about assigned devices, tested on a host that has VFIO and devices to assign."""

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
from results.claims.transfer_checks import VFIO_IDS, VFIO_PINS
from results.claims.transfer_verdict import TimelineCheck, decide
from results.errors import BuildUnfit, PausebenchError
from results.records.run import Run
from results.records.scenario import Build, Scenario
from results.store.store import Store
from runners.host import vfio_pci as devices

from .hotplug import try_hotplug
from .hotplug_cases import assigned

_SCENARIOS = {"type1": "vfio-type1", "iommufd": "vfio-iommufd"}  # by VFIO backend
_CHECKS: tuple[TimelineCheck, ...] = (VFIO_PINS, VFIO_IDS)
DECIDES = (3, 11, 12)  # claims
_PLUGGED = 2  # devices needed to plug and unplug
_EXPECTED_S = 30.0  # per VFIO backend and build: not started with less time left


@dataclass(slots=True)
class DeviceFindings:
    """Findings, their session (empty if there is none), and notes on what was skipped and why."""

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
) -> DeviceFindings:
    """Transfers with the devices, by each VFIO backend of the kernel, on each build with support.

    The first device is assigned when the guest starts, and driven if the payload knows it; with a
    second one both are plugged and unplugged. Nothing is started that would not end by `deadline`
    (time.monotonic). Raises UsageError for a device that cannot be assigned.
    """
    tested = DeviceFindings()
    devices.check_devices(addresses)
    fit = []
    for build in builds:
        try:
            devices.check_build(build)
        except BuildUnfit as error:
            tested.findings += untested([build], str(error))
        else:
            fit.append(build)
    missing = {backend: devices.missing_support(backend) for backend in _SCENARIOS}
    tested.notes += [f"not assigned by {name}: {why}" for name, why in missing.items() if why]
    backends = [name for name, why in missing.items() if not why]
    if not backends:
        tested.findings += untested(fit, "; ".join(filter(None, missing.values())))
    if not backends or not fit:
        return tested
    scenarios = [
        replace(find_scenario(_SCENARIOS[name], BUILTIN), devices=",".join(addresses), accel="kvm")
        for name in backends
    ]
    with open_session(scenarios, fit, store, progress, command, extra) as live:
        tested.session = live.session.id
        for build in fit:
            for scenario in scenarios:
                if time.monotonic() + _EXPECTED_S > deadline:
                    tested.findings += untested([build], "no time was left (raise --limit)")
                    tested.notes.append(f"no time was left for {scenario.id} on {build.label}")
                    continue
                tested.findings += asyncio.run(
                    _by_backend(live.experiment, build, scenario, addresses)
                )
        live.status = 3 if any(f.claim and f.found == "refuted" for f in tested.findings) else 0
    return tested


async def _by_backend(
    experiment: Experiment, build: Build, scenario: Scenario, addresses: Sequence[str]
) -> list[Finding]:
    """The findings with one VFIO backend on one build."""
    plain = replace(scenario, devices=addresses[0])
    trial = Trial(plain, build, build, 1, 2, f"{plain.id}+{build.label}")
    runs = await experiment.run([trial])
    found = judged(runs, experiment.store, build.label)
    if len(addresses) < _PLUGGED:
        why = "needs two devices to plug (repeat --device)"
        return [*found, _hotplug_untested(build, why, scenario.vfio)]
    kind = assigned(scenario, addresses)
    bare = replace(scenario, vfio="", devices="")
    try:
        found += await try_hotplug(experiment, build, build, bare, (kind,), scenario.vfio)
    except (PausebenchError, OSError) as error:  # a QEMU that has exited raises either
        found.append(_hotplug_untested(build, f"hot-plug failed: {error}", scenario.vfio))
    return found


def judged(runs: Iterable[Run], store: Store, build: str) -> list[Finding]:
    """The findings from transfers with assigned devices, by VFIO backend."""
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
            _hotplug_untested(build, why, "assigned devices"),
        )
    ]


def _hotplug_untested(build: Build, why: str, group: str) -> Finding:
    return Finding("ids", 12, build.label, f"{ANSWER} ({group})", "not testable", why)
