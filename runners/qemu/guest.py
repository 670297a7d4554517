"""A guest: the payload in RAM, which outlives the QEMU processes that run it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from results.errors import GuestLost, TransferRefused
from results.records.scenario import Build, Scenario
from runners.host.vfio_pci import EDU, read_device
from runners.payload.layout import TICK_SHIFT
from runners.payload.memory import GuestMemory, GuestPlan, plan_guest
from runners.system.process_memory import ram_descriptor
from runners.system.timeouts import scaled_timeout

from .answers import understood
from .command_line import FIRST_SLOT, NO_VARIATION, Sockets, Variation, guest_argv, low_ram_bytes
from .process import Qemu

BEAT_TIMEOUT_S = scaled_timeout(30.0)
# An operation of edu takes 100 ms on QEMU's own clock.
_DEVICE_PACE_S, _DEVICE_LATE_S = 0.001, 5.0
# Assumed before a guest runs: only the payload's thresholds depend on it.
_ASSUMED_TICKS_PER_SECOND = 2.5e9 / (1 << TICK_SHIFT)


@dataclass(frozen=True, slots=True)
class GuestPlace:
    """A session's private directory and the files in it that all its guests share."""

    directory: Path  # mode 0700; sockets and logs
    firmware: Path
    hugetlbfs: Path | None = None


class Guest:
    """A running guest and the QEMU that it currently runs in."""

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
        self.updates = 0
        self.variation = NO_VARIATION  # of the current QEMU

    @classmethod
    async def boot(
        cls,
        scenario: Scenario,
        build: Build,
        place: GuestPlace,
        variation: Variation = NO_VARIATION,
    ) -> Guest:
        """Start a guest; returns when every vCPU beats and has touched its share of RAM.

        Raises GuestLost when QEMU exits or a vCPU does not beat in time.
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
            try:
                guest.memory = GuestMemory(ram_descriptor(qemu.pid, scenario.ram_bytes), plan)
            except (GuestLost, OSError):
                await qemu.settle()
                qemu.check("before its RAM was mapped")
                raise
            try:
                await guest._start_payload()
            except BaseException:
                guest.memory.close()
                raise
        except BaseException:
            qemu.kill()
            await qemu.reap()
            raise
        return guest

    async def _start_payload(self) -> None:
        self.memory.prepare()
        await self.qemu.execute("cont")
        start = time.monotonic()
        await self._wait_until(self.memory.first_beat_seen, "the guest's first beat")
        self.first_beat_s = time.monotonic() - start
        # A large working set takes long on a KVM that emulates: scale the timeout with its size.
        timeout_s = BEAT_TIMEOUT_S + self.plan.pages * 100e-6
        await self._wait_until(
            self.memory.running, "the guest's first walk over its RAM", timeout_s
        )
        if self.plan.device:
            await self._wait_until(self.memory.device_ready, "the guest's first DMA")

    async def _wait_until(
        self, reached: Callable[[], bool], what: str, timeout_s: float = BEAT_TIMEOUT_S
    ) -> None:
        end = time.monotonic() + timeout_s
        while not reached():
            self.qemu.check(f"before {what}")
            if time.monotonic() > end:
                raise GuestLost(
                    f"timed out after {timeout_s:.0f} s waiting for {what}", self.qemu.argv
                )
            await asyncio.sleep(0.002)

    def adopt_ram(self, qemu: Qemu) -> None:
        """Map the guest RAM of `qemu`, which holds the copied guest, instead of the old RAM."""
        copied = GuestMemory(ram_descriptor(qemu.pid, self.scenario.ram_bytes), self.plan)
        self.memory.close()
        self.memory = copied

    async def end(self) -> None:
        """Quit QEMU, then unmap the guest's RAM."""
        try:
            await self.qemu.quit()
        finally:
            self.close()

    def close(self) -> None:
        """Kill QEMU and unmap the guest's RAM. Needs no event loop; may be called after `end`."""
        self.qemu.kill()
        self.memory.close()


def driven_device(scenario: Scenario) -> str:
    """The assigned device that the payload drives: the first edu. Empty when there is none.

    With RAM above the PCI hole the payload runs in long mode, where it takes no interrupts and
    drives no device.
    """
    if low_ram_bytes(scenario.machine, scenario.ram_bytes) < scenario.ram_bytes:
        return ""
    assigned = filter(None, scenario.devices.split(","))
    return next((address for address in assigned if read_device(address).ids == EDU), "")


def device_plan(scenario: Scenario) -> dict[str, int]:
    """The payload's parameters for the device that it drives."""
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
    variation: Variation = NO_VARIATION,
) -> Qemu:
    """Start a QEMU for `scenario`, to run a new guest or to receive one."""
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
    """Thread ids of the vCPUs, by vCPU index. Raises TransferRefused, GuestLost."""
    found = await qemu.execute("query-cpus-fast")
    with understood("query-cpus-fast", found):
        tids = {int(cpu["cpu-index"]): int(cpu["thread-id"]) for cpu in found}
    if sorted(tids) != list(range(vcpus)):
        raise TransferRefused(f"QEMU (pid {qemu.pid}) reports vCPUs {sorted(tids)}, not {vcpus}")
    return tuple(tids[i] for i in range(vcpus))
