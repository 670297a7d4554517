"""Modes that copy RAM over a socket to a second QEMU: precopy, multifd, postcopy."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from results.records.recording import Process
from runners.qemu.command_line import Sockets
from runners.qemu.guest import vcpu_tids
from runners.qemu.process import Qemu
from runners.transfer.base import (
    _FASTEST,
    _LOOKS_S,
    _STILL_S,
    AWAY_S,
    HANDOVER_TIMEOUT_S,
    START_TIMEOUT_S,
    Drive,
    migration_status,
    numbers,
)

MULTIFD_CHANNELS = 4


class Precopy(Drive):
    """RAM is copied over a unix socket while the guest runs, as fast as it goes."""

    looks_s: ClassVar[float] = _LOOKS_S
    capabilities: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[dict[str, Any]] = {}

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main, plain=True)

    async def _ready(self, qemu: Qemu) -> None:
        await self._prepare(qemu)
        for capability in self.capabilities:
            await qemu.execute(
                "migrate-set-capabilities",
                capabilities=[{"capability": capability, "state": True}],
            )
        if self.parameters:
            await qemu.execute("migrate-set-parameters", self.parameters)

    async def run(self) -> None:
        new = self._theirs()
        self.hooks.started(self.old.pid, new.pid)
        await self._ready(self.old)
        await self.old.execute("migrate-set-parameters", mode="normal", max_bandwidth=_FASTEST)
        await new.connect(START_TIMEOUT_S)
        self._step("monitor")
        tids = await vcpu_tids(new, self.guest.scenario.vcpus)
        await self._ready(new)
        self.seen.new = Process(new.pid, new.argv, tids)
        self.hooks.hold(self.old, new, self.guest.vcpu_tids, tids)
        await new.execute("migrate-incoming", uri=f"unix:{self.main}")
        before = self._watch_guest()
        self._step("migrate")
        await self.old.execute("migrate", uri=f"unix:{self.main}")
        await self._on_its_way()
        await self._stay_away_when_still()
        await self._completed(new)
        self._step("completed")
        self.guest.adopt_ram(new)
        await self._follow_guest(before)
        self.hooks.resumed(self.old, new)
        self.seen.migrate_info = await self._told(self.old)
        self._step("done")

    async def _on_its_way(self) -> None:
        """For modes that turn to something else on their way."""

    async def _stay_away_when_still(self) -> None:
        """Leave the CPU to QEMU once the guest stands still, as in cpr-transfer."""
        memory = self.guest.memory
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        beats = memory.beats()
        while time.monotonic() < end and self.old.alive():
            await asyncio.sleep(_STILL_S)
            earlier, beats = beats, memory.beats()
            if all(a == b for a, b in zip(earlier, beats, strict=True)):
                time.sleep(AWAY_S)
                return
            if any(migration_status(m) in ("completed", "failed") for _, m in self.old.stamps):
                return

    async def _told(self, qemu: Qemu) -> dict[str, int]:
        """query-migrate, with what it says of RAM."""
        said = await qemu.execute("query-migrate")
        ram = said.get("ram")
        extra = numbers(ram) if isinstance(ram, dict) else {}
        return numbers(said) | {f"ram-{name}": value for name, value in extra.items()}


class PrecopyMultifd(Precopy):
    """A precopy over several channels at once."""

    capabilities = ("multifd",)
    parameters: ClassVar[dict[str, Any]] = {"multifd-channels": MULTIFD_CHANNELS}


class Postcopy(Precopy):
    """The guest moves as soon as it can; RAM follows, what it touches first."""

    capabilities = ("postcopy-ram",)

    async def _ready(self, qemu: Qemu) -> None:
        await super()._ready(qemu)
        if qemu is self.old:
            await qemu.execute("migrate-set-parameters", {"max-postcopy-bandwidth": _FASTEST})

    async def _on_its_way(self) -> None:
        await self.old.wait_for(
            lambda message: migration_status(message) in ("active", "completed", "failed"),
            "that the migration began",
            HANDOVER_TIMEOUT_S,
        )
        await self.old.execute("migrate-start-postcopy")
