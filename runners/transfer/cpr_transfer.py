"""cpr-transfer: new QEMU maps the guest's RAM, and receives descriptors over a unix socket.

The steps follow QEMU's documentation (docs/devel/migration/CPR.rst), with a hold: new QEMU opens
its monitor after reading the CPR state and before accepting the guest, so that probes are armed
while the guest still runs in old QEMU. `migrate-incoming` then closes the cpr channel, upon which
old QEMU connects, stops the guest and sends it.
"""

from __future__ import annotations

import asyncio
import time

from runners.devices.dma_counts import DeviceWatch
from runners.payload.memory import GuestMemory
from runners.qemu.answers import integers
from runners.qemu.command_line import Sockets, channel
from runners.qemu.migration import wait_until_listening

from .base import BLACKOUT_SLEEP_S, Transfer

_LEAST_PAUSE = 2.5  # times the length from which the guest logs a gap: 0.5 ms


class CprTransfer(Transfer):
    """The guest is stopped only while the state of its devices is sent."""

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main)

    async def run(self) -> None:
        new = self._announce_start()
        await self._prepare(self.old)
        await self.old.execute("migrate-set-parameters", mode="cpr-transfer")
        await wait_until_listening(new, self.cpr)
        self._step("migrate")
        main = channel("main", self.hooks.main_path(self.main))
        await self.old.execute("migrate", channels=[main, channel("cpr", self.cpr)])
        await self._hold(new)
        work = DeviceWatch(self.guest) if self.guest.plan.device else None
        before = self._snapshot_vcpus()
        self._step("migrate_incoming")
        await new.execute("migrate-incoming", uri=f"unix:{self.main}")
        sleep_through_blackout(self.guest.memory, [view.gaps_logged for view in before])
        await self._wait_until_completed(new)
        await self._record_beats(before)
        if work is not None:
            self.seen.device = await asyncio.to_thread(work.finished)
        self.hooks.resumed(self.old, new)
        self.seen.migrate_info = integers(await self.old.execute("query-migrate"))
        self._check_same_file(new)
        self._step("done")


def sleep_through_blackout(memory: GuestMemory, logged: list[int]) -> None:
    """Sleep until the guest beats again after its pause, for at most BLACKOUT_SLEEP_S.

    QEMU reports a dozen events meanwhile, which wait in the monitors' sockets. Handling each at
    once took a CPU from QEMU during the blackout: 0.4 ms of 2.7 ms on two cores. The pause is over
    when the guest has logged a gap or, if its clock was stopped too, when its beats have stopped
    and continued. A gap that is hardly long enough to be logged may be any wait for a CPU.
    """
    least = _LEAST_PAUSE * memory.plan.threshold_ticks

    def paused(vcpu: int, logged: int) -> bool:
        gaps, _ = memory.gaps_since(vcpu, logged)
        return any((gap.end_tick - gap.start_tick) & 0xFFFFFFFF >= least for gap in gaps)

    end = time.monotonic() + BLACKOUT_SLEEP_S
    stopped, beats = False, memory.beats()
    while time.monotonic() < end:
        time.sleep(0.001)
        if all(paused(v, count) for v, count in enumerate(logged)):
            return
        earlier, beats = beats, memory.beats()
        moved = all(a != b for a, b in zip(earlier, beats, strict=True))
        if stopped and moved:
            return
        stopped = stopped or not moved


TRANSFER = CprTransfer
