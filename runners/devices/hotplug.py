"""Devices and memory that are plugged into a live QEMU, taken away, or given to one at its start.

A guest that does not answer never lets go of what it is asked to eject. A PCI device in a slot
that the guest has never powered on leaves at once (pcie_cap_slot_unplug_request_cb in QEMU's
hw/pci/pcie.c), so root ports use their native hot-plug. For a pc-dimm the monitor's `o` does what
the guest's ACPI code would: it writes the eject bit (hw/acpi/memory_hotplug.c).
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
from runners.qemu.process import Qemu
from runners.system.timeouts import patient

UNPLUG_TIMEOUT_S = patient(3.0)
_OPTIONS = {
    "object-add": "-object",
    "device_add": "-device",
    "netdev_add": "-netdev",
    "blockdev-add": "-blockdev",
}
_BACK = {
    "object-add": ("object-del", "id", "id"),
    "netdev_add": ("netdev_del", "id", "id"),
    "blockdev-add": ("blockdev-del", "node-name", "node-name"),
    "chardev-add": ("chardev-remove", "id", "id"),
}
# I/O ports of memory hot-plug on q35 (ICH9_PMBASE is elsewhere; include/hw/acpi/ich9.h), its slot
# selector and its flags; bit 3 of these ejects.
_SELECT_SLOT, _SLOT_FLAGS, _EJECT = 0x0A00, 0x0A14, 8

# Two slots with native hot-plug, room for memory, and a log of how descriptors are kept by name.
ROOM: tuple[str, ...] = (
    *("-m", "slots=4,maxmem=4G"),
    *("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),
    *("-device", "pcie-root-port,id=slot1,chassis=1,slot=1"),
    *("-device", "pcie-root-port,id=slot2,chassis=2,slot=2"),
    *("-trace", "cpr_save_fd", "-trace", "cpr_delete_fd", "-trace", "cpr_find_fd"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing as QMP adds it; the same arguments serve the command line, as JSON."""

    command: str
    arguments: Mapping[str, Any]

    def options(self) -> tuple[str, ...]:
        if self.command == "chardev-add":
            path = self.arguments["backend"]["data"]["addr"]["data"]["path"]
            return ("-chardev", f"socket,id={self.arguments['id']},path={path}")
        return (_OPTIONS[self.command], json.dumps(dict(self.arguments)))


@dataclass(frozen=True, slots=True)
class HotplugUnit:
    """A device with what is behind it, in the order of plugging.

    `memory` is the id of its memory backend. A device without an id is found by its bus.
    """

    name: str
    parts: tuple[Part, ...]
    memory: str = ""

    def options(self) -> tuple[str, ...]:
        return tuple(word for part in self.parts for word in part.options())


async def plug(qemu: Qemu, unit: HotplugUnit) -> None:
    """Raises TransferRefused with QEMU's words."""
    for part in unit.parts:
        await qemu.execute(part.command, part.arguments)


async def unplug(qemu: Qemu, unit: HotplugUnit) -> None:
    """Take a unit away and wait until it is gone. Raises TransferRefused when QEMU keeps it."""
    for part in reversed(unit.parts):
        if part.command == "device_add":
            await _unplug_device(qemu, part.arguments)
            continue
        command, key, given = _BACK[part.command]
        await _with_patience(qemu, command, {key: part.arguments[given]})


async def _unplug_device(qemu: Qemu, arguments: Mapping[str, Any]) -> None:
    path = await _path(qemu, arguments)
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


async def _path(qemu: Qemu, arguments: Mapping[str, Any]) -> str:
    """A device's id, or the QOM path of the last one plugged without an id."""
    if "id" in arguments:
        return str(arguments["id"])
    root = "/machine/peripheral-anon"
    for entry in await qemu.execute("qom-list", {"path": root}):
        path = f"{root}/{entry['name']}"
        if not entry["type"].startswith("child<"):
            continue
        with suppress(TransferRefused):
            bus = await qemu.execute("qom-get", {"path": path, "property": "parent_bus"})
            if str(bus).split("/")[-1] == arguments["bus"]:
                return path
    raise TransferRefused(f"old QEMU has no {arguments['driver']} without an id")


async def _dimm_slot(qemu: Qemu, name: str) -> int | None:
    for device in await qemu.execute("query-memory-devices"):
        if device["data"].get("id") == name and name:
            return int(device["data"]["slot"])
    return None


async def placed(qemu: Qemu) -> dict[str, dict[str, int]]:
    """Memory backend of each pc-dimm → its address and slot."""
    return {
        d["data"]["memdev"].rpartition("/")[2]: {k: int(d["data"][k]) for k in ("addr", "slot")}
        for d in await qemu.execute("query-memory-devices")
    }


async def _with_patience(qemu: Qemu, command: str, arguments: Mapping[str, Any]) -> None:
    """What was behind a device is in use for a moment after the device is gone (RCU)."""
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
    """One command of the human monitor; what it prints."""
    return str(await qemu.execute("human-monitor-command", {"command-line": line}))


async def host_address(qemu: Qemu, address: int) -> int | None:
    """Where QEMU has guest-physical `address`; None where the guest has no RAM there."""
    answer = await hmp(qemu, f"gpa2hva {address:#x}")
    match = re.search(r"is (0x[0-9a-f]+)", answer)
    return int(match[1], 16) if match else None


def names_kept(log: str) -> tuple[str, ...]:
    """`NAME ID` of descriptors that a QEMU keeps for CPR, from its log of saves and deletes."""
    kept: dict[str, None] = {}
    for verb, name, number in re.findall(r"^cpr_(save|delete)_fd (.*?), id (-?\d+)", log, re.M):
        key = f"{name} {number}"
        kept.pop(key, None)
        if verb == "save":
            kept[key] = None
    return tuple(kept)


def names_asked(log: str) -> dict[str, bool]:
    """`NAME ID` that a QEMU looked up → whether it was there, from its log."""
    found = re.findall(r"^cpr_find_fd (.*?), id (-?\d+) returns (-?\d+)", log, re.M)
    return {f"{name} {number}": int(fd) >= 0 for name, number, fd in found}
