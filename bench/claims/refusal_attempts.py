"""One attempt that must fail: a real guest, QEMU's answer, and the guest's state afterwards."""

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
from runners.qemu.command_line import NO_VARIATION, Sockets, Variation, channel
from runners.qemu.guest import Guest, start_qemu
from runners.qemu.migration import runstate, wait_until_listening
from runners.qemu.process import Qemu
from runners.system.timeouts import scaled_timeout

RAM_BYTES = 64 * MIB
_VCPUS = 2
_BEAT_S = scaled_timeout(5.0)
_START_S = scaled_timeout(10.0)
_FAILED_S = scaled_timeout(5.0)
_VALID_TRIES = 3  # on a busy host a run may be invalid although the guest is unharmed
_CONNECTING = re.compile(r"Failed to connect to .*|Unable to connect.*", re.DOTALL)
_ENDED = ("failed", "completed", "cancelled")


@dataclass(slots=True)
class Answer:
    """The answer to an attempt and its source: QEMU's words, or ACCEPTED and what happened."""

    words: str
    source: str
    new: Process = field(default_factory=lambda: Process(0, (), ()))


@dataclass(slots=True)
class Attempts:
    """Attempts on one pair of builds; `boot` distinguishes several rounds in one session."""

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
        """The builds as findings name them."""
        return pair_name(self.old_build.label, self.new_build.label)

    def cell(self, name: str) -> str:
        """The middle part of a run's id, different for other builds in the session."""
        builds = dict.fromkeys((self.old_build.label, self.new_build.label))
        return "+".join((name, *builds))

    @asynccontextmanager
    async def booted(self, name: str, variation: Variation = NO_VARIATION) -> AsyncIterator[Booted]:
        """A guest whose transfers are stored as runs of a scenario named `name`."""
        async with await self.experiment.boot(self._trial(name), variation) as booted:
            yield booted

    def _trial(self, name: str) -> Trial:
        scenario = replace(self.scenario, id=name)
        return Trial(scenario, self.old_build, self.new_build, self.boot, 1, self.cell(name))

    def paths(self) -> Sockets:
        """Fresh socket paths on which nothing listens."""
        place, name = self.experiment.place.directory, secrets.token_hex(4)
        return Sockets(place / f"{name}.cpr", place / f"{name}.main")

    async def attempt(
        self, refusal: Refusal, guest: Guest, attempt: Callable[[], Awaitable[Answer]]
    ) -> Recording:
        """Make the attempt, examine the guest, and store both as a failed run."""
        started = time.time_ns()
        try:
            answer = await attempt()
        except TransferRefused as error:  # of a command that only prepares the attempt
            command = error.sent.partition(" ")[0] or "go on"
            source = f"{guest.qemu.side} QEMU, asked to {command}"
            answer = Answer(error.received or str(error), source)
        except GuestLost as error:
            answer = Answer(f"{ACCEPTED}{error}", "nobody")
        aftermath = await examine(guest, answer.source)
        qemu = guest.qemu
        old = Process(qemu.pid, qemu.argv, guest.vcpu_tids, aftermath.runstate, qemu.log_tail())
        return self.keep(refusal, started, old, answer, aftermath)

    def keep(
        self,
        refusal: Refusal,
        started: int,
        old: Process,
        answer: Answer,
        aftermath: Aftermath | None = None,
    ) -> Recording:
        """Store an attempt; its failure is never empty, so that it enters no statistic."""
        name = f"{refusal.topic}.{refusal.name}"
        recording = replace(
            self.experiment.blank(self._trial(name), 1, started),
            old=old,
            new=answer.new,
            probed=False,
            failure=answer.words or f"{ACCEPTED}QEMU gave no reason",
            aftermath=aftermath,
        )
        self.experiment.keep(recording)
        return recording

    async def hold(self, guest: Guest) -> tuple[Qemu, Sockets]:
        """Start a new QEMU that has old's descriptors, while old waits for its hang-up."""
        paths = self.paths()
        place, variation = self.experiment.place, guest.variation
        new = start_qemu(self.scenario, self.new_build, place, paths, variation)
        new.side = "new"
        try:
            await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")
            await wait_until_listening(new, paths.cpr)
            channels = [channel("main", paths.main), channel("cpr", paths.cpr)]
            await guest.qemu.execute("migrate", channels=channels)
            await new.connect(_START_S)
        except BaseException:
            new.kill()
            await new.reap()
            raise
        return new, paths


async def expect_refusal(qemu: Qemu, command: str, arguments: dict[str, object]) -> Answer:
    """QEMU's answer to a command that it must refuse, or how the migration ended."""
    try:
        await qemu.execute(command, arguments)
    except TransferRefused as error:
        return _unless_connecting(error.received, f"old QEMU, asked to {command}")
    status, reason = await migration_end(qemu)
    if status == "failed":
        return _unless_connecting(reason, "old QEMU, in query-migrate")
    with suppress(PausebenchError):
        await qemu.execute("migrate_cancel")
    return Answer(f"{ACCEPTED}the migration is {status} after {_FAILED_S:g} s", "nobody")


def _unless_connecting(words: str, source: str) -> Answer:
    """A QEMU that fails to connect has not refused: nothing listens on an attempt's sockets."""
    if _CONNECTING.fullmatch(words):
        return Answer(f"{ACCEPTED}QEMU tried to connect: {words}", "nobody")
    return Answer(words, source)


async def migration_end(qemu: Qemu) -> tuple[str, str]:
    """Status and error of query-migrate, when the migration has ended or after a timeout."""
    end = time.monotonic() + _FAILED_S
    while True:
        info = await qemu.execute("query-migrate")
        if info.get("status") in _ENDED or time.monotonic() > end:
            return str(info.get("status", "")), str(info.get("error-desc", ""))
        await asyncio.sleep(0.005)


async def end_qemu(qemu: Qemu) -> Process:
    """Kill a QEMU and return it as recordings keep it."""
    qemu.kill()
    await qemu.reap()
    return Process(qemu.pid, qemu.argv, (), "gone", qemu.log_tail())


async def examine(guest: Guest, source: str, timeout_s: float = _BEAT_S) -> Aftermath:
    """The guest in its QEMU: runstate, beats of every vCPU, every byte of RAM.

    `source` is where the answer came from.
    """
    qemu, memory = guest.qemu, guest.memory
    before, migration = memory.beats(), ""
    state = await runstate(qemu)
    if state not in ("gone", "stopped", "silent"):
        migration = str((await qemu.execute("query-migrate")).get("status", ""))
    if state != "running":  # a short wait: no beat is expected
        timeout_s = 0.05
    with suppress(GuestLost):  # the counts show it
        await asyncio.to_thread(memory.wait_for_beats, before, timeout_s)
    ram = await asyncio.to_thread(memory.check)
    return Aftermath(
        said_by=source,
        runstate=state,
        migration=migration,
        beats_before=before,
        beats_after=memory.beats(),
        pattern_errors=sum(memory.errors(vcpu)[0] for vcpu in range(guest.scenario.vcpus)),
        ram=ram,
    )


async def transfer_until_valid(booted: Booted) -> Run:
    """Transfer the guest until a run is valid, at most _VALID_TRIES times; return the last run."""
    for _ in range(_VALID_TRIES):
        run = await booted.update()
        if run.outcome == "completed" or not booted.arrived:
            break
    return run
