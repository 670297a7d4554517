"""The hot-plug cases: which devices and memory are plugged before a transfer, in which order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from results.claims.hotplug import Expected
from results.records.scenario import MIB, Scenario
from runners.devices.hotplug import HotplugUnit, Part

MEMORY_BYTES = 8 * MIB  # of one plugged backend: not the size of guest RAM, nor of a ROM

Make = Callable[[int, str, Path], HotplugUnit]  # slot (1 or 2), name, private directory


def net(slot: int, name: str, directory: Path) -> HotplugUnit:
    """A virtio-net device in its own slot; without a name it has no id."""
    hub, device = name or f"unnamed{slot}", {"id": name} if name else {}
    return HotplugUnit(
        hub,
        (
            Part("netdev_add", {"type": "hubport", "id": f"{hub}-hub", "hubid": slot}),
            Part(
                "device_add",
                {"driver": "virtio-net-pci", **device, "bus": f"slot{slot}"}
                | {"netdev": f"{hub}-hub", "mac": f"52:54:00:12:34:0{slot}"},
            ),
        ),
    )


def net_without_rom(slot: int, name: str, directory: Path) -> HotplugUnit:
    """Like `net`, without the boot ROM, which is the only memory that the device has."""
    unit = net(slot, name, directory)
    backend, device = unit.parts
    return replace(unit, parts=(backend, Part(device.command, {**device.arguments, "romfile": ""})))


def disk(slot: int, name: str, directory: Path) -> HotplugUnit:
    """A virtio-blk device on a raw file."""
    node, device = f"{name or f'unnamed{slot}'}-file", {"id": name} if name else {}
    image = directory / f"disk{slot}.img"
    if not image.exists():
        image.touch()
        os.truncate(image, MIB)
    return HotplugUnit(
        name or f"unnamed{slot}",
        (
            Part("blockdev-add", {"driver": "file", "node-name": node, "filename": str(image)}),
            Part(
                "device_add",
                {"driver": "virtio-blk-pci", **device, "bus": f"slot{slot}", "drive": node},
            ),
        ),
    )


def _backend(kind: str, name: str) -> Part:
    return Part("object-add", {"qom-type": kind, "id": name, "size": MEMORY_BYTES, "share": True})


def dimm(slot: int, name: str, directory: Path, kind: str = "memory-backend-ram") -> HotplugUnit:
    """A pc-dimm; QEMU chooses its address when it is plugged."""
    device = {"driver": "pc-dimm", "id": f"dimm-{name}", "memdev": name}
    return HotplugUnit(name, (_backend(kind, name), Part("device_add", device)), name)


def memfd_dimm(slot: int, name: str, directory: Path) -> HotplugUnit:
    return dimm(slot, name, directory, "memory-backend-memfd")


def backend(slot: int, name: str, directory: Path) -> HotplugUnit:
    """A memory backend without a device."""
    return HotplugUnit(name, (_backend("memory-backend-ram", name),), name)


def port(slot: int, name: str, directory: Path) -> HotplugUnit:
    """A virtio-serial port connected to a socket; its number is that of the slot."""
    address = {"type": "unix", "data": {"path": str(directory / "peer")}}
    socket = {"type": "socket", "data": {"addr": address, "server": False}}
    device = {"driver": "virtserialport", "id": name, "bus": "serial.0", "nr": slot}
    return HotplugUnit(
        name,
        (
            Part("chardev-add", {"id": f"{name}-socket", "backend": socket}),
            Part("device_add", {**device, "chardev": f"{name}-socket"}),
        ),
    )


@dataclass(frozen=True, slots=True)
class PluggedKind:
    """A kind of device or memory; `room` are options that both QEMUs need in addition to slots."""

    name: str
    what: str
    make: Make
    room: tuple[str, ...] = ()


KINDS = (
    PluggedKind("net", "virtio-net", net),
    PluggedKind("net-norom", "virtio-net without ROM", net_without_rom),
    PluggedKind("blk", "virtio-blk", disk),
    PluggedKind("dimm", "pc-dimm of memory-backend-ram", dimm),
    PluggedKind("dimm-memfd", "pc-dimm of memory-backend-memfd", memfd_dimm),
    PluggedKind("backend", "memory backend without a device", backend),
    PluggedKind(
        "port", "virtio-serial port on a socket", port, ("-device", "virtio-serial-pci,id=serial")
    ),
)


def assigned(scenario: Scenario, addresses: Sequence[str]) -> PluggedKind:
    """One host device per slot, assigned as in a `vfio-…` scenario."""
    way = scenario.vfio
    settings: dict[str, object] = {"iommufd": "iommufd0"} if way == "iommufd" else {}
    if scenario.no_mmap:
        settings["x-no-mmap"] = True

    def device(slot: int, name: str, directory: Path) -> HotplugUnit:
        arguments = {"driver": "vfio-pci", "host": addresses[slot - 1], "id": name, **settings}
        return HotplugUnit(name, (Part("device_add", {**arguments, "bus": f"slot{slot}"}),))

    room = ("-object", "iommufd,id=iommufd0") if way == "iommufd" else ()
    return PluggedKind(f"vfio-{way}", f"device assigned by {way}", device, room)


@dataclass(frozen=True, slots=True)
class Case:
    """One case: what is plugged and unplugged in old QEMU, and how new QEMU is started.

    Units are (slot, name). With `placed` new QEMU gets the address of each pc-dimm, which an
    operator must pass on.
    """

    kind: PluggedKind
    name: str
    about: str
    expected: Expected
    start: tuple[tuple[int, str], ...]
    replug: tuple[int, str] | None = None
    plug: tuple[tuple[int, str], ...] = ((1, "one"), (2, "two"))
    unplug: tuple[tuple[int, str], ...] = ((1, "one"),)
    placed: bool = True
    swapped: bool = False  # each pc-dimm at the address of the other
    fix: str = ""

    @property
    def id(self) -> str:
        return f"ids.{self.kind.name}.{self.name}"

    @property
    def test(self) -> str:
        return f"{self.kind.what}: {self.about}"


_SECOND = ("second", "two plugged, the first unplugged, new QEMU with only the second")
_BOTH = ("both", "two plugged, the first unplugged, new QEMU with both")
_AGAIN = ("again", "the first plugged again under another id, new QEMU with the current devices")
_OTHER = ("other-id", "the second has another id in new QEMU than in old")
_NO_ROM = "plug virtio-net with romfile=: without a ROM it has no memory of its own"
_AS_IS = "start new QEMU with the devices that old has at the transfer, with the same ids"


def cases(kinds: Sequence[PluggedKind] = KINDS) -> Iterator[Case]:
    """All cases, kind by kind."""
    for kind in kinds:
        yield from _after_unplug(kind)
    for kind in kinds:
        if kind.name in ("net-norom", "blk"):
            nameless = ((1, ""), (2, ""))
            about = "two without ids plugged, the first unplugged, new QEMU with only the second"
            yield Case(kind, "unnamed", about, "kept", ((2, ""),), plug=nameless, unplug=((1, ""),))
        elif kind.name == "dimm":
            yield from _misplaced(kind)
        elif kind.name == "backend":
            yield Case(
                kind,
                "left-out",
                "both stay plugged, new QEMU with only the second",
                "reported",
                ((2, "two"),),
                unplug=(),
                fix=_AS_IS,
            )


def _after_unplug(kind: PluggedKind) -> Iterator[Case]:
    fix = _NO_ROM if kind.name == "net" else ""
    yield Case(kind, *_SECOND, "kept", ((2, "two"),), fix=fix)
    both: Expected = "refused" if kind.name == "port" else "reported"
    yield Case(kind, *_BOTH, both, ((1, "one"), (2, "two")), fix=_AS_IS)
    again = ((1, "three"), (2, "two"))
    if kind.name == "dimm":  # this order on the command line gives the slots that old has
        again = ((2, "two"), (1, "three"))
    yield Case(kind, *_AGAIN, "kept", again, replug=(1, "three"), fix=fix)
    other: Expected = "refused" if kind.name.startswith("dimm") else "reported"
    yield Case(kind, *_OTHER, other, ((2, "other"),), fix=_AS_IS)


def _misplaced(kind: PluggedKind) -> Iterator[Case]:
    yield Case(
        kind,
        "unplaced",
        "two plugged, the first unplugged, new QEMU with the second and no address",
        "reported",
        ((2, "two"),),
        placed=False,
        fix="set addr and slot of each pc-dimm (query-memory-devices)",
    )
    yield Case(
        kind,
        "swapped",
        "both stay plugged, in new QEMU each has the address of the other",
        "reported",
        ((1, "two"), (2, "one")),
        unplug=(),
        swapped=True,
        fix="set the memdev of each pc-dimm as in old QEMU",
    )
