"""Private RAM and cpr-exec: QEMU does not block the update, and the RAM is lost."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.measurement.experiment import Experiment
from results.claims.catalogue import Finding
from results.errors import GuestLost
from results.qemu.modes import lacks
from results.records.run import Run
from results.records.scenario import MIB, Build
from runners.devices.hotplug import dimm_placement, host_address
from runners.qemu.command_line import Variation
from runners.qemu.guest import Guest
from runners.system.process_memory import read_memory, write_memory

from .refusal_attempts import RAM_BYTES, Attempts

DIMM_BYTES = 16 * MIB
_PAGE = 4096
_PAGES = DIMM_BYTES // _PAGE
_BACKEND = "dimm0"
_WARNING = re.compile(r"\b(cpr|share|private|dimm0)\b", re.IGNORECASE)
_REFUSED = "is not compatible with CPR"
TEST = "cpr-exec with RAM in a private backend"


@dataclass(frozen=True, slots=True)
class _Update:
    """One update of a guest with a DIMM: how many of its pages were lost, None if unreadable."""

    run: Run
    pages: int = _PAGES
    lost: int | None = None
    log: str = ""


async def lose_private_ram(experiment: Experiment, build: Build) -> Finding:
    """Write a pattern into a private DIMM, update by cpr-exec, and count the lost pages.

    Two controls: all pages of a shared DIMM must be kept by the same update, and cpr-transfer must
    refuse the private DIMM.
    """
    if reason := lacks(build, "cpr-exec"):
        return Finding("hazard", 0, build.label, TEST, "not testable", reason)
    attempts = Attempts(experiment, build, build)
    refused = await _refused(attempts)
    shared = await _updated(attempts, "on")
    private = await _updated(attempts, "off")
    evidence = (private.run.id, shared.run.id, refused.id)
    if shared.lost or shared.lost is None or private.lost is None:
        reason = private.run.reason or shared.run.reason or f"{shared.lost} shared pages were lost"
        return Finding(
            "hazard", 0, build.label, TEST, "not testable", f"the control failed: {reason}",
            evidence, quote=refused.reason,
        )  # fmt: skip
    warnings = [line for line in private.log.splitlines() if _WARNING.search(line)]
    logged = f"with the message: {warnings[-1]}" if warnings else "without a message in its log"
    blocked = _REFUSED in refused.reason
    detail = (
        f"{private.lost} of {private.pages} pages of a DIMM with share=off were lost by cpr-exec, "
        f"{logged} (with share=on {shared.lost}); cpr-transfer of the same guest was "
        f"{'refused' if blocked else 'not refused: ' + (refused.reason or 'it completed')}"
    )
    return Finding(
        "hazard", 0, build.label, TEST, "shown" if private.lost else "refuted", detail, evidence,
        quote=refused.reason if blocked else "",
        fix="set share=on on every memory backend when the guest is started",
    )  # fmt: skip


def plugged(share: str) -> Variation:
    """Options for an additional backend, plugged as a DIMM."""
    return Variation(
        (
            *("-m", f"size={RAM_BYTES // MIB}M,slots=2,maxmem=256M"),
            *("-object", f"memory-backend-ram,id={_BACKEND},size={DIMM_BYTES},share={share}"),
            *("-device", f"pc-dimm,id=plugged0,memdev={_BACKEND}"),
        )
    )


async def _refused(attempts: Attempts) -> Run:
    name = "hazard.private-ram-transfer"
    async with attempts.booted(name, plugged("off")) as booted:
        return await booted.update(name)


async def _updated(attempts: Attempts, share: str) -> _Update:
    name = "hazard.private-ram-exec" if share == "off" else "hazard.shared-ram-exec"
    async with attempts.booted(name, plugged(share)) as booted:
        guest = booted.guest
        wanted = [number.to_bytes(8, "little") * (_PAGE // 8) for number in range(1, 1 + _PAGES)]
        write_memory(guest.qemu.pid, await _address(guest), b"".join(wanted))
        run = await booted.update(name, mode="cpr-exec")
        if not booted.arrived:
            return _Update(run)
        found = read_memory(guest.qemu.pid, await _address(guest), DIMM_BYTES)
        lost = sum(found[i * _PAGE : (i + 1) * _PAGE] != page for i, page in enumerate(wanted))
        return _Update(run, lost=lost, log=guest.qemu.log_tail())


async def _address(guest: Guest) -> int:
    """The address of the DIMM in the guest's QEMU."""
    at = (await dimm_placement(guest.qemu)).get(_BACKEND)
    address = await host_address(guest.qemu, at["addr"]) if at is not None else None
    if address is None:
        raise GuestLost("QEMU does not report the address of its DIMM", guest.qemu.argv)
    return address
