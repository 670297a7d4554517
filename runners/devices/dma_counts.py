"""The device that the payload drives, around one transfer: the payload's and the host's counts."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from results.records.observations import DeviceCounts, DeviceWork
from runners.qemu.guest import Guest, driven_device
from runners.system.timeouts import scaled_timeout

_OPERATIONS_TIMEOUT_S = scaled_timeout(3.0)
_DEVICES = Path("/sys/bus/pci/devices")
# What Intel's and AMD's IOMMU drivers log for DMA to an unmapped address.
_FAULT = re.compile(r"DMAR: \[DMA (?:Read|Write)|AMD-Vi: .*(?:IO_PAGE_FAULT|page fault)")


class DeviceWatch:
    """Create it while the guest runs in old QEMU; call `finished` when it runs in new QEMU."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self.address = driven_device(guest.scenario)
        self._log = _kernel_log()
        self._before, self._interrupts = self._read_counts()

    def _read_counts(self) -> tuple[DeviceCounts, int]:
        return self._guest.memory.device(), interrupts_of(self.address)

    def finished(self) -> DeviceWork:
        """Wait for two more operations of the device; returns the counts before and after."""
        memory = self._guest.memory
        memory.wait_for_device(memory.device(), _OPERATIONS_TIMEOUT_S)
        after, interrupts = self._read_counts()
        return DeviceWork(
            address=self.address,
            before=self._before,
            after=after,
            interrupts_before=self._interrupts,
            interrupts_after=interrupts,
            faults=self._faults(),
        )

    def _faults(self) -> int | None:
        if self._log < 0:
            return None
        found = 0
        with suppress(BlockingIOError):
            while True:
                found += bool(_FAULT.search(os.read(self._log, 8192).decode(errors="replace")))
        os.close(self._log)
        self._log = -1
        return found


def interrupt_numbers(address: str) -> tuple[int, ...]:
    """The device's current interrupt numbers: its MSIs, or its interrupt line."""
    here = _DEVICES / address
    numbers = [int(path.name) for path in (here / "msi_irqs").glob("*")]
    if not numbers:
        with suppress(OSError, ValueError):
            numbers = [int((here / "irq").read_text())]
    return tuple(sorted(numbers))


def interrupts_of(address: str) -> int:
    """How many interrupts of the device the host has handled, by its current numbers."""
    wanted = {str(number) for number in interrupt_numbers(address)}
    total = 0
    for line in Path("/proc/interrupts").read_text().splitlines()[1:]:
        number, _, rest = line.partition(":")
        if number.strip() in wanted:
            for word in rest.split():
                if not word.isdigit():
                    break
                total += int(word)
    return total


def _kernel_log() -> int:
    """A descriptor at the end of the kernel log; -1 without permission to read it."""
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(log, 0, os.SEEK_END)
    except OSError:
        return -1
    return log
