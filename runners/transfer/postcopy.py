"""postcopy: the guest moves as early as possible, and RAM follows on demand."""

from __future__ import annotations

from typing import ClassVar

from runners.qemu.migration import HANDOVER_TIMEOUT_S, migration_status
from runners.qemu.process import Qemu

from .base import UNLIMITED
from .precopy import Precopy


class Postcopy(Precopy):
    """A precopy that switches to postcopy as soon as it has started."""

    capability: ClassVar[str] = "postcopy-ram"

    async def _prepare(self, qemu: Qemu) -> None:
        await super()._prepare(qemu)
        if qemu is self.old:
            await qemu.execute("migrate-set-parameters", {"max-postcopy-bandwidth": UNLIMITED})

    async def _migration_started(self) -> None:
        await self.old.wait_for(
            lambda message: migration_status(message) in ("active", "completed", "failed"),
            "that the migration started",
            HANDOVER_TIMEOUT_S,
        )
        await self.old.execute("migrate-start-postcopy")


TRANSFER = Postcopy
