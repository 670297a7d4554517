"""precopy: RAM is copied over a unix socket to a second QEMU while the guest runs."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from runners.qemu.migration import HANDOVER_TIMEOUT_S, migration_ended, numbers
from runners.qemu.process import Qemu

from .base import AWAY_S, CLOCK_LOOK_S, UNLIMITED, Transfer

_BETWEEN_BEATS_S = 0.001


class Precopy(Transfer):
    """As fast as it goes. Modes that only add to it name their capability and parameters."""

    clock_look_s: ClassVar[float] = CLOCK_LOOK_S
    capability: ClassVar[str] = ""
    parameters: ClassVar[dict[str, Any]] = {}

    async def run(self) -> None:
        new = self._waiting()
        await self._prepare(self.old)
        await self.old.execute("migrate-set-parameters", mode="normal", max_bandwidth=UNLIMITED)
        await self._hold(new)
        await new.execute("migrate-incoming", uri=f"unix:{self.main}")
        before = self._watch_guest()
        self._step("migrate")
        await self.old.execute("migrate", uri=f"unix:{self.main}")
        await self._on_its_way()
        await self._stay_away_when_still()
        await self._completed(new)
        self.guest.adopt_ram(new)
        await self._follow_guest(before)
        self.hooks.resumed(self.old, new)
        self.seen.migrate_info = await _sent_in_all(self.old)
        self._step("done")

    async def _prepare(self, qemu: Qemu) -> None:
        await super()._prepare(qemu)
        if self.capability:
            wanted = [{"capability": self.capability, "state": True}]
            await qemu.execute("migrate-set-capabilities", capabilities=wanted)
        if self.parameters:
            await qemu.execute("migrate-set-parameters", self.parameters)

    async def _on_its_way(self) -> None:
        """For modes that turn to something else on their way."""

    async def _stay_away_when_still(self) -> None:
        """Leave the CPU to QEMU once the guest stands still, as in cpr-transfer."""
        memory = self.guest.memory
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        beats = memory.beats()
        while time.monotonic() < end and self.old.alive():
            await asyncio.sleep(_BETWEEN_BEATS_S)
            earlier, beats = beats, memory.beats()
            if all(a == b for a, b in zip(earlier, beats, strict=True)):
                time.sleep(AWAY_S)
                return
            if any(migration_ended(message) for _, message in self.old.stamps):
                return


async def _sent_in_all(old: Qemu) -> dict[str, int]:
    """query-migrate, with what it says of RAM."""
    info = await old.execute("query-migrate")
    ram = info.get("ram")
    extra = numbers(ram) if isinstance(ram, dict) else {}
    return numbers(info) | {f"ram-{name}": value for name, value in extra.items()}
