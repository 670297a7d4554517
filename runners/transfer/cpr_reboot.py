"""cpr-reboot, as documented: mode cpr-reboot on both sides, with a host that is not rebooted."""

from __future__ import annotations

from typing import ClassVar

from runners.qemu.process import Qemu

from .snapshot import Snapshot


class CprReboot(Snapshot):
    """QEMU itself stops the guest before it saves, and resumes it when it has loaded it."""

    mode: ClassVar[str] = "cpr-reboot"

    async def _save(self) -> None:
        await self.old.execute("migrate", uri=self.uri)

    async def _restore(self, new: Qemu) -> None:
        await new.execute("migrate-incoming", uri=self.uri)
