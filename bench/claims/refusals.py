"""The refusals of cpr-transfer, each provoked on a real guest that must stay unharmed.

Nothing listens on the sockets of an attempt. A QEMU that does not refuse it fails to connect at
once, instead of waiting without a timeout.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.measurement.experiment import Experiment
from results.claims.catalogue import Finding
from results.claims.refusal_verdicts import decide, decide_allowed, untestable
from results.claims.refusals import (
    ACCEPTED,
    EPC,
    REFUSALS,
    VFIO,
    VFIO_FUNCTIONS,
    Refusal,
    find,
    release,
)
from results.errors import GuestLost, PausebenchError
from results.qemu.log import last_message
from results.records.recording import Process, Recording
from results.records.scenario import MIB, Build
from runners.builds.elf import read_elf
from runners.qemu.command_line import NO_VARIATION, Sockets, Variation, channel
from runners.qemu.guest import Guest, start_qemu
from runners.qemu.process import Qemu
from runners.system.timeouts import scaled_timeout

from .refusal_attempts import (
    RAM_BYTES,
    Answer,
    Attempts,
    end_qemu,
    expect_refusal,
    transfer_until_valid,
)

_START_S = scaled_timeout(10.0)

_DIMM = ("-m", f"size={RAM_BYTES // MIB}M,slots=2,maxmem=256M", "-device", "pc-dimm,memdev=m1")
_VGA = ("-device", "VGA")
# Attempts that need a guest of their own: name → how its QEMU is started.
_STARTED: dict[str, Variation] = {
    "private-aux-ram": Variation(_VGA, aux_ram_share=False),
    "private-backend": Variation(
        ("-object", "memory-backend-ram,id=m1,size=16M,share=off", *_DIMM)
    ),
    "invtsc": Variation(("-cpu", "qemu64,+invtsc")),
    "ivshmem-peer": Variation(
        (
            *("-object", "memory-backend-ram,id=iv,size=1M,share=on"),
            *("-device", "ivshmem-plain,memdev=iv"),
        )
    ),
    "virtio-sound": Variation(
        ("-audiodev", "none,id=a0", "-device", "virtio-sound-pci,audiodev=a0")
    ),
    "nvme": Variation(
        ("-drive", "if=none,id=nv,driver=null-co,size=1M", "-device", "nvme,serial=1,drive=nv")
    ),
    "no-main-channel": NO_VARIATION,
}
# The same guests without the cause: these must be transferred.
_ALLOWED: dict[str, tuple[str, Variation]] = {
    "private-aux-ram": ("the same guest with aux-ram-share=on", Variation(_VGA)),
    "private-backend": (
        "the same pc-dimm with share=on",
        Variation(("-object", "memory-backend-ram,id=m1,size=16M,share=on", *_DIMM)),
    ),
}
_CAPABILITIES = {
    "postcopy": ("postcopy-ram",),
    "background-snapshot": ("background-snapshot",),
    "colo": ("return-path", "x-colo"),  # since QEMU 11 the second depends on the first
}


def _channels(paths: Sockets) -> dict[str, list[dict[str, object]]]:
    """Attempt → the channels of its `migrate`; the empty name has the right ones."""
    main, cpr = channel("main", paths.main), channel("cpr", paths.cpr)
    tcp: dict[str, object] = {"transport": "socket", "type": "inet"}
    return {
        "": [main, cpr],
        "no-cpr-channel": [main],
        "no-main-channel": [cpr],
        "two-cpr-channels": [main, cpr, cpr],
        "cpr-over-tcp": [main, _cpr(tcp | {"host": "127.0.0.1", "port": "9"})],
        "cpr-over-file": [main, _cpr(_file(paths.cpr))],
    }


def _cpr(address: dict[str, object]) -> dict[str, object]:
    return {"channel-type": "cpr", "addr": address}


def _file(path: Path) -> dict[str, object]:
    return {"transport": "file", "filename": str(path), "offset": 0}


async def try_refusals(
    experiment: Experiment, old_build: Build, new_build: Build, boot: int = 1
) -> list[Finding]:
    """Provoke every refusal on guests of `old_build`; each attempt is stored as a failed run.

    Transfers that must succeed go to `new_build`. `boot` distinguishes several calls in one
    session. Raises HostUnfit or BuildUnfit when no guest can be started at all.
    """
    attempts = Attempts(experiment, old_build, new_build, boot)
    found = await _on_one_guest(attempts)
    for name, variation in _STARTED.items():
        found += await _on_own_guest(attempts, find(name), variation)
    found += [await _epc(attempts), *_vfio(attempts)]
    order = {each.test: number for number, each in enumerate((*REFUSALS, EPC, VFIO))}
    return sorted(found, key=lambda finding: order.get(finding.test, len(order)))


# -- one guest for all attempts whose cause can be removed ----------------------------------------


async def _on_one_guest(attempts: Attempts) -> list[Finding]:
    """Channels, capabilities and modes; after all attempts the guest is transferred."""
    attempted: list[tuple[Refusal, Recording]] = []
    found: list[Finding] = []
    version = attempts.old_build.version
    async with attempts.booted("refusal.then-allowed") as booted:
        for name, attempt in _shared(attempts, booted.guest).items():
            refusal = find(name)
            if refusal.belongs(release(version)):
                attempted.append((refusal, await attempts.attempt(refusal, booted.guest, attempt)))
            else:
                since = ".".join(map(str, refusal.since))
                why = f"needs QEMU {since}, this is {version.split()[0]}"
                found.append(untestable(refusal, attempts.label, why))
        run = await transfer_until_valid(booted)
    return found + [decide(each, seen, attempts.label, run) for each, seen in attempted]


def _shared(attempts: Attempts, guest: Guest) -> dict[str, Callable[[], Awaitable[Answer]]]:
    found: dict[str, Callable[[], Awaitable[Answer]]] = {}
    for name in ("no-cpr-channel", "two-cpr-channels", "cpr-over-tcp", "cpr-over-file"):
        found[name] = partial(_migrate, attempts, guest, name)
    for name, capabilities in _CAPABILITIES.items():
        found[name] = partial(_migrate_with, attempts, guest, capabilities)
    tcp: dict[str, object] = {"transport": "socket", "type": "inet"}
    tcp |= {"host": "127.0.0.1", "port": "0"}
    found["incoming-cpr-over-tcp"] = partial(_incoming, attempts, tcp)
    nothing = _file(attempts.experiment.place.directory / "nothing")
    found["incoming-cpr-over-file"] = partial(_incoming, attempts, nothing)
    found["cpr-exec-without-command"] = partial(_exec, attempts, guest)
    return found


async def _migrate(attempts: Attempts, guest: Guest, name: str = "") -> Answer:
    await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")
    channels = _channels(attempts.paths())[name]
    return await expect_refusal(guest.qemu, "migrate", {"channels": channels})


async def _migrate_with(attempts: Attempts, guest: Guest, names: tuple[str, ...]) -> Answer:
    try:
        for name in names:
            await _capability(guest.qemu, name, on=True)
        return await _migrate(attempts, guest)
    finally:
        for name in reversed(names):
            with suppress(PausebenchError):
                await _capability(guest.qemu, name, on=False)


async def _capability(qemu: Qemu, name: str, *, on: bool) -> None:
    capabilities = [{"capability": name, "state": on}]
    await qemu.execute("migrate-set-capabilities", capabilities=capabilities)


async def _exec(attempts: Attempts, guest: Guest) -> Answer:
    try:
        await guest.qemu.execute("migrate-set-parameters", mode="cpr-exec")
        return await expect_refusal(guest.qemu, "migrate", {"uri": f"file:{attempts.paths().main}"})
    finally:
        with suppress(PausebenchError):
            await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")


async def _incoming(attempts: Attempts, address: dict[str, object]) -> Answer:
    """Start a new QEMU that must refuse its own cpr channel."""
    given = ("-incoming", "defer", "-incoming", json.dumps(_cpr(address)))
    place = attempts.experiment.place
    new = start_qemu(attempts.scenario, attempts.new_build, place, variation=Variation(given))
    new.side = "new"
    answer = Answer(f"{ACCEPTED}new QEMU opened its monitor", "nobody")
    try:
        await new.connect(_START_S)
    except GuestLost as error:
        answer = Answer(last_message(error.log_tail), "new QEMU, at its start")
        if new.alive():
            answer = Answer(f"{ACCEPTED}{error}", "nobody")
    finally:
        answer.new = await end_qemu(new)
    return answer


# -- guests of their own --------------------------------------------------------------------------


async def _on_own_guest(
    attempts: Attempts, refusal: Refusal, variation: Variation
) -> list[Finding]:
    """Boot a guest that cannot be transferred, and attempt it; then one that can."""
    if not refusal.belongs(release(attempts.old_build.version)):
        return []
    channels = refusal.name if refusal.name == "no-main-channel" else ""
    label = attempts.label
    try:
        async with attempts.booted(f"refusal.{refusal.name}", variation) as booted:
            attempt = partial(_migrate, attempts, booted.guest, channels)
            recording = await attempts.attempt(refusal, booted.guest, attempt)
    except GuestLost as error:
        return [_never_started(attempts, refusal, error, "such a guest does not start here")]
    found = [decide(refusal, recording, label)]
    if refusal.name in _ALLOWED:
        test, allowed = _ALLOWED[refusal.name]
        async with attempts.booted(f"refusal.{refusal.name}-allowed", allowed) as booted:
            run = await transfer_until_valid(booted)
        found.append(decide_allowed(refusal, run, label, test))
    return found


def _never_started(attempts: Attempts, refusal: Refusal, error: GuestLost, why: str) -> Finding:
    """Old QEMU did not start with what it must refuse: QEMU's words, stored as a run."""
    words = last_message(error.log_tail) or str(error)
    old = Process(0, error.argv, (), "gone", error.log_tail)
    answer = Answer(words, "old QEMU, at its start")
    run = attempts.keep(refusal, time.time_ns(), old, answer)
    return replace(untestable(refusal, attempts.label, why, words), evidence=(run.id,))


