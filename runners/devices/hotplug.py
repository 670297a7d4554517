"""Hot-plug and unplug of devices and memory in a running QEMU, or at its start.

A guest without hot-plug support never acknowledges an eject request. A PCI device in a slot that
the guest has not powered on is removed at once (pcie_cap_slot_unplug_request_cb in QEMU's
hw/pci/pcie.c), so root ports use native hot-plug. For a pc-dimm the monitor command `o` does what
the guest's ACPI code would do: it writes the eject bit (hw/acpi/memory_hotplug.c).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qemu.qmp import Message

from results.errors import TransferRefused
from runners.qemu.answers import understood
from runners.qemu.process import Qemu
from runners.system.timeouts import scaled_timeout

UNPLUG_TIMEOUT_S = scaled_timeout(3.0)
_OPTIONS = {
    "object-add": "-object",
    "device_add": "-device",
    "netdev_add": "-netdev",
    "blockdev-add": "-blockdev",
}
_REMOVAL = {
    "object-add": ("object-del", "id", "id"),
    "netdev_add": ("netdev_del", "id", "id"),
    "blockdev-add": ("blockdev-del", "node-name", "node-name"),
    "chardev-add": ("chardev-remove", "id", "id"),
}
# I/O ports of memory hot-plug: slot selector and slot flags, of which bit 3 ejects
# (ACPI_MEMORY_HOTPLUG_BASE in QEMU's include/hw/acpi/pc-hotplug.h).
_SELECT_SLOT, _SLOT_FLAGS, _EJECT = 0x0A00, 0x0A14, 8

# Two slots with native hot-plug, memory slots, and a trace of the descriptors saved by name.
HOTPLUG_ARGUMENTS: tuple[str, ...] = (
    *("-m", "slots=4,maxmem=4G"),
    *("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),
    *("-device", "pcie-root-port,id=slot1,chassis=1,slot=1"),
    *("-device", "pcie-root-port,id=slot2,chassis=2,slot=2"),
    *("-trace", "cpr_save_fd", "-trace", "cpr_delete_fd", "-trace", "cpr_find_fd"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """One object as QMP adds it; the command line takes the same arguments as JSON."""

    command: str
    arguments: Mapping[str, Any]

    def options(self) -> tuple[str, ...]:
        if self.command == "chardev-add":
            path = self.arguments["backend"]["data"]["addr"]["data"]["path"]
            return ("-chardev", f"socket,id={self.arguments['id']},path={path}")
        return (_OPTIONS[self.command], json.dumps(dict(self.arguments)))


@dataclass(frozen=True, slots=True)
class HotplugUnit:
    """A device and its back ends, in the order of plugging.

    `memory` is the id of its memory backend. A device without an id is found by its bus.
    """

    name: str
    parts: tuple[Part, ...]
    memory: str = ""

    def options(self) -> tuple[str, ...]:
        return tuple(word for part in self.parts for word in part.options())


async def plug(qemu: Qemu, unit: HotplugUnit) -> None:
    """Plug a unit. Raises TransferRefused with QEMU's error."""
    for part in unit.parts:
        await qemu.execute(part.command, part.arguments)


async def unplug(qemu: Qemu, unit: HotplugUnit) -> None:
    """Unplug a unit and wait until it is removed. Raises TransferRefused when it is not."""
    for part in reversed(unit.parts):
        if part.command == "device_add":
            await _unplug_device(qemu, part.arguments)
            continue
        command, key, given = _REMOVAL[part.command]
        await _retry_until_free(qemu, command, {key: part.arguments[given]})


async def _unplug_device(qemu: Qemu, arguments: Mapping[str, Any]) -> None:
    path = await _device_path(qemu, arguments)
    slot = await _dimm_slot(qemu, str(arguments.get("id", "")))
    before = len(qemu.stamps)
    await qemu.execute("device_del", {"id": path})
    if slot is not None:
        await hmp(qemu, f"o/4 {_SELECT_SLOT:#x} {slot}")
        await hmp(qemu, f"o/1 {_SLOT_FLAGS:#x} {_EJECT}")

    def gone(message: Message) -> bool:
        seen = [stamp for _, stamp in qemu.stamps[before:]]
        return message.get("event") == "DEVICE_DELETED" and any(message is m for m in seen)

    await qemu.wait_for(gone, f"that {arguments['driver']} is unplugged", UNPLUG_TIMEOUT_S)


async def _device_path(qemu: Qemu, arguments: Mapping[str, Any]) -> str:
    """A device's id, or the QOM path of a device without an id on the given bus."""
    if "id" in arguments:
        return str(arguments["id"])
    root = "/machine/peripheral-anon"
    entries = await qemu.execute("qom-list", {"path": root})
    with understood("qom-list", entries):
        paths = [f"{root}/{e['name']}" for e in entries if e["type"].startswith("child<")]
    for path in paths:
        with suppress(TransferRefused):
            bus = await qemu.execute("qom-get", {"path": path, "property": "parent_bus"})
            if str(bus).split("/")[-1] == arguments["bus"]:
                return path
    raise TransferRefused(f"old QEMU has no {arguments['driver']} without an id")


async def _dimm_slot(qemu: Qemu, name: str) -> int | None:
    devices = await qemu.execute("query-memory-devices")
    with understood("query-memory-devices", devices):
        for device in devices:
            if device["data"].get("id") == name and name:
                return int(device["data"]["slot"])
    return None


async def dimm_placement(qemu: Qemu) -> dict[str, dict[str, int]]:
    """Address and slot of each pc-dimm, by the id of its memory backend."""
    devices = await qemu.execute("query-memory-devices")
    with understood("query-memory-devices", devices):
        return {
            d["data"]["memdev"].rpartition("/")[2]: {k: int(d["data"][k]) for k in ("addr", "slot")}
            for d in devices
        }


async def _retry_until_free(qemu: Qemu, command: str, arguments: Mapping[str, Any]) -> None:
    """Retry: a back end stays in use shortly after its device was removed (RCU)."""
    end = time.monotonic() + UNPLUG_TIMEOUT_S
    while True:
        try:
            await qemu.execute(command, arguments)
            return
        except TransferRefused:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.01)


async def hmp(qemu: Qemu, line: str) -> str:
    """Run one human monitor command; returns its output."""
    return str(await qemu.execute("human-monitor-command", {"command-line": line}))


async def host_address(qemu: Qemu, address: int) -> int | None:
    """The host virtual address in QEMU of guest-physical `address`; None without RAM there."""
    answer = await hmp(qemu, f"gpa2hva {address:#x}")
    match = re.search(r"is (0x[0-9a-f]+)", answer)
    return int(match[1], 16) if match else None


def saved_names(log: str) -> tuple[str, ...]:
    """`NAME ID` of the descriptors that a QEMU has saved for CPR, from its trace log."""
    kept: dict[str, None] = {}
    for verb, name, number in re.findall(r"^cpr_(save|delete)_fd (.*?), id (-?\d+)", log, re.M):
        key = f"{name} {number}"
        kept.pop(key, None)
        if verb == "save":
            kept[key] = None
    return tuple(kept)


def looked_up_names(log: str) -> dict[str, bool]:
    """`NAME ID` of the descriptors that a QEMU looked up → whether it found them."""
    found = re.findall(r"^cpr_find_fd (.*?), id (-?\d+) returns (-?\d+)", log, re.M)
    return {f"{name} {number}": int(fd) >= 0 for name, number, fd in found}
