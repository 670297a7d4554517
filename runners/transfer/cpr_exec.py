"""cpr-exec: old QEMU saves its state and executes new QEMU in its own process."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from results.errors import GuestLost, TransferRefused
from runners.qemu.command_line import Sockets, guest_argv
from runners.qemu.migration import (
    HANDOVER_TIMEOUT_S,
    START_TIMEOUT_S,
    failed_migration,
    is_listening,
    migration_status,
)
from runners.qemu.process import Qemu

from .base import UNLIMITED
from .snapshot import Snapshot


class CprExec(Snapshot):
    """QEMU stops the guest, saves its state, and starts its successor by execve.

    Its monitor does not survive the execve. The successor listens on a private socket instead: an
    inherited descriptor would serve for one update only.
    """

    mode: ClassVar[str] = "cpr-exec"

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main, uri=self.uri, monitor=self.cpr)

    async def run(self) -> None:
        old, argv = self.old, self._successor_argv()
        await self._prepare(old)
        await old.execute(
            "migrate-set-parameters",
            {"mode": self.mode, "cpr-exec-command": list(argv), "max-bandwidth": UNLIMITED},
        )
        self.hooks.leaving(old, self.guest.vcpu_tids)
        self.hooks.spawned(old.pid)
        before = self._snapshot_vcpus()
        self._step("migrate")
        await old.execute("migrate", uri=self.uri)
        await self._wait_for_exec(argv)
        self.old_state = "exec"
        new = self._register_new(Qemu(old.process, argv, old.log))
        await new.connect(START_TIMEOUT_S, self.cpr)
        self._step("monitor")
        await self._wait_until_running(new)
        await self._guest_arrived(new, before)

    def _successor_argv(self) -> tuple[str, ...]:
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

    async def _wait_for_exec(self, argv: tuple[str, ...]) -> None:
        """Wait until the successor listens, or until old QEMU reports a failure."""
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        while not is_listening(self.cpr):
            if any(migration_status(m) == "failed" for _, m in self.old.stamps):
                raise failed_migration("QEMU", await self.old.execute("query-migrate"))
            try:
                self.old.check("before starting its successor")
            except GuestLost:
                self._register_new(Qemu(self.old.process, argv, self.old.log))
                raise
            if time.monotonic() > end:
                raise TransferRefused(
                    f"QEMU (pid {self.old.pid}) did not start its successor "
                    f"in {HANDOVER_TIMEOUT_S:g} s"
                )
            await asyncio.sleep(0.002)

    async def _wait_until_running(self, new: Qemu) -> None:
        """Poll for the runstate: the guest may have resumed before the monitor could report it."""
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        while (state := (await new.execute("query-status"))["status"]) != "running":
            if time.monotonic() > end:
                raise TransferRefused(
                    f"new QEMU (pid {new.pid}) is still {state} after {HANDOVER_TIMEOUT_S:g} s"
                )
            await asyncio.sleep(0.002)

    def _adopt(self, new: Qemu) -> None:
        self._check_same_file(new)

    async def end_old(self) -> None:
        """Old QEMU's process is now new QEMU: only close its monitor."""
        await self.old.disconnect()


TRANSFER = CprExec
