"""precopy: RAM is copied over a unix socket to a second QEMU while the guest runs."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from runners.qemu.answers import integers
from runners.qemu.migration import HANDOVER_TIMEOUT_S, migration_ended
from runners.qemu.process import Qemu

from .base import BLACKOUT_SLEEP_S, CLOCK_BASELINE_S, UNLIMITED, Transfer

_BETWEEN_BEATS_S = 0.001


class Precopy(Transfer):
    """Without a bandwidth limit. Modes based on it set their capability and parameters."""

    clock_baseline_s: ClassVar[float] = CLOCK_BASELINE_S
    capability: ClassVar[str] = ""
    parameters: ClassVar[dict[str, Any]] = {}

    async def run(self) -> None:
        new = self._announce_start()
        await self._prepare(self.old)
        await self.old.execute("migrate-set-parameters", mode="normal", max_bandwidth=UNLIMITED)
        await self._hold(new)
        await new.execute("migrate-incoming", uri=f"unix:{self.main}")
        before = self._snapshot_vcpus()
        self._step("migrate")
        await self.old.execute("migrate", uri=f"unix:{self.main}")
        await self._migration_started()
        await self._sleep_through_blackout()
        await self._wait_until_completed(new)
        self.guest.adopt_ram(new)
        await self._record_beats(before)
        self.hooks.resumed(self.old, new)
        self.seen.migrate_info = await _migration_info(self.old)
        self._step("done")

    async def _prepare(self, qemu: Qemu) -> None:
        await super()._prepare(qemu)
        if self.capability:
            wanted = [{"capability": self.capability, "state": True}]
            await qemu.execute("migrate-set-capabilities", capabilities=wanted)
        if self.parameters:
            await qemu.execute("migrate-set-parameters", self.parameters)

    async def _migration_started(self) -> None:
        """Called after `migrate`, for modes that change the migration while it runs."""

    async def _sleep_through_blackout(self) -> None:
        """Leave the CPU to QEMU once the guest has stopped, as in cpr-transfer."""
        memory = self.guest.memory
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        beats = memory.beats()
        while time.monotonic() < end and self.old.alive():
            await asyncio.sleep(_BETWEEN_BEATS_S)
            earlier, beats = beats, memory.beats()
            if all(a == b for a, b in zip(earlier, beats, strict=True)):
                time.sleep(BLACKOUT_SLEEP_S)
                return
            if any(migration_ended(message) for _, message in self.old.stamps):
                return


async def _migration_info(old: Qemu) -> dict[str, int]:
    """The integers of query-migrate, including those about RAM with the prefix `ram-`."""
    info = await old.execute("query-migrate")
    extra = integers(info.get("ram")) if isinstance(info, dict) else {}
    return integers(info) | {f"ram-{name}": value for name, value in extra.items()}


TRANSFER = Precopy
