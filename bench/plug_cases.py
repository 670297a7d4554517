"""What is plugged around a transfer, and in which order: devices, memory, and the cases of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from results.plugging import Expected
from results.records import MIB
from runners.plugging import Part, Unit

MEMORY_BYTES = 8 * MIB  # of one plugged backend: not the size of guest RAM, nor of a ROM

Make = Callable[[int, str, Path], Unit]  # place (1 or 2), name, private directory


def net(place: int, name: str, directory: Path) -> Unit:
    """A virtio-net device in a slot of its own; without a name QEMU gives it none."""
    hub, device = name or f"unnamed{place}", {"id": name} if name else {}
    return Unit(
        hub,
        (
            Part("netdev_add", {"type": "hubport", "id": f"{hub}-hub", "hubid": place}),
            Part(
                "device_add",
                {"driver": "virtio-net-pci", **device, "bus": f"slot{place}"}
                | {"netdev": f"{hub}-hub", "mac": f"52:54:00:12:34:0{place}"},
            ),
        ),
    )


def net_without_rom(place: int, name: str, directory: Path) -> Unit:
    """As `net`, without the boot ROM, which is the only memory of its own."""
    unit = net(place, name, directory)
    backend, device = unit.parts
    return replace(unit, parts=(backend, Part(device.command, {**device.arguments, "romfile": ""})))


def disk(place: int, name: str, directory: Path) -> Unit:
    """A virtio-blk device on a raw file."""
    node, device = f"{name or f'unnamed{place}'}-file", {"id": name} if name else {}
    image = directory / f"disk{place}.img"
    if not image.exists():
        image.touch()
        os.truncate(image, MIB)
    return Unit(
        name or f"unnamed{place}",
        (
            Part("blockdev-add", {"driver": "file", "node-name": node, "filename": str(image)}),
            Part(
                "device_add",
                {"driver": "virtio-blk-pci", **device, "bus": f"slot{place}", "drive": node},
            ),
        ),
    )


def _backend(kind: str, name: str) -> Part:
    return Part("object-add", {"qom-type": kind, "id": name, "size": MEMORY_BYTES, "share": True})


def dimm(place: int, name: str, directory: Path, kind: str = "memory-backend-ram") -> Unit:
    """A pc-dimm; where it lies is QEMU's choice when it is plugged."""
    device = {"driver": "pc-dimm", "id": f"dimm-{name}", "memdev": name}
    return Unit(name, (_backend(kind, name), Part("device_add", device)), name)


def memfd_dimm(place: int, name: str, directory: Path) -> Unit:
    return dimm(place, name, directory, "memory-backend-memfd")


def backend(place: int, name: str, directory: Path) -> Unit:
    """A memory backend that no device uses."""
    return Unit(name, (_backend("memory-backend-ram", name),), name)


def port(place: int, name: str, directory: Path) -> Unit:
    """A port of virtio-serial on a socket that it connects to; its number is `place`."""
    address = {"type": "unix", "data": {"path": str(directory / "peer")}}
    socket = {"type": "socket", "data": {"addr": address, "server": False}}
    device = {"driver": "virtserialport", "id": name, "bus": "serial.0", "nr": place}
    return Unit(
        name,
        (
            Part("chardev-add", {"id": f"{name}-socket", "backend": socket}),
            Part("device_add", {**device, "chardev": f"{name}-socket"}),
        ),
    )


KINDS: dict[str, tuple[str, Make]] = {
    "net": ("virtio-net", net),
    "net-norom": ("virtio-net without ROM", net_without_rom),
    "blk": ("virtio-blk", disk),
    "dimm": ("pc-dimm of memory-backend-ram", dimm),
    "dimm-memfd": ("pc-dimm of memory-backend-memfd", memfd_dimm),
    "backend": ("memory backend without a device", backend),
    "port": ("virtio-serial port on a socket", port),
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is done around one transfer. Units are named by (place, name).

    `placed` tells new QEMU where each pc-dimm lies, as an operator must.
    """

    kind: str
    name: str
    about: str
    expected: Expected
    start: tuple[tuple[int, str], ...]
    replug: tuple[int, str] | None = None
    plug: tuple[tuple[int, str], ...] = ((1, "one"), (2, "two"))
    unplug: tuple[tuple[int, str], ...] = ((1, "one"),)
    placed: bool = True
    swapped: bool = False  # each pc-dimm where the other was
    fix: str = ""

    @property
    def id(self) -> str:
        return f"ids.{self.kind}.{self.name}"

    @property
    def test(self) -> str:
        return f"{KINDS[self.kind][0]}: {self.about}"


_SECOND = ("second", "two plugged, the first unplugged, new with the second alone")
_BOTH = ("both", "two plugged, the first unplugged, new with both as at first")
_AGAIN = ("again", "the first plugged again under another id, new with what there is")
_OTHER = ("other-id", "the second under another id in new than in old")
_NO_ROM = "plug virtio-net with romfile= (without a ROM, it has no memory of its own)"
_AS_IS = "start new QEMU with the devices that old has now, under the same ids"


def cases() -> Iterator[Case]:
    """All that is tried, kind by kind."""
    for kind in KINDS:
        fix = _NO_ROM if kind == "net" else ""
        yield Case(kind, *_SECOND, "kept", ((2, "two"),), fix=fix)
        both: Expected = "refused" if kind == "port" else "told"
        yield Case(kind, *_BOTH, both, ((1, "one"), (2, "two")), fix=_AS_IS)
        again = ((1, "three"), (2, "two"))
        if kind == "dimm":  # in the order of the command line the slots are as old has them
            again = ((2, "two"), (1, "three"))
        yield Case(kind, *_AGAIN, "kept", again, replug=(1, "three"), fix=fix)
        other: Expected = "refused" if kind.startswith("dimm") else "told"
        yield Case(kind, *_OTHER, other, ((2, "other"),), fix=_AS_IS)
    for kind in ("net-norom", "blk"):
        nameless = ((1, ""), (2, ""))
        about = "two without ids plugged, the first unplugged, new with the second alone"
        yield Case(kind, "unnamed", about, "kept", ((2, ""),), plug=nameless, unplug=((1, ""),))
    yield Case(
        "dimm",
        "unplaced",
        "two plugged, the first unplugged, new with the second and no address given",
        "told",
        ((2, "two"),),
        placed=False,
        fix="give each pc-dimm its addr and slot (query-memory-devices)",
    )
    yield Case(
        "dimm",
        "swapped",
        "both stay, new has each at the other's address",
        "told",
        ((1, "two"), (2, "one")),
        unplug=(),
        swapped=True,
        fix="give each pc-dimm its own memdev",
    )
    yield Case(
        "backend",
        "left-out",
        "both stay, new with the second alone",
        "told",
        ((2, "two"),),
        unplug=(),
        fix=_AS_IS,
    )
