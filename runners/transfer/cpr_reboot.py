"""cpr-reboot: mode cpr-reboot on both sides, as documented, but without rebooting the host."""

from __future__ import annotations

from typing import ClassVar

from runners.qemu.process import Qemu

from .snapshot import Snapshot


class CprReboot(Snapshot):
    """QEMU itself stops the guest before saving it, and resumes it after loading."""

    mode: ClassVar[str] = "cpr-reboot"

    async def _save(self) -> None:
        await self.old.execute("migrate", uri=self.uri)

    async def _restore(self, new: Qemu) -> None:
        await new.execute("migrate-incoming", uri=self.uri)


TRANSFER = CprReboot
