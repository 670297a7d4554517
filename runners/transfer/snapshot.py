"""snapshot: old QEMU saves to a file and exits; then new QEMU starts and loads the file."""

from __future__ import annotations

import os
from typing import ClassVar

from results.records.recording import Process
from runners.qemu.answers import integers
from runners.qemu.guest import vcpu_tids
from runners.qemu.migration import (
    HANDOVER_TIMEOUT_S,
    START_TIMEOUT_S,
    migration_ended,
    runstate,
    wait_until_resumed,
    wait_until_sent,
)
from runners.qemu.process import Qemu

from .base import CLOCK_BASELINE_S, UNLIMITED, Transfer, VcpuSnapshot


class Snapshot(Transfer):
    """The file is a memfd of this process: it is in memory and leaves nothing behind.

    Modes that save to a file in another way set QEMU's `mode` and override `_save` and `_restore`.
    """

    clock_baseline_s: ClassVar[float] = CLOCK_BASELINE_S
    mode: ClassVar[str] = "normal"
    state_fd: int = -1

    def begin(self) -> None:
        self.state_fd = os.memfd_create("guest-state")

    def clean_up(self) -> None:
        super().clean_up()
        if self.state_fd >= 0:
            os.close(self.state_fd)
            self.state_fd = -1

    @property
    def uri(self) -> str:
        return f"file:/proc/{os.getpid()}/fd/{self.state_fd}"

    async def run(self) -> None:
        self.hooks.leaving(self.old, self.guest.vcpu_tids)
        await self._prepare(self.old)
        await self.old.execute("migrate-set-parameters", mode=self.mode, max_bandwidth=UNLIMITED)
        before = self._snapshot_vcpus()
        self._step("migrate")
        await self._save()
        await wait_until_sent(self.old)
        self.old_state = await runstate(self.old)
        self.seen.migrate_info = integers(await self.old.execute("query-migrate"))
        await self.old.quit()
        self._step("old_gone")
        new = self._start_new()
        self.hooks.spawned(new.pid)
        await new.connect(START_TIMEOUT_S)
        self._step("monitor")
        await self._prepare(new)
        await new.execute("migrate-set-parameters", mode=self.mode)
        await self._restore(new)
        await wait_until_resumed(new)
        await self._guest_arrived(new, before)

    async def _save(self) -> None:
        await self.old.execute("stop")
        await self.old.execute("migrate", uri=self.uri)

    async def _restore(self, new: Qemu) -> None:
        await new.execute("migrate-incoming", uri=self.uri)
        await new.wait_for(migration_ended, "that it loaded the guest", HANDOVER_TIMEOUT_S)
        await new.execute("cont")

    async def _guest_arrived(self, new: Qemu, before: list[VcpuSnapshot]) -> None:
        """The guest runs in new QEMU: record its vCPU threads and beats."""
        self._step("completed")
        tids = await vcpu_tids(new, self.guest.scenario.vcpus)
        self.seen.new = Process(new.pid, new.argv, tids)
        self.hooks.arrived(new, tids)
        self._adopt(new)
        await self._record_beats(before)
        self.hooks.resumed(self.old, new)
        self._step("done")

    def _adopt(self, new: Qemu) -> None:
        self.guest.adopt_ram(new)


TRANSFER = Snapshot
