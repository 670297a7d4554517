"""Assigned PCI devices: looked at, refused when in use, lent to vfio-pci and given back.

A device is only ever taken when it was named by its address or its class. What is lent is written
down, so that the next session gives back what a killed one kept.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from results.errors import BuildUnfit, HostUnfit, UsageError
from results.records.scenario import Build
from runners.system.child import start_time, still_runs

_SYS = Path("/sys")
_LENT = Path("/run/pausebench/devices")
_DRIVER = "vfio-pci"
_HARMLESS = ("", _DRIVER, "pci-stub", "pcieport")  # what VFIO lets the others of a group have
_ADDRESS = re.compile(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", re.IGNORECASE)
_CLASS = re.compile(r"class:((?:[0-9a-f]{2}){1,3})", re.IGNORECASE)
_BRIDGE, _IFF_UP = 0x06, 1
_SETTLE_S = 5.0
_VFIO_CPR = b"vfio device with fd=%d needs an id property"  # said by those that have vfio CPR only
# Module, what shows that it is there, and what lacks otherwise.
_TYPE1 = (("vfio_iommu_type1", Path("/dev/vfio/vfio"), "no VFIO type1 container"),)
_IOMMUFD = (("iommufd", Path("/dev/iommu"), "no iommufd (CONFIG_IOMMUFD, for CPR of Linux 6.13)"),)
EDU = "1234:11e8"  # QEMU's teaching device, which the payload can drive


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One PCI function as sysfs shows it. `uses` says what the host needs it for, if anything."""

    address: str
    ids: str  # VENDOR:DEVICE, hexadecimal
    class_code: int
    driver: str  # empty: none
    group: str  # IOMMU group; empty: none
    mates: tuple[tuple[str, str], ...]  # the others of its group: address, driver; no bridges
    reset: str  # ways to reset it alone; empty: none
    uses: tuple[str, ...] = ()


