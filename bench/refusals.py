"""The refusals of cpr-transfer, each provoked on a real guest that must come through unharmed.

Nobody listens at the addresses of an attempt that is to be refused: a QEMU that does not refuse
says so by failing to connect, at once, and never waits for ever.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from results.claims import Finding
from results.errors import GuestLost, PausebenchError, TransferRefused
from results.raw import new_run_id
from results.records import MIB, SCHEMA, Aftermath, Build, Process, Recording, Run, Scenario
from results.refusals import (
    ACCEPTED,
    EPC,
    REFUSALS,
    Refusal,
    decide,
    find,
    positive,
    release,
    untestable,
)
from runners.command import AS_IT_IS, Sockets, Variation, channel
from runners.guest import Guest, start_qemu
from runners.machines import common_machine
from runners.patience import patient
from runners.qemu import Qemu

from .experiment import Booted, Experiment
from .scenarios import BUILTIN, changed, find_scenario
from .schedule import Trial
from .session import resolve

_RAM_BYTES = 64 * MIB
_VCPUS = 2
_BEAT_S = patient(5.0)
_START_S = patient(10.0)
_FAILED_S = patient(5.0)
_SETUP_S = 0.3  # how long old QEMU is left waiting for a hang-up that does not come
_VALID_TRIES = 3  # a busy host may spoil a measurement of a guest that arrived whole
_WENT_ON = re.compile(r"Failed to connect to .*|Unable to connect.*", re.DOTALL)

_DIMM = ("-m", f"size={_RAM_BYTES // MIB}M,slots=2,maxmem=256M", "-device", "pc-dimm,memdev=m1")
_VGA = ("-device", "VGA")
# Attempts that take a guest of their own: name -> how its QEMU is started.
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
    "no-main-channel": AS_IT_IS,
}
# The same guests once the cause is left out: these must be handed over.
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
    "colo": ("return-path", "x-colo"),  # since QEMU 11 the second needs the first
}


def _nowhere(paths: Sockets) -> dict[str, list[dict[str, object]]]:
    """The channels of every attempt that is decided by them."""
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
    """Provoke every refusal on old guests of `old_build`; each attempt is stored as a failed run.

    Runs that must succeed go to `new_build`. `boot` tells several calls of one session apart.
    Raises HostUnfit or BuildUnfit where no guest can be started at all.
    """
    tries = _Tries(experiment, old_build, new_build, boot)
    found = await tries.on_one_guest()
    for name, variation in _STARTED.items():
        found += await tries.on_a_guest_of_its_own(find(name), variation)
    found += await tries.epc()
    order = {each.tried: number for number, each in enumerate((*REFUSALS, EPC))}
    return sorted(found, key=lambda finding: order.get(finding.test, len(order)))


@dataclass(slots=True)
class _Tries:
    """All attempts on one pair of builds."""

    experiment: Experiment
    old_build: Build
    new_build: Build
    boot: int
    scenario: Scenario = field(init=False)

    def __post_init__(self) -> None:
        changes: dict[str, Any] = {"ram_bytes": _RAM_BYTES, "vcpus": _VCPUS}
        if self.old_build.version != self.new_build.version:
            changes["machine"] = common_machine((self.old_build, self.new_build))
        self.scenario = resolve(changed(find_scenario("anon", BUILTIN), changes))

    @property
    def label(self) -> str:
        if self.old_build.label == self.new_build.label:
            return self.old_build.label
        return f"{self.old_build.label} -> {self.new_build.label}"

    def _belongs(self, refusal: Refusal) -> bool:
        return refusal.belongs(release(self.old_build.version))

    def _cell(self, name: str) -> str:
        builds = dict.fromkeys((self.old_build.label, self.new_build.label))
        return "+".join((f"refusal.{name}", *builds))

    @asynccontextmanager
    async def booted(self, name: str, variation: Variation = AS_IT_IS) -> AsyncIterator[Booted]:
        """A guest whose hand-overs are stored under the name of an attempt."""
        scenario = replace(self.scenario, id=f"refusal.{name}")
        builds = self.old_build, self.new_build
        trial = Trial(scenario, *builds, self.boot, 1, self._cell(name))
        async with await self.experiment.boot(trial, variation) as booted:
            yield booted

    # -- one guest for all attempts whose cause can be removed --------------------------------

    async def on_one_guest(self) -> list[Finding]:
        """Channels, capabilities and modes; the guest is handed over when all is tried."""
        tried: list[tuple[Refusal, Recording]] = []
        found: list[Finding] = []
        async with self.booted("then-allowed") as booted:
            guest = booted.guest
            for refusal, attempt in self._shared(guest):
                if not self._belongs(refusal):
                    found.append(untestable(refusal, self.label, self._not_here(refusal)))
                    continue
                tried.append((refusal, await self._attempt(refusal, guest, attempt)))
            run = await handed_over(booted)
        return found + [decide(r, recording, self.label, run) for r, recording in tried]

    def _shared(self, guest: Guest) -> list[tuple[Refusal, Callable[[], Awaitable[_Said]]]]:
        attempts: dict[str, Callable[[], Awaitable[_Said]]] = {}
        for name in ("no-cpr-channel", "two-cpr-channels", "cpr-over-tcp", "cpr-over-file"):
            attempts[name] = lambda name=name: self._migrate(guest, name)  # type: ignore[misc]
        for name, capabilities in _CAPABILITIES.items():
            attempts[name] = lambda c=capabilities: self._with(guest, c)  # type: ignore[misc]
        tcp: dict[str, object] = {"transport": "socket", "type": "inet"}
        tcp |= {"host": "127.0.0.1", "port": "0"}
        attempts["incoming-cpr-over-tcp"] = lambda: self._incoming(tcp)
        file = _file(self.experiment.place.directory / "nothing")
        attempts["incoming-cpr-over-file"] = lambda: self._incoming(file)
        attempts["cpr-exec-without-command"] = lambda: self._exec(guest)
        return [(find(name), attempt) for name, attempt in attempts.items()]

    def _not_here(self, refusal: Refusal) -> str:
        since = ".".join(map(str, refusal.since))
        return f"it came with QEMU {since}, this is {self.old_build.version.split()[0]}"

    async def _migrate(self, guest: Guest, name: str = "") -> _Said:
        await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")
        channels = _nowhere(self._paths())[name]
        return await _asked(guest.qemu, "migrate", {"channels": channels})

    async def _with(self, guest: Guest, names: tuple[str, ...]) -> _Said:
        try:
            for name in names:
                await _capability(guest.qemu, name, on=True)
            return await self._migrate(guest)
        finally:
            for name in reversed(names):
                with suppress(PausebenchError):
                    await _capability(guest.qemu, name, on=False)

    async def _exec(self, guest: Guest) -> _Said:
        try:
            await guest.qemu.execute("migrate-set-parameters", mode="cpr-exec")
            uri = f"file:{self._paths().main}"
            return await _asked(guest.qemu, "migrate", {"uri": uri})
        finally:
            await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")

    async def _incoming(self, address: dict[str, object]) -> _Said:
        """Start a new QEMU that is to refuse its own cpr channel."""
        given = ("-incoming", "defer", "-incoming", json.dumps(_cpr(address)))
        place = self.experiment.place
        new = start_qemu(self.scenario, self.new_build, place, variation=Variation(given))
        new.side = "new"
        try:
            await new.connect(_START_S)
        except GuestLost as error:
            words = last_words(error.log_tail)
            ended = not new.alive()
            said = _Said(words if ended else f"{ACCEPTED}{error}", "new QEMU, at its start")
        else:
            said = _Said(f"{ACCEPTED}new QEMU opened its monitor", "nobody")
        finally:
            new.kill()
            await new.reap()
        said.new = Process(new.pid, new.argv, (), "gone", new.log_tail())
        return said

    # -- guests of their own -------------------------------------------------------------------

    async def on_a_guest_of_its_own(self, refusal: Refusal, variation: Variation) -> list[Finding]:
        """Boot a guest that cannot be handed over, and try; then one that can."""
        if not self._belongs(refusal):
            return []
        channels = refusal.name if refusal.name == "no-main-channel" else ""
        try:
            async with self.booted(refusal.name, variation) as booted:
                guest = booted.guest
                recording = await self._attempt(
                    refusal, guest, lambda: self._migrate(guest, channels)
                )
        except GuestLost as error:
            words = last_words(error.log_tail) or str(error)
            return [untestable(refusal, self.label, "no such guest starts here", words)]
        found = [decide(refusal, recording, self.label)]
        if refusal.name in _ALLOWED:
            tried, allowed = _ALLOWED[refusal.name]
            async with self.booted(f"{refusal.name}-allowed", allowed) as booted:
                run = await handed_over(booted)
            found.append(positive(refusal, run, self.label, tried))
        return found

    async def epc(self) -> list[Finding]:
        """QEMU registers the backend only where /dev/sgx_vepc opens (backends/hostmem-epc.c)."""
        backend = Variation(("-object", "memory-backend-epc,id=m1,size=16M"))
        scenario = replace(self.scenario, id=f"refusal.{EPC.name}")
        trial = Trial(scenario, self.old_build, self.new_build, self.boot, 1, "")
        started = time.time_ns()
        try:
            async with await self.experiment.boot(trial, backend) as booted:
                guest = booted.guest
                recording = await self._attempt(EPC, guest, lambda: self._migrate(guest))
        except GuestLost as error:
            words = last_words(error.log_tail) or str(error)
            old = Process(0, error.argv, (), "gone", error.log_tail)
            run = self._keep(EPC, started, old, _Said(words, "old QEMU, at its start"), None)
            sgx = Path("/dev/sgx_vepc").exists()
            why = "no guest with it starts" if sgx else "this host has no SGX (no /dev/sgx_vepc)"
            return [replace(untestable(EPC, self.label, why, words), evidence=(run.id,))]
        return [decide(EPC, recording, self.label)]

    # -- one attempt ---------------------------------------------------------------------------

    async def _attempt(
        self, refusal: Refusal, guest: Guest, attempt: Callable[[], Awaitable[_Said]]
    ) -> Recording:
        """Try it, look at the guest, store what was seen."""
        started = time.time_ns()
        try:
            said = await attempt()
        except TransferRefused as error:  # already on the way to `migrate`
            said = _Said(
                error.received or str(error), f"old QEMU, asked to {error.sent.split()[0]}"
            )
        except GuestLost as error:
            said = _Said(f"{ACCEPTED}{error}", "nobody")
        aftermath = await look_after(guest, said.by)
        if _WENT_ON.fullmatch(said.words):
            said.words = f"{ACCEPTED}QEMU went on to connect: {said.words}"
        qemu = guest.qemu
        old = Process(qemu.pid, qemu.argv, guest.vcpu_tids, aftermath.runstate, qemu.log_tail())
        return self._keep(refusal, started, old, said, aftermath)

    def _keep(
        self,
        refusal: Refusal,
        started: int,
        old: Process,
        said: _Said,
        aftermath: Aftermath | None,
    ) -> Recording:
        recording = Recording(
            schema=SCHEMA,
            id=new_run_id(self.experiment.session, self._cell(refusal.name), self.boot, 1),
            session=self.experiment.session,
            boot=self.boot,
            update=1,
            started_unix_ns=started,
            scenario=replace(self.scenario, id=f"refusal.{refusal.name}"),
            old_build=self.old_build.label,
            new_build=self.new_build.label,
            old=old,
            new=said.new,
            steps={},
            probed=False,
            failure=said.words,
            aftermath=aftermath,
        )
        self.experiment.keep(recording)
        return recording

    def _paths(self) -> Sockets:
        place, name = self.experiment.place.directory, secrets.token_hex(4)
        return Sockets(place / f"{name}.cpr", place / f"{name}.main")


@dataclass(slots=True)
class _Said:
    """What came of an attempt: QEMU's words, or ACCEPTED and what happened; and whose they are."""

    words: str
    by: str
    new: Process = field(default_factory=lambda: Process(0, (), ()))


