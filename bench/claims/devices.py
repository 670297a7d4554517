"""Ordinary devices in a transfer: which work, how long the pause is, what QEMU refuses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from bench.measurement.experiment import Experiment
from bench.measurement.scenarios import on_common_machine, resolve
from bench.measurement.schedule import Trial
from results.claims.catalogue import Finding, Found, pair_name
from results.claims.guest_outcome import guest_outcome
from results.errors import HostUnfit, PausebenchError
from results.qemu.log import error_messages, of_side
from results.records.run import Run
from results.records.scenario import MIB, Build, Scenario
from results.summary.run_line import figures
from runners.devices.virtio import ORDINARY, OrdinaryDevice, Settings

from .linux_guest import try_linux

_RAM_BYTES = 64 * MIB
_ERRORS = 3


async def try_devices(
    experiment: Experiment,
    old_build: Build,
    new_build: Build,
    devices: Sequence[OrdinaryDevice] = ORDINARY,
    *,
    linux: bool = True,
) -> list[Finding]:
    """Transfer a guest with each device from `old_build` to `new_build`; one finding each.

    The guest is the payload, which leaves the device idle; with `linux` also a Linux guest that
    uses its devices during the transfer. Runs are stored as device.NAME and device.linux-NAME.
    """
    found = [await _with_device(experiment, old_build, new_build, device) for device in devices]
    if linux:
        builds = pair_name(old_build.label, new_build.label)
        found += await try_linux(experiment, old_build, new_build, builds)
    return found


async def _with_device(
    experiment: Experiment, old: Build, new: Build, device: OrdinaryDevice
) -> Finding:
    experiment.progress.doing(f"{device.what}, {pair_name(old.label, new.label)}")
    async with AsyncExitStack() as stack:
        try:
            settings = await device.set_up(stack, experiment.place.directory, old)
        except HostUnfit as error:
            return _finding(device, old, new, "not testable", str(error))
        return await _transferred(experiment, old, new, device, settings)


async def _transferred(
    experiment: Experiment, old: Build, new: Build, device: OrdinaryDevice, settings: Settings
) -> Finding:
    name = f"device.{device.name}"
    plain = Scenario(name, "anon", device.what, ram_bytes=_RAM_BYTES)
    (scenario,), _ = on_common_machine([plain], (old, new), None)
    trial = Trial(resolve(scenario), old, new, 1, 1, f"{name}+{old.label}+{new.label}")
    try:
        booted = await experiment.boot(trial, settings.old)
    except PausebenchError as error:
        errors = _last_errors(getattr(error, "log_tail", ""))
        if device.needs is not None and not device.needs.exists():
            return _finding(device, old, new, "not testable", f"no {device.needs}", errors)
        return _finding(device, old, new, "refuted", f"the guest did not start: {error}", errors)
    async with booted:
        run = await booted.update(variation=settings.new)
    found = guest_outcome(run)
    if found == "shown":
        return _finding(device, old, new, found, figures(run), run=run)
    errors = _last_errors(of_side(run.log_tail, "new"))
    return _finding(device, old, new, found, run.reason, errors, run)


def _finding(
    device: OrdinaryDevice,
    old: Build,
    new: Build,
    found: Found,
    detail: str,
    quote: str = "",
    run: Run | None = None,
) -> Finding:
    evidence = (run.id,) if run is not None else ()
    fix = device.fix if found == "refuted" else ""
    builds = pair_name(old.label, new.label)
    return Finding("device", 0, builds, device.what, found, detail, evidence, quote, fix)


def _last_errors(log: str) -> str:
    return "; ".join(error_messages(log)[-_ERRORS:])