def parse_address(text: str) -> str:
    """`01:00.0` or `0000:01:00.0` → the long form. Raises UsageError."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"`{text}` is no PCI address: write it like 0000:01:00.0 (`lspci -D`)")
    domain, bus, slot, function = match.groups()
    return f"{domain or '0000'}:{bus}:{slot}.{function}".lower()


def chosen_addresses(text: str, sys: Path = _SYS) -> list[str]:
    """One address, or those of every device of a class: `class:0108` is all NVMe controllers.

    A class is the first 2, 4 or 6 hexadecimal digits of the PCI class code. Raises UsageError for
    what is neither, and for a class that no device has.
    """
    match = _CLASS.fullmatch(text.strip())
    if match is None:
        return [parse_address(text)]
    wanted = match[1].lower()
    places = sorted((sys / "bus/pci/devices").glob("*"))
    found = [p.name for p in places if f"{_hex(p / 'class'):06x}".startswith(wanted)]
    if not found:
        raise UsageError(
            f"no PCI device of class {wanted} here: `lspci -Dnn` shows them (--device)"
        )
    return found


def look_at(address: str, sys: Path = _SYS) -> PciDevice:
    """What sysfs tells of the device at `address`. Raises UsageError when there is none."""
    here = sys / "bus/pci/devices" / address
    if not here.is_dir():
        raise UsageError(f"no PCI device {address} on this host: `lspci -D` lists them (--device)")
    group = here / "iommu_group"
    members = sorted(p.name for p in (group / "devices").glob("*")) if group.exists() else []
    return PciDevice(
        address=address,
        ids=f"{_hex(here / 'vendor'):04x}:{_hex(here / 'device'):04x}",
        class_code=_hex(here / "class"),
        driver=_driver(here),
        group=group.resolve().name if group.exists() else "",
        mates=tuple(
            (name, _driver(here.parent / name))
            for name in members
            if name != address and _hex(here.parent / name / "class") >> 16 != _BRIDGE
        ),
        reset=_text(here / "reset_method"),
        uses=(*_disks(here, sys), *_interfaces(here, sys), *_screens(here)),
    )


def refusal(device: PciDevice, chosen: Iterable[str]) -> str:
    """Why `device` cannot be taken, with what to do; empty when it can."""
    name = f"device {device.address} ({device.ids})"
    if device.class_code >> 16 == _BRIDGE:
        return f"{name} is a bridge: name the device behind it"
    if device.uses:
        return f"{name} is in use: {'; '.join(device.uses)}; free it first, or name another"
    if not device.group:
        return (
            f"{name} is in no IOMMU group: boot with intel_iommu=on (AMD: on by itself) and the "
            "IOMMU on in the firmware"
        )
    held = [(a, d) for a, d in device.mates if a not in set(chosen) and d not in _HARMLESS]
    if held:
        words = ", ".join(f"{address} ({driver})" for address, driver in held)
        return (
            f"{name} shares IOMMU group {device.group} with {words}: name those too (--device), "
            "or unbind them from their drivers"
        )
    if not device.reset:
        return (
            f"{name} has neither a function-level nor a bus reset (device-without-reset): such "
            "devices break in new QEMU; use one with FLR, or behind a root port of its own"
        )
    return ""


def check_devices(addresses: Sequence[str]) -> tuple[PciDevice, ...]:
    """The devices, all of them fit to be assigned. Raises UsageError or HostUnfit."""
    devices = tuple(look_at(address) for address in addresses)
    for device in devices:
        why = refusal(device, addresses)
        if why:
            raise UsageError(why) if device.group else HostUnfit(why)
        if _busy(device):
            raise UsageError(
                f"device {device.address} is assigned to another virtual machine already "
                f"(/dev/vfio/{device.group} is open): end that one first"
            )
    return devices


def check_build(build: Build) -> None:
    """Raises BuildUnfit for a QEMU that hands no assigned device over."""
    with open(build.binary, "rb") as file:  # noqa: PTH123
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
            # The version alone would not tell: distributions backport.
            if binary.find(_VFIO_CPR) < 0:
                raise BuildUnfit(
                    f"{build.label}: QEMU {build.version.split()[0]} hands no assigned device over "
                    "(no-vfio-cpr: vfio came to CPR with QEMU 10.1): name a newer one (--build), "
                    "or use the lab, which has one (pausebench lab run)"
                )


# --- lending ------------------------------------------------------------------------------


@contextmanager
def lent(addresses: Sequence[str], kinds: Iterable[str]) -> Iterator[tuple[PciDevice, ...]]:
    """Have the devices bound to vfio-pci inside the block, and back at their drivers after it.

    `kinds` are the ways to assign them: type1, iommufd. Raises UsageError for a device in use,
    HostUnfit when the kernel refuses or lacks a way.
    """
    devices = check_devices(addresses)
    for kind in kinds:
        _need(kind)
    with ExitStack() as stack:
        for device in devices:
            if device.driver != _DRIVER:
                stack.callback(_give_back, device.address, device.driver)
                _take(device)
        yield devices


def give_back_of_the_dead() -> int:
    """Give back the devices that killed sessions kept; how many there were."""
    found = 0
    for note in _LENT.glob("*.json"):
        with suppress(OSError, ValueError, KeyError):
            kept = json.loads(note.read_text())
            if not still_runs(int(kept["pid"]), kept["started"]):
                _give_back(parse_address(note.stem), str(kept["driver"]))
                found += 1
    return found


def missing(kind: str) -> str:
    """What this kernel lacks to assign devices in one way: type1, iommufd; empty for nothing."""
    try:
        _need(kind)
    except HostUnfit as error:
        return str(error)
    return ""


def _need(kind: str) -> None:
    """Load what the kernel needs for one way of assigning devices. Raises HostUnfit."""
    for module, sign, what in (
        (_DRIVER, _SYS / "bus/pci/drivers" / _DRIVER, "no vfio-pci driver"),
        *(_IOMMUFD if kind == "iommufd" else _TYPE1),
    ):
        words = "" if sign.exists() else _modprobe(module)
        if not sign.exists():
            raise HostUnfit(
                f"this kernel has {what}{words}: use another kernel, or the lab, which has it "
                "(pausebench lab run)"
            )


def _modprobe(module: str) -> str:
    """Load a module; what was said when it could not be."""
    try:
        done = subprocess.run(
            ["modprobe", module], capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return " (and there is no modprobe here: apt-get install kmod)"
    said = " ".join(done.stderr.split())
    return f" ({said})" if said else ""


def _take(device: PciDevice) -> None:
    here = _SYS / "bus/pci/devices" / device.address
    me = os.getpid()
    note = {"pid": me, "started": start_time(me), "driver": device.driver}
    try:
        _LENT.mkdir(mode=0o700, parents=True, exist_ok=True)
        (_LENT / f"{device.address}.json").write_text(json.dumps(note))
        (here / "driver_override").write_text(_DRIVER)
        if device.driver:
            (here / "driver/unbind").write_text(device.address)
        (_SYS / "bus/pci/drivers_probe").write_text(device.address)
    except OSError as error:
        raise HostUnfit(
            f"device {device.address} cannot be bound to {_DRIVER}: {error.strerror} (root?)"
        ) from error
    if not _becomes(here, _DRIVER):
        raise HostUnfit(
            f"device {device.address} was not taken by {_DRIVER} but by "
            f"{_driver(here) or 'no driver'}: see dmesg"
        )


def _give_back(address: str, driver: str) -> None:
    """Undo `_take`, as far as it got; a device that was pulled out is nobody's any more."""
    here = _SYS / "bus/pci/devices" / address
    with suppress(OSError):
        if _driver(here) == _DRIVER:
            (here / "driver/unbind").write_text(address)
        (here / "driver_override").write_text("\n")
        if driver and not _driver(here):
            (_SYS / "bus/pci/drivers_probe").write_text(address)
            _becomes(here, driver)
    (_LENT / f"{address}.json").unlink(missing_ok=True)


