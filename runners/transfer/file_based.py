"""Modes in which old QEMU saves to a file and ends before new QEMU loads it."""

from __future__ import annotations

import os
from typing import ClassVar

from results.records.recording import Process
from runners.qemu.command_line import Sockets
from runners.qemu.guest import vcpu_tids
from runners.qemu.process import Qemu
from runners.transfer.base import (
    _FASTEST,
    _LOOKS_S,
    HANDOVER_TIMEOUT_S,
    START_TIMEOUT_S,
    Drive,
    VcpuView,
    migration_status,
    numbers,
    runstate,
)


class Snapshot(Drive):
    """Old QEMU saves to a file and ends; then new QEMU starts and loads it.

    The file is a memfd of this process: tmpfs, without a name that could be left behind.
    """

    looks_s: ClassVar[float] = _LOOKS_S
    mode: ClassVar[str] = "normal"
    state: int = -1

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main, plain=True)

    def begin(self) -> None:
        self.state = os.memfd_create("guest-state")

    def clear(self) -> None:
        super().clear()
        if self.state >= 0:
            os.close(self.state)
            self.state = -1

    @property
    def uri(self) -> str:
        return f"file:/proc/{os.getpid()}/fd/{self.state}"

    async def run(self) -> None:
        self.hooks.leaving(self.old, self.guest.vcpu_tids)
        await self._prepare(self.old)
        await self.old.execute("migrate-set-parameters", mode=self.mode, max_bandwidth=_FASTEST)
        before = self._watch_guest()
        self._step("migrate")
        await self._save()
        await self._sent()
        self.old_state = await runstate(self.old)
        self.seen.migrate_info = numbers(await self.old.execute("query-migrate"))
        await self.old.quit()
        self._step("old_gone")
        new = self._start()
        self.hooks.spawned(new.pid)
        await new.connect(START_TIMEOUT_S)
        self._step("monitor")
        await self._prepare(new)
        await new.execute("migrate-set-parameters", mode=self.mode)
        await self._restore(new)
        await self._resumed(new)
        await self._arrive(new, before)

    async def _save(self) -> None:
        await self.old.execute("stop")
        await self.old.execute("migrate", uri=self.uri)

    async def _restore(self, new: Qemu) -> None:
        await new.execute("migrate-incoming", uri=self.uri)
        await new.wait_for(
            lambda message: migration_status(message) in ("completed", "failed"),
            "that it loaded the guest",
            HANDOVER_TIMEOUT_S,
        )
        await new.execute("cont")

    async def _arrive(self, new: Qemu, before: list[VcpuView]) -> None:
        self._step("completed")
        tids = await vcpu_tids(new, self.guest.scenario.vcpus)
        self.seen.new = Process(new.pid, new.argv, tids)
        self.hooks.arrived(new, tids)
        self._adopt(new)
        await self._follow_guest(before)
        self.hooks.resumed(self.old, new)
        self._step("done")

    def _adopt(self, new: Qemu) -> None:
        self.guest.adopt_ram(new)


class CprReboot(Snapshot):
    """As documented: mode cpr-reboot on both sides, which stops and resumes the guest itself."""

    mode = "cpr-reboot"

    async def _save(self) -> None:
        await self.old.execute("migrate", uri=self.uri)

    async def _restore(self, new: Qemu) -> None:
        await new.execute("migrate-incoming", uri=self.uri)
