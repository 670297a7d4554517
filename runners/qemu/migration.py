"""The state of a migration as both QEMUs report it, and the timeouts of waiting for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qemu.qmp import Message

from results.errors import PausebenchError, TransferRefused
from runners.system.timeouts import scaled_timeout

from .answers import understood
from .process import Qemu

HANDOVER_TIMEOUT_S = scaled_timeout(30.0)
START_TIMEOUT_S = scaled_timeout(20.0)
_STATE_TIMEOUT_S = scaled_timeout(2.0)


async def runstate(qemu: Qemu) -> str:
    """A QEMU's runstate after a transfer.

    `gone` if it exited, `stopped` if something has stopped its process, `silent` if it does not
    answer.
    """
    end = time.monotonic() + _STATE_TIMEOUT_S
    with suppress(PausebenchError, TimeoutError):
        while qemu.alive() and not qemu.stopped() and not qemu.silent:
            left = max(0.1, end - time.monotonic())
            answer = await asyncio.wait_for(qemu.execute("query-status"), left)
            with understood("query-status", answer):
                state = str(answer["status"])
            # The migration is reported as completed shortly before the runstate changes
            # (migration_iteration_finish in QEMU's migration/migration.c).
            if state != "finish-migrate" or time.monotonic() > end:
                return state
            await asyncio.sleep(0.001)
    if not qemu.alive():
        return "gone"
    return "stopped" if qemu.stopped() else "silent"


def migration_status(message: Message) -> str:
    """The status in a MIGRATION event; empty for another event."""
    data = message.get("data")
    if message.get("event") == "MIGRATION" and isinstance(data, dict):
        return str(data.get("status"))
    return ""


def migration_ended(message: Message) -> bool:
    return migration_status(message) in ("completed", "failed")


async def wait_until_sent(old: Qemu, new: Qemu | None = None) -> None:
    """Wait until old QEMU has sent the guest, to `new` if that runs already.

    Raises TransferRefused on a failed migration or a timeout, GuestLost when it exits.
    """
    what = "the end of the migration"
    _, last = await old.wait_for(migration_ended, what, HANDOVER_TIMEOUT_S, new)
    if migration_status(last) == "failed":
        raise failed_migration("old QEMU", await old.execute("query-migrate"))


def failed_migration(who: str, info: object) -> TransferRefused:
    """The error for a migration that QEMU reports as failed; `info` is its query-migrate."""
    known = info if isinstance(info, Mapping) else {}
    reason = known.get("error-desc", "no reason given")
    return TransferRefused(f"{who} reports a failed migration: {reason}", received=str(info))


async def wait_until_resumed(new: Qemu) -> int:
    """Wait for new QEMU's RESUME event; returns when it arrived (monotonic ns)."""

    def is_resume(message: Message) -> bool:
        return message.get("event") == "RESUME"

    ns, _ = await new.wait_for(is_resume, "that the guest resumed", HANDOVER_TIMEOUT_S)
    return ns


async def wait_until_listening(new: Qemu, cpr: Path) -> None:
    """Wait until new QEMU listens on its cpr socket, without connecting to it.

    The file exists shortly before QEMU listens, and QEMU would take a trial connection for old
    QEMU's. Raises GuestLost, TransferRefused.
    """
    end = time.monotonic() + START_TIMEOUT_S
    while not is_listening(cpr):
        new.check("before opening the cpr socket")
        if time.monotonic() > end:
            raise TransferRefused(
                f"new QEMU (pid {new.pid}) did not listen on its cpr socket "
                f"in {START_TIMEOUT_S:g} s"
            )
        await asyncio.sleep(0.001)


def is_listening(path: Path) -> bool:
    """Whether a unix socket at `path` is listening: flag __SO_ACCEPTCON in /proc/net/unix."""
    needle = str(path)
    for line in Path("/proc/net/unix").read_text().splitlines():
        if line.endswith(needle) and line.split()[3] == "00010000":
            return True
    return False
