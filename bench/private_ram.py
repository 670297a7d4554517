"""Private RAM across cpr-exec: QEMU does not block it, and it is gone."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from results.claims import Finding
from results.errors import GuestLost
from results.modes import lacks
from results.records import MIB, Build, Run
from runners.command import Variation
from runners.guest import Guest

from .attempts import RAM_BYTES, Attempts
from .experiment import Experiment

DIMM_BYTES = 16 * MIB
_PAGE = 4096
_ADDRESS = re.compile(r"Host virtual address for .* is (0x[0-9a-f]+)")
_WARNING = re.compile(r"\b(cpr|share|private|dimm0)\b", re.IGNORECASE)
_REFUSED = "is not compatible with CPR"
TEST = "RAM of a private backend across cpr-exec"


@dataclass(frozen=True, slots=True)
class _Tried:
    """One update of a guest with a DIMM: pages lost of it, None where it could not be read."""

    run: Run
    pages: int = DIMM_BYTES // _PAGE
    lost: int | None = None
    log: str = ""


async def lose_private_ram(experiment: Experiment, build: Build) -> Finding:
    """Write a pattern into a DIMM that is not shared, update by cpr-exec, and count what is lost.

    Beside it the same guest with a shared DIMM, whose pages must all come through, and the same
    private DIMM by cpr-transfer, which must be refused.
    """
    if reason := lacks(build, "cpr-exec"):
        return Finding("hazard", 0, build.label, TEST, "not testable", reason)
    attempts = Attempts(experiment, build, build)
    refused = await _refused(attempts)
    shared = await _tried(attempts, "on")
    private = await _tried(attempts, "off")
    evidence = (private.run.id, shared.run.id, refused.id)
    if shared.lost or shared.lost is None or private.lost is None:
        reason = private.run.reason or shared.run.reason or f"{shared.lost} shared pages were lost"
        return Finding(
            "hazard", 0, build.label, TEST, "not testable", f"the control failed: {reason}",
            evidence, quote=refused.reason,
        )  # fmt: skip
    words = [line for line in private.log.splitlines() if _WARNING.search(line)]
    said = f"it said: {words[-1]}" if words else "without a word in its log"
    blocked = _REFUSED in refused.reason
    detail = (
        f"{private.lost} of {private.pages} pages of a DIMM with share=off were lost by cpr-exec, "
        f"{said} (with share=on {shared.lost}); the same guest by cpr-transfer was "
        f"{'refused' if blocked else 'not refused: ' + (refused.reason or 'it went through')}"
    )
    return Finding(
        "hazard", 0, build.label, TEST, "shown" if private.lost else "refuted", detail, evidence,
        quote=refused.reason if blocked else "",
        fix="give every memory backend share=on before the guest is started",
    )  # fmt: skip


def plugged(share: str) -> Variation:
    """A command line with one more backend, plugged as a DIMM."""
    return Variation(
        (
            *("-m", f"size={RAM_BYTES // MIB}M,slots=2,maxmem=256M"),
            *("-object", f"memory-backend-ram,id=dimm0,size={DIMM_BYTES},share={share}"),
            *("-device", "pc-dimm,id=plugged0,memdev=dimm0"),
        )
    )


async def _refused(attempts: Attempts) -> Run:
    name = "hazard.private-ram-transfer"
    async with attempts.booted(name, plugged("off")) as booted:
        return await booted.update(name)


async def _tried(attempts: Attempts, share: str) -> _Tried:
    name = "hazard.private-ram-exec" if share == "off" else "hazard.shared-ram-exec"
    async with attempts.booted(name, plugged(share)) as booted:
        guest = booted.guest
        wanted = [number.to_bytes(8, "little") * (_PAGE // 8) for number in range(1, 1 + _PAGES)]
        _write(guest.qemu.pid, await dimm_address(guest), b"".join(wanted))
        run = await booted.update(name, mode="cpr-exec")
        if not booted.arrived:
            return _Tried(run)
        found = _read(guest.qemu.pid, await dimm_address(guest))
        lost = sum(found[i * _PAGE : (i + 1) * _PAGE] != page for i, page in enumerate(wanted))
        return _Tried(run, lost=lost, log=guest.qemu.log_tail())


_PAGES = DIMM_BYTES // _PAGE


async def dimm_address(guest: Guest) -> int:
    """Where the guest's QEMU has the DIMM in its own memory."""
    devices = await guest.qemu.execute("query-memory-devices")
    physical = next((d["data"]["addr"] for d in devices if d.get("type") == "dimm"), None)
    if physical is None:
        raise GuestLost("QEMU has no DIMM", guest.qemu.argv)
    said = await guest.qemu.execute(
        "human-monitor-command", {"command-line": f"gpa2hva {physical:#x}"}
    )
    match = _ADDRESS.search(str(said))
    if match is None:
        raise GuestLost(f"QEMU does not tell where its DIMM lies: {said}", guest.qemu.argv)
    return int(match[1], 16)


def _write(pid: int, address: int, data: bytes) -> None:
    fd = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    try:
        if os.pwrite(fd, data, address) != len(data):
            raise GuestLost("the DIMM could not be written to its end")
    finally:
        os.close(fd)


def _read(pid: int, address: int) -> bytes:
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        return os.pread(fd, DIMM_BYTES, address)
    finally:
        os.close(fd)