async def _epc(attempts: Attempts) -> Finding:
    """QEMU registers the backend only where /dev/sgx_vepc opens (backends/hostmem-epc.c)."""
    backend = Variation(("-object", "memory-backend-epc,id=m1,size=16M"))
    try:
        async with attempts.booted(f"refusal.{EPC.name}", backend) as booted:
            attempt = partial(_migrate, attempts, booted.guest)
            recording = await attempts.attempt(EPC, booted.guest, attempt)
    except GuestLost as error:
        why = "a guest with it does not start here"
        if not Path("/dev/sgx_vepc").exists():
            why = "this host has no SGX: without /dev/sgx_vepc QEMU does not register the object"
        return _never_started(attempts, EPC, error, why)
    return decide(EPC, recording, attempts.label)


def _vfio(attempts: Attempts) -> list[Finding]:
    """Whether a build from before CPR support in vfio has it as a backport, by its functions."""
    build = attempts.old_build
    if not VFIO.belongs(release(build.version)):
        return []
    there = read_elf(Path(build.binary), VFIO_FUNCTIONS).functions
    able = f"this build supports it ({', '.join(sorted(there))})"
    if not there:
        able = f"this build lacks {' and '.join(VFIO_FUNCTIONS)}"
    if Path("/dev/vfio/vfio").exists():
        missing = "it needs a device: `pausebench run vfio-type1 --device ADDRESS`"
    else:
        missing = "this host has no VFIO (no /dev/vfio/vfio), so no device can be assigned"
    return [untestable(VFIO, attempts.label, f"{missing}; {able}")]
