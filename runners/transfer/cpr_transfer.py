"""cpr-transfer: new QEMU maps the guest's RAM itself, and descriptors go over a socket.

The order is that of QEMU's documentation (docs/devel/migration/CPR.rst) with a hold: new QEMU
opens its monitor after it has read the CPR state and before it accepts the guest, so that probes
are armed while the old guest still runs; `migrate-incoming` then closes the cpr channel, which
makes old QEMU connect, stop and send.
"""

from __future__ import annotations

import asyncio
import time

from runners.devices.dma_counts import DeviceWatch
from runners.payload.memory import GuestMemory
from runners.qemu.command_line import Sockets, channel
from runners.qemu.migration import listening, numbers

from .base import AWAY_S, Transfer


class CprTransfer(Transfer):
    """The guest stands still only while its devices' state is sent."""

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main)

    async def run(self) -> None:
        new = self._waiting()
        await self._prepare(self.old)
        await self.old.execute("migrate-set-parameters", mode="cpr-transfer")
        await listening(new, self.cpr)
        self._step("migrate")
        main = channel("main", self.hooks.main_path(self.main))
        await self.old.execute("migrate", channels=[main, channel("cpr", self.cpr)])
        await self._hold(new)
        work = DeviceWatch(self.guest) if self.guest.plan.device else None
        before = self._watch_guest()
        self._step("migrate_incoming")
        await new.execute("migrate-incoming", uri=f"unix:{self.main}")
        stay_away(self.guest.memory, [view.gaps_logged for view in before])
        await self._completed(new)
        await self._follow_guest(before)
        if work is not None:
            self.seen.device = await asyncio.to_thread(work.finished)
        self.hooks.resumed(self.old, new)
        self.seen.migrate_info = numbers(await self.old.execute("query-migrate"))
        self._same_file(new)
        self._step("done")


def stay_away(memory: GuestMemory, logged: list[int]) -> None:
    """Sleep until the guest beats again after its pause, or for a while at most.

    QEMU reports a dozen events meanwhile. To handle each as it came took a CPU away from QEMU when
    the guest waited for it: 0.4 ms of a blackout of 2.7 ms on two cores. They are kept in the
    monitors' sockets. A pause has come and gone when the guest has logged a gap, or, where its
    clock stood still with it, when its beats stood still and moved again.
    """
    end = time.monotonic() + AWAY_S
    still, beats = False, memory.beats()
    while time.monotonic() < end:
        time.sleep(0.001)
        if all(memory.gaps_logged(v) != count for v, count in enumerate(logged)):
            return
        earlier, beats = beats, memory.beats()
        moved = all(a != b for a, b in zip(earlier, beats, strict=True))
        if still and moved:
            return
        still = still or not moved
