"""Hazards of a transfer, provoked on a real guest: a new QEMU that hangs or dies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from qemu.qmp import Message

from bench.measurement.experiment import Experiment
from results.claims.catalogue import Finding
from results.claims.refusal_verdicts import decide, decide_after_completion, decide_restarted
from results.claims.refusals import ACCEPTED, Refusal, find
from results.errors import GuestLost
from results.records.recording import Recording
from results.records.run import Run
from results.records.scenario import Build
from runners.qemu.guest import Guest, start_qemu
from runners.qemu.migration import runstate
from runners.qemu.process import Qemu
from runners.system.timeouts import scaled_timeout

from .refusal_attempts import (
    Answer,
    Attempts,
    end_qemu,
    migration_end,
    transfer_until_valid,
)

_WAIT_S = 0.3  # how long a QEMU without a timeout is left waiting
_RESUME_S = scaled_timeout(10.0)


async def try_hazards(
    experiment: Experiment, old_build: Build, new_build: Build, boot: int = 1
) -> list[Finding]:
    """Let new QEMU wait, die and hang, and examine the guest in old QEMU. All waits time out.

    Every attempt is stored as a failed run. `boot` distinguishes several calls in one session.
    """
    attempts = Attempts(experiment, old_build, new_build, boot)
    attempted: list[tuple[Refusal, Recording]] = []
    async with attempts.booted("hazard.then-allowed") as booted:
        guest = booted.guest
        for name, attempt in _survived(attempts, guest).items():
            attempted.append((find(name), await attempts.attempt(find(name), guest, attempt)))
        run: Run = await transfer_until_valid(booted)
    found = [decide(each, seen, attempts.label, run) for each, seen in attempted]
    return found + await _after_completion(attempts)


def _survived(attempts: Attempts, guest: Guest) -> dict[str, Callable[[], Awaitable[Answer]]]:
    return {
        "new-waits": partial(_new_waits, attempts),
        "new-dies-before-hang-up": partial(_new_dies, attempts, guest),
        "new-never-hangs-up": partial(_new_hangs, attempts, guest),
    }


async def _new_waits(attempts: Attempts) -> Answer:
    place, paths = attempts.experiment.place, attempts.paths()
    new = start_qemu(attempts.scenario, attempts.new_build, place, paths)
    new.side = "new"
    answer = Answer(f"{ACCEPTED}it opened its monitor", "nobody")
    try:
        await new.connect(_WAIT_S)
    except GuestLost as error:
        answer = Answer(f"no monitor in {_WAIT_S:g} s", "new QEMU, by its silence")
        if not new.alive():
            answer = Answer(f"{ACCEPTED}{error}", "nobody")
    finally:
        answer.new = await end_qemu(new)
    return answer


async def _new_dies(attempts: Attempts, guest: Guest) -> Answer:
    new, _ = await attempts.hold(guest)
    ended = await end_qemu(new)
    status, reason = await migration_end(guest.qemu)
    words = reason if status == "failed" else f"{ACCEPTED}the migration is {status}"
    return Answer(words, "old QEMU, in query-migrate", ended)


async def _new_hangs(attempts: Attempts, guest: Guest) -> Answer:
    new, _ = await attempts.hold(guest)
    try:
        await asyncio.sleep(_WAIT_S)
        state = await runstate(guest.qemu)
        status = (await guest.qemu.execute("query-migrate")).get("status")
        await guest.qemu.execute("migrate_cancel")
        ended, _ = await migration_end(guest.qemu)
    finally:
        process = await end_qemu(new)
    words = f"{status} for {_WAIT_S:g} s, then {ended}"
    if state != "running":
        words = f"{ACCEPTED}old QEMU was {state} while it waited"
    return Answer(words, "old QEMU, in query-migrate", process)


async def _after_completion(attempts: Attempts) -> list[Finding]:
    """New dies with the guest; then `cont` on old, which is safe only because new is dead."""
    dies, restarts = find("new-dies-after-completion"), find("cont-in-postmigrate")
    async with attempts.booted(f"hazard.{dies.name}") as booted:
        guest = booted.guest
        died = await attempts.attempt(dies, guest, partial(_new_dies_late, attempts, guest))
        restarted = await attempts.attempt(restarts, guest, partial(_cont, guest.qemu))
    return [
        decide_after_completion(dies, died, attempts.label),
        decide_restarted(restarts, restarted, attempts.label),
    ]


async def _new_dies_late(attempts: Attempts, guest: Guest) -> Answer:
    new, paths = await attempts.hold(guest)

    def resumed(message: Message) -> bool:
        return message.get("event") == "RESUME"

    try:
        await new.execute("migrate-incoming", uri=f"unix:{paths.main}")
        await new.wait_for(resumed, "that the guest resumed", _RESUME_S)
        await asyncio.to_thread(guest.memory.wait_for_beats, guest.memory.beats(), _RESUME_S)
        status, _ = await migration_end(guest.qemu)
    finally:
        ended = await end_qemu(new)
    words = f"{status}, new QEMU ran the guest and is gone"
    return Answer(words, "old QEMU, in query-migrate", ended)


async def _cont(qemu: Qemu) -> Answer:
    await qemu.execute("cont")
    return Answer("cont was accepted", "old QEMU, asked to cont")