def _becomes(here: Path, driver: str) -> bool:
    end = time.monotonic() + _SETTLE_S
    while _driver(here) != driver:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _busy(device: PciDevice) -> bool:
    """Whether another process has the group open: VFIO lets only one at a time."""
    if device.driver != _DRIVER:
        return False
    try:
        os.close(os.open(f"/dev/vfio/{device.group}", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


# --- what the host uses it for ------------------------------------------------------------


def _disks(here: Path, sys: Path) -> Iterator[str]:
    """Block devices of it that something has claimed: a mount, swap, a volume."""
    for name in _children(here, sys / "class/block"):
        try:
            # The kernel itself tells: mounts of any namespace, swap, device mapper, RAID.
            os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == errno.EBUSY:
                yield f"disk {name} is mounted or part of a volume"


def _interfaces(here: Path, sys: Path) -> Iterator[str]:
    for name in _children(here, sys / "class/net"):
        if _hex(sys / "class/net" / name / "flags") & _IFF_UP:
            yield f"network interface {name} is up"


def _screens(here: Path) -> Iterator[str]:
    if _text(here / "boot_vga") == "1":
        yield "it is the screen that the firmware started with"


def _children(here: Path, kind: Path) -> Iterator[str]:
    """Devices of one class that hang on the PCI device."""
    root = here.resolve()
    for entry in sorted(kind.glob("*")):
        real = entry.resolve()
        if any(root in path.parents for path in (real, *_controllers(real))):
            yield entry.name


def _controllers(disk: Path) -> Iterator[Path]:
    """With NVMe's multipath a disk hangs on a subsystem, and that on controllers by links."""
    for parent in disk.parents:
        if parent.name.startswith("nvme-subsys"):
            yield from (link.resolve() for link in parent.glob("nvme*") if link.is_symlink())


def _driver(here: Path) -> str:
    link = here / "driver"
    return link.resolve().name if link.exists() else ""


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _hex(path: Path) -> int:
    text = _text(path)
    return int(text, 16) if re.fullmatch(r"0x[0-9a-fA-F]+", text) else 0
