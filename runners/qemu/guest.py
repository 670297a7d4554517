"""A guest: a payload in RAM that outlives the QEMU processes it runs in."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from results.errors import GuestLost, TransferRefused
from results.records.scenario import Build, Scenario
from runners.host.vfio_pci import EDU, look_at
from runners.payload.layout import TICK_SHIFT
from runners.payload.memory import GuestMemory, GuestPlan, plan_guest
from runners.system.process_memory import ram_descriptor
from runners.system.timeouts import patient

from .command_line import AS_IT_IS, FIRST_SLOT, Sockets, Variation, guest_argv, low_ram_bytes
from .process import Qemu

BEAT_TIMEOUT_S = patient(30.0)
# An operation of edu takes 100 ms by QEMU's own clock.
_DEVICE_PACE_S, _DEVICE_LATE_S = 0.001, 5.0
# Of any guest before it runs: only the thresholds of the payload depend on it.
_ASSUMED_TICKS_PER_SECOND = 2.5e9 / (1 << TICK_SHIFT)


@dataclass(frozen=True, slots=True)
class GuestPlace:
    """Where a session's guests live: a private directory and what is built once for all of them."""

    directory: Path  # mode 0700; sockets and logs
    firmware: Path
    hugetlbfs: Path | None = None


class Guest:
    """A running guest and the QEMU that it is in now."""

    def __init__(
        self, scenario: Scenario, build: Build, place: GuestPlace, plan: GuestPlan, qemu: Qemu
    ) -> None:
        self.scenario = scenario
        self.build = build
        self.place = place
        self.plan = plan
        self.qemu = qemu
        self.memory: GuestMemory
        self.vcpu_tids: tuple[int, ...] = ()
        self.first_beat_s = 0.0
        self.update = 0
        self.variation = AS_IT_IS  # of the QEMU that it is in now

    @classmethod
    async def boot(
        cls, scenario: Scenario, build: Build, place: GuestPlace, variation: Variation = AS_IT_IS
    ) -> Guest:
        """Start a guest and return once every vCPU beats and has touched its share of RAM.

        Raises GuestLost when QEMU ends or the guest stays silent.
        """
        plan = plan_guest(
            scenario.vcpus,
            scenario.ram_bytes,
            scenario.touched,
            low_ram_bytes(scenario.machine, scenario.ram_bytes),
            secrets.randbits(32),
            _ASSUMED_TICKS_PER_SECOND,
        )
        plan = replace(plan, **device_plan(scenario))
        if place.hugetlbfs is not None:
            (place.hugetlbfs / "guest-ram").unlink(missing_ok=True)
        qemu = start_qemu(scenario, build, place, variation=variation)
        try:
            guest = cls(scenario, build, place, plan, qemu)
            guest.variation = variation
            await qemu.connect()
            guest.vcpu_tids = await vcpu_tids(qemu, scenario.vcpus)
            guest.memory = GuestMemory(ram_descriptor(qemu.pid, scenario.ram_bytes), plan)
            try:
                await guest._wake()
            except BaseException:
                guest.memory.close()
                raise
        except BaseException:
            qemu.kill()
            await qemu.reap()
            raise
        return guest

    async def _wake(self) -> None:
        self.memory.prepare()
        await self.qemu.execute("cont")
        start = time.monotonic()
        await self._until(self.memory.first_beat_seen, "its first beat")
        self.first_beat_s = time.monotonic() - start
        # A large working set on a KVM that emulates takes its time: bound it by its size.
        patience = BEAT_TIMEOUT_S + self.plan.pages * 100e-6
        await self._until(self.memory.running, "the first walk over its RAM", patience)
        if self.plan.device:
            await self._until(self.memory.device_ready, "its first DMA")

    async def _until(
        self, reached: Callable[[], bool], what: str, patience_s: float = BEAT_TIMEOUT_S
    ) -> None:
        end = time.monotonic() + patience_s
        while not reached():
            if not self.qemu.alive():
                raise self.qemu.lost(f"the guest made {what}")
            if time.monotonic() > end:
                raise GuestLost(
                    f"the guest did not make {what} in {patience_s:.0f} s", self.qemu.argv
                )
            await asyncio.sleep(0.002)

    def adopt_ram(self, qemu: Qemu) -> None:
        """Look at the RAM that `qemu` has copied the guest into, from now on."""
        copied = GuestMemory(ram_descriptor(qemu.pid, self.scenario.ram_bytes), self.plan)
        self.memory.close()
        self.memory = copied

    async def end(self) -> None:
        """End the guest in good order, then free its RAM."""
        try:
            await self.qemu.quit()
        finally:
            self.close()

    def close(self) -> None:
        """End the guest at once and free its RAM. Needs no event loop, and may follow `end`."""
        self.qemu.kill()
        self.memory.close()


def driven_device(scenario: Scenario) -> str:
    """The assigned device that the payload drives: the first edu. Empty: none.

    The payload switches to long mode where RAM goes beyond the PCI hole, and takes no interrupts
    there.
    """
    if low_ram_bytes(scenario.machine, scenario.ram_bytes) < scenario.ram_bytes:
        return ""
    assigned = filter(None, scenario.devices.split(","))
    return next((address for address in assigned if look_at(address).ids == EDU), "")


def device_plan(scenario: Scenario) -> dict[str, int]:
    """What the payload is told of the device that it drives."""
    address = driven_device(scenario)
    if not address:
        return {}
    slot = FIRST_SLOT + scenario.devices.split(",").index(address)
    return {
        "device": 0x80000000 | slot << 11,
        "device_pace_ticks": int(_ASSUMED_TICKS_PER_SECOND * _DEVICE_PACE_S),
        "device_late_ticks": int(_ASSUMED_TICKS_PER_SECOND * _DEVICE_LATE_S),
    }


def start_qemu(
    scenario: Scenario,
    build: Build,
    place: GuestPlace,
    incoming: Sockets | None = None,
    variation: Variation = AS_IT_IS,
) -> Qemu:
    """Start a QEMU for `scenario`, to run the guest afresh or to take it over."""
    number = secrets.token_hex(4)
    return Qemu.start(
        lambda fd: guest_argv(
            build,
            scenario,
            firmware=place.firmware,
            monitor_fd=fd,
            hugetlbfs=place.hugetlbfs,
            incoming=incoming,
            variation=variation,
        ),
        place.directory / f"qemu-{number}.log",
        variation.descriptors,
    )


async def vcpu_tids(qemu: Qemu, vcpus: int) -> tuple[int, ...]:
    """Thread ids of the vCPUs in their order."""
    found = await qemu.execute("query-cpus-fast")
    tids = {int(cpu["cpu-index"]): int(cpu["thread-id"]) for cpu in found}
    if sorted(tids) != list(range(vcpus)):
        raise TransferRefused(f"QEMU (pid {qemu.pid}) reports vCPUs {sorted(tids)}, not {vcpus}")
    return tuple(tids[i] for i in range(vcpus))
