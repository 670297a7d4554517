"""One attempt at what is to go wrong: a real guest, what QEMU said, how the guest fared after."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from bench.measurement.experiment import Booted, Experiment
from bench.measurement.scenarios import BUILTIN, find_scenario, on_common_machine, resolve
from bench.measurement.schedule import Trial
from results.claims.catalogue import pair_name
from results.claims.refusals import ACCEPTED, Refusal
from results.errors import GuestLost, PausebenchError, TransferRefused
from results.records.observations import Aftermath
from results.records.recording import Process, Recording
from results.records.run import Run
from results.records.scenario import MIB, Build, Scenario
from runners.qemu.command_line import AS_IT_IS, Sockets, Variation, channel
from runners.qemu.guest import Guest, start_qemu
from runners.qemu.migration import listening, runstate
from runners.qemu.process import Qemu
from runners.system.timeouts import patient

RAM_BYTES = 64 * MIB
_VCPUS = 2
_BEAT_S = patient(5.0)
_START_S = patient(10.0)
_FAILED_S = patient(5.0)
_VALID_TRIES = 3  # a busy host may spoil a measurement of a guest that arrived whole
_WENT_ON = re.compile(r"Failed to connect to .*|Unable to connect.*", re.DOTALL)
_ENDED = ("failed", "completed", "cancelled")


@dataclass(slots=True)
class Said:
    """What came of an attempt: QEMU's words, or ACCEPTED and what happened; and whose they are."""

    words: str
    by: str
    new: Process = field(default_factory=lambda: Process(0, (), ()))


@dataclass(slots=True)
class Attempts:
    """Attempts on one pair of builds; `boot` tells several rounds of one session apart."""

    experiment: Experiment
    old_build: Build
    new_build: Build
    boot: int = 1
    scenario: Scenario = field(init=False)

    def __post_init__(self) -> None:
        anon = replace(find_scenario("anon", BUILTIN), ram_bytes=RAM_BYTES, vcpus=_VCPUS)
        (common,), _ = on_common_machine([anon], (self.old_build, self.new_build), None)
        self.scenario = resolve(common)

    @property
    def label(self) -> str:
        """What a finding calls the builds."""
        return pair_name(self.old_build.label, self.new_build.label)

    def cell(self, name: str) -> str:
        """The middle of a run's id; other builds in the same session have another."""
        builds = dict.fromkeys((self.old_build.label, self.new_build.label))
        return "+".join((name, *builds))

    @asynccontextmanager
    async def booted(self, name: str, variation: Variation = AS_IT_IS) -> AsyncIterator[Booted]:
        """A guest whose hand-overs are stored as runs of a scenario called `name`."""
        async with await self.experiment.boot(self._trial(name), variation) as booted:
            yield booted

    def _trial(self, name: str) -> Trial:
        scenario = replace(self.scenario, id=name)
        return Trial(scenario, self.old_build, self.new_build, self.boot, 1, self.cell(name))

    def paths(self) -> Sockets:
        """Addresses at which nobody listens yet."""
        place, name = self.experiment.place.directory, secrets.token_hex(4)
        return Sockets(place / f"{name}.cpr", place / f"{name}.main")

    async def attempt(
        self, refusal: Refusal, guest: Guest, attempt: Callable[[], Awaitable[Said]]
    ) -> Recording:
        """Try it, look at the guest, store what was seen as a failed run."""
        started = time.time_ns()
        try:
            said = await attempt()
        except TransferRefused as error:  # before it came to what is tried
            asked = error.sent.partition(" ")[0] or "go on"
            said = Said(error.received or str(error), f"{guest.qemu.side} QEMU, asked to {asked}")
        except GuestLost as error:
            said = Said(f"{ACCEPTED}{error}", "nobody")
        aftermath = await look_after(guest, said.by)
        qemu = guest.qemu
        old = Process(qemu.pid, qemu.argv, guest.vcpu_tids, aftermath.runstate, qemu.log_tail())
        return self.keep(refusal, started, old, said, aftermath)

    def keep(
        self,
        refusal: Refusal,
        started: int,
        old: Process,
        said: Said,
        aftermath: Aftermath | None = None,
    ) -> Recording:
        """Store an attempt; its failure is never empty, so that it enters no statistic."""
        name = f"{refusal.topic}.{refusal.name}"
        recording = replace(
            self.experiment.blank(self._trial(name), 1, started),
            old=old,
            new=said.new,
            probed=False,
            failure=said.words or f"{ACCEPTED}QEMU gave no reason",
            aftermath=aftermath,
        )
        self.experiment.keep(recording)
        return recording

    async def hold(self, guest: Guest) -> tuple[Qemu, Sockets]:
        """Bring a new QEMU to where it has old's descriptors and old waits for its hang-up."""
        paths = self.paths()
        place, variation = self.experiment.place, guest.variation
        new = start_qemu(self.scenario, self.new_build, place, paths, variation)
        new.side = "new"
        try:
            await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")
            await listening(new, paths.cpr)
            channels = [channel("main", paths.main), channel("cpr", paths.cpr)]
            await guest.qemu.execute("migrate", channels=channels)
            await new.connect(_START_S)
        except BaseException:
            new.kill()
            await new.reap()
            raise
        return new, paths


async def asked(qemu: Qemu, command: str, arguments: dict[str, object]) -> Said:
    """QEMU's answer to a command that it is to refuse, or what became of it."""
    try:
        await qemu.execute(command, arguments)
    except TransferRefused as error:
        return _unless_it_went_on(error.received, f"old QEMU, asked to {command}")
    status, reason = await migration_end(qemu)
    if status == "failed":
        return _unless_it_went_on(reason, "old QEMU, in query-migrate")
    with suppress(PausebenchError):
        await qemu.execute("migrate_cancel")
    return Said(f"{ACCEPTED}the migration is {status} after {_FAILED_S:g} s", "nobody")


def _unless_it_went_on(words: str, by: str) -> Said:
    if _WENT_ON.fullmatch(words):
        return Said(f"{ACCEPTED}QEMU went on to connect: {words}", "nobody")
    return Said(words, by)


async def migration_end(qemu: Qemu) -> tuple[str, str]:
    """Status of query-migrate and its error, once the migration has ended or time is up."""
    end = time.monotonic() + _FAILED_S
    while True:
        info = await qemu.execute("query-migrate")
        if info.get("status") in _ENDED or time.monotonic() > end:
            return str(info.get("status", "")), str(info.get("error-desc", ""))
        await asyncio.sleep(0.005)


async def end_qemu(qemu: Qemu) -> Process:
    """Kill a QEMU; what it was, for the record."""
    qemu.kill()
    await qemu.reap()
    return Process(qemu.pid, qemu.argv, (), "gone", qemu.log_tail())


async def look_after(guest: Guest, said_by: str, patience_s: float = _BEAT_S) -> Aftermath:
    """Whether the guest runs on in its QEMU: runstate, every vCPU's beats, every byte of RAM."""
    qemu, memory = guest.qemu, guest.memory
    before, migration = memory.beats(), ""
    state = await runstate(qemu)
    if state not in ("gone", "silent"):
        migration = str((await qemu.execute("query-migrate")).get("status", ""))
    if state != "running":  # only a moment: nothing is expected to move
        patience_s = 0.05
    with suppress(GuestLost):  # told by the counts
        await asyncio.to_thread(memory.wait_for_beats, before, patience_s)
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
