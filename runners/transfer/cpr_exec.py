"""cpr-exec: old QEMU saves and becomes its successor by execve."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from results.errors import TransferRefused
from runners.qemu.command_line import Sockets, guest_argv
from runners.qemu.migration import (
    HANDOVER_TIMEOUT_S,
    START_TIMEOUT_S,
    failed_migration,
    listens,
    migration_status,
)
from runners.qemu.process import Qemu

from .base import UNLIMITED
from .snapshot import Snapshot


class CprExec(Snapshot):
    """One process: QEMU stops, saves, and starts its successor by execve.

    Its monitor does not come through. That of the successor is a private socket which it listens
    on; an inherited descriptor would serve for one update only.
    """

    mode: ClassVar[str] = "cpr-exec"

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main, uri=self.uri, monitor=self.cpr)

    async def run(self) -> None:
        old, argv = self.old, self._successor()
        await self._prepare(old)
        await old.execute(
            "migrate-set-parameters",
            {"mode": self.mode, "cpr-exec-command": list(argv), "max-bandwidth": UNLIMITED},
        )
        self.hooks.leaving(old, self.guest.vcpu_tids)
        self.hooks.spawned(old.pid)
        before = self._watch_guest()
        self._step("migrate")
        await old.execute("migrate", uri=self.uri)
        await self._executed(argv)
        self.old_state = "exec"
        new = self._is_new(Qemu(old.process, argv, old.log))
        await new.connect(START_TIMEOUT_S, self.cpr)
        self._step("monitor")
        await self._running(new)
        await self._arrive(new, before)

    def _successor(self) -> tuple[str, ...]:
        guest = self.guest
        return guest_argv(
            self.build,
            guest.scenario,
            firmware=guest.place.firmware,
            monitor_fd=-1,
            hugetlbfs=guest.place.hugetlbfs,
            incoming=self.sockets(),
            variation=self.variation,
        )

    async def _executed(self, argv: tuple[str, ...]) -> None:
        """Wait until the successor listens, or until old QEMU says that it failed."""
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        while not listens(self.cpr):
            if any(migration_status(m) == "failed" for _, m in self.old.stamps):
                raise failed_migration("QEMU", await self.old.execute("query-migrate"))
            if not self.old.alive():
                self._is_new(Qemu(self.old.process, argv, self.old.log))
                raise self.old.lost("it started its successor")
            if time.monotonic() > end:
                raise TransferRefused(
                    f"QEMU (pid {self.old.pid}) did not start its successor "
                    f"in {HANDOVER_TIMEOUT_S:g} s"
                )
            await asyncio.sleep(0.002)

    async def _running(self, new: Qemu) -> None:
        """The guest may have resumed before the monitor was there to say so: ask."""
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        while (state := (await new.execute("query-status"))["status"]) != "running":
            if time.monotonic() > end:
                raise TransferRefused(
                    f"new QEMU (pid {new.pid}) is still {state} after {HANDOVER_TIMEOUT_S:g} s"
                )
            await asyncio.sleep(0.002)

    def _adopt(self, new: Qemu) -> None:
        self._same_file(new)

    async def end_old(self) -> None:
        """Old QEMU is new QEMU: only its monitor is gone."""
        await self.old.disconnect()