async def _asked(qemu: Qemu, command: str, arguments: dict[str, object]) -> _Said:
    """QEMU's answer to a command that it is to refuse, or what became of it."""
    try:
        await qemu.execute(command, arguments)
    except TransferRefused as error:
        return _Said(error.received, f"old QEMU, asked to {command}")
    end = time.monotonic() + _FAILED_S
    info: dict[str, Any] = {}
    while time.monotonic() < end:
        info = await qemu.execute("query-migrate")
        if info.get("status") in ("failed", "completed", "cancelled"):
            break
        await asyncio.sleep(0.01)
    if info.get("status") == "failed":
        return _Said(str(info.get("error-desc", "")), "old QEMU, in query-migrate")
    status = info.get("status")
    with suppress(PausebenchError):
        await qemu.execute("migrate_cancel")
    return _Said(f"{ACCEPTED}the migration is {status} after {_FAILED_S:g} s", "nobody")


async def _capability(qemu: Qemu, name: str, *, on: bool) -> None:
    capabilities = [{"capability": name, "state": on}]
    await qemu.execute("migrate-set-capabilities", capabilities=capabilities)


async def look_after(guest: Guest, said_by: str) -> Aftermath:
    """Whether the guest runs on in its QEMU: runstate, every vCPU's beats, every byte of RAM."""
    qemu, memory = guest.qemu, guest.memory
    before = memory.beats()
    state, migration = "gone", ""
    try:
        state = str((await qemu.execute("query-status"))["status"])
        migration = str((await qemu.execute("query-migrate")).get("status", ""))
    except PausebenchError:
        state = "silent" if qemu.alive() else "gone"
    with suppress(GuestLost):  # told by the counts
        await asyncio.to_thread(memory.wait_for_beats, before, _BEAT_S if qemu.alive() else 0.05)
    ram = await asyncio.to_thread(memory.check)
    return Aftermath(
        said_by=said_by,
        runstate=state,
        migration=migration,
        beats_before=before,
        beats_after=memory.beats(),
        pattern_errors=sum(memory.errors(vcpu)[0] for vcpu in range(guest.scenario.vcpus)),
        ram=ram,
    )


async def handed_over(booted: Booted) -> Run:
    """Hand the guest over until a run is valid, a few times at most; the last run."""
    for _ in range(_VALID_TRIES):
        run = await booted.update()
        if run.outcome == "completed" or not booted.arrived:
            break
    return run


def last_words(log: str) -> str:
    """The last complaint in a QEMU's log, without its program's name."""
    lines = [line for line in log.splitlines() if ": warning: " not in line and line.strip()]
    said = [line for line in lines if re.match(r"[\w.-]+: ", line)] or lines
    return re.sub(r"^[\w.-]+: ", "", said[-1]) if said else ""
