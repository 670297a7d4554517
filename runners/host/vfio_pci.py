"""PCI devices to assign: inspected, refused when in use, bound to vfio-pci and restored.

Only devices that the user named by address or class are bound. Each binding is recorded in a
file, so that the next session restores the driver after one that was killed.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from results.denial import denial
from results.errors import BuildUnfit, HostUnfit, UsageError
from results.records.scenario import Build
from runners.system.child import run
from runners.system.process_record import is_gone, own_record

_SYS = Path("/sys")
_RECORDS = Path("/run/pausebench/devices")
_DRIVER = "vfio-pci"
_HARMLESS = ("", _DRIVER, "pci-stub", "pcieport")  # drivers that VFIO accepts within a group
_ADDRESS = re.compile(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", re.IGNORECASE)
_CLASS = re.compile(r"class:((?:[0-9a-f]{2}){1,3})", re.IGNORECASE)
_BRIDGE, _IFF_UP = 0x06, 1
_BIND_TIMEOUT_S = 5.0
_VFIO_CPR = b"vfio device with fd=%d needs an id property"  # only in a QEMU with CPR for vfio
# Module, the path that shows it is loaded, and what is missing without it.
_TYPE1 = (("vfio_iommu_type1", Path("/dev/vfio/vfio"), "no VFIO type1 container"),)
_IOMMUFD = (("iommufd", Path("/dev/iommu"), "no iommufd (CONFIG_IOMMUFD, for CPR of Linux 6.13)"),)
EDU = "1234:11e8"  # QEMU's educational device, which the payload can drive


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One PCI function as shown by sysfs. `uses` lists what the host uses it for."""

    address: str
    ids: str  # VENDOR:DEVICE, hexadecimal
    class_code: int
    driver: str  # empty: none
    group: str  # IOMMU group; empty: none
    mates: tuple[tuple[str, str], ...]  # the others in its group: address, driver; no bridges
    reset: str  # its reset methods; empty: none
    uses: tuple[str, ...] = ()


def parse_address(text: str) -> str:
    """`01:00.0` or `0000:01:00.0` → the long form. Raises UsageError."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"invalid PCI address `{text}`: expected e.g. 0000:01:00.0 (`lspci -D`)")
    domain, bus, slot, function = match.groups()
    return f"{domain or '0000'}:{bus}:{slot}.{function}".lower()


def chosen_addresses(text: str, sys: Path = _SYS) -> list[str]:
    """One address, or those of all devices of a class: `class:0108` is all NVMe controllers.

    A class is the first 2, 4 or 6 hexadecimal digits of the PCI class code. Raises UsageError for
    malformed text and for a class without devices.
    """
    match = _CLASS.fullmatch(text.strip())
    if match is None:
        return [parse_address(text)]
    wanted = match[1].lower()
    places = sorted((sys / "bus/pci/devices").glob("*"))
    found = [p.name for p in places if f"{_hex(p / 'class'):06x}".startswith(wanted)]
    if not found:
        raise UsageError(
            f"this host has no PCI device of class {wanted}: see `lspci -Dnn` (--device)"
        )
    return found


def read_device(address: str, sys: Path = _SYS) -> PciDevice:
    """Read the device at `address` from sysfs. Raises UsageError when there is none."""
    here = sys / "bus/pci/devices" / address
    if not here.is_dir():
        raise UsageError(f"this host has no PCI device {address}: see `lspci -D` (--device)")
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
        uses=(*_disks(here, sys), *_interfaces(here, sys), *_displays(here)),
    )


def refusal(device: PciDevice, chosen: Iterable[str]) -> str:
    """Why `device` cannot be assigned, with the fix; empty when it can."""
    name = f"device {device.address} ({device.ids})"
    if device.class_code >> 16 == _BRIDGE:
        return f"{name} is a bridge: choose the device behind it"
    if device.uses:
        return f"{name} is in use: {'; '.join(device.uses)}; free it first, or choose another"
    if not device.group:
        return (
            f"{name} is in no IOMMU group: enable the IOMMU in the firmware and boot with "
            "intel_iommu=on (AMD: on by default)"
        )
    blocking = [(a, d) for a, d in device.mates if a not in set(chosen) and d not in _HARMLESS]
    if blocking:
        others = ", ".join(f"{address} ({driver})" for address, driver in blocking)
        return (
            f"{name} shares IOMMU group {device.group} with {others}: add those with --device, "
            "or unbind them from their drivers"
        )
    if not device.reset:
        return (
            f"{name} has neither a function-level nor a bus reset (device-without-reset): such "
            "devices fail in new QEMU; use one with FLR, or one behind its own root port"
        )
    return ""


def check_devices(addresses: Sequence[str]) -> tuple[PciDevice, ...]:
    """Read the devices and check that all can be assigned. Raises UsageError or HostUnfit."""
    devices = tuple(read_device(address) for address in addresses)
    for device in devices:
        reason = refusal(device, addresses)
        if reason:
            raise UsageError(reason) if device.group else HostUnfit(reason)
        if _group_in_use(device):
            raise UsageError(
                f"device {device.address} is already assigned to another virtual machine "
                f"(/dev/vfio/{device.group} is open): stop that one first"
            )
    return devices


def check_build(build: Build) -> None:
    """Raises BuildUnfit for a QEMU without CPR for assigned devices."""
    with open(build.binary, "rb") as file:  # noqa: PTH123
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
            # The version alone does not decide: distributions backport.
            if binary.find(_VFIO_CPR) < 0:
                raise BuildUnfit(
                    f"{build.label}: QEMU {build.version.split()[0]} does not support CPR with "
                    "assigned devices (no-vfio-cpr: added in QEMU 10.1): use a newer build "
                    "(--build), or the lab, which has one (pausebench lab run)"
                )


# --- binding ------------------------------------------------------------------------------


@contextmanager
def bound_to_vfio_pci(
    addresses: Sequence[str], kinds: Iterable[str]
) -> Iterator[tuple[PciDevice, ...]]:
    """Bind the devices to vfio-pci inside the block, and to their own drivers afterwards.

    `kinds` are the VFIO back ends in use: type1, iommufd. Raises UsageError for a device in use,
    HostUnfit when the kernel refuses the binding or lacks a back end.
    """
    devices = check_devices(addresses)
    for kind in kinds:
        _require(kind)
    with ExitStack() as stack:
        for device in devices:
            if device.driver != _DRIVER:
                stack.callback(_restore_driver, device.address, device.driver)
                _bind(device)
        yield devices


def reclaim_from_dead_sessions() -> int:
    """Restore the drivers of devices that killed sessions had bound; returns how many."""
    abandoned = abandoned_devices()
    for address, driver in abandoned.items():
        _restore_driver(address, driver)
    return len(abandoned)


def abandoned_devices() -> dict[str, str]:
    """Devices that killed sessions left bound to vfio-pci: address → their own driver."""
    found = {}
    for path in sorted(_RECORDS.glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError, UsageError):
            record = json.loads(path.read_text())
            if is_gone(str(record["owner"])):
                found[parse_address(path.stem)] = str(record["driver"])
    return found


def missing_support(kind: str) -> str:
    """What this kernel lacks for a VFIO back end (type1 or iommufd); empty when it has all."""
    try:
        _require(kind)
    except HostUnfit as error:
        return str(error)
    return ""


def _require(kind: str) -> None:
    """Load the kernel modules for a VFIO back end. Raises HostUnfit."""
    for module, sign, what in (
        (_DRIVER, _SYS / "bus/pci/drivers" / _DRIVER, "no vfio-pci driver"),
        *(_IOMMUFD if kind == "iommufd" else _TYPE1),
    ):
        error = "" if sign.exists() else _modprobe(module)
        if not sign.exists():
            raise HostUnfit(
                f"this kernel has {what}{error}: use another kernel, or the lab, which has it "
                "(pausebench lab run)"
            )


def _modprobe(module: str) -> str:
    """Load a module; returns modprobe's error message in parentheses, if any."""
    try:
        done = run(["modprobe", module], 60.0)
    except OSError:
        return " (modprobe is missing: apt-get install kmod)"
    message = " ".join(done.stderr.split())
    return f" ({message})" if message else ""


def _bind(device: PciDevice) -> None:
    here = _SYS / "bus/pci/devices" / device.address
    try:
        record = {"owner": own_record().name, "driver": device.driver}
        _RECORDS.mkdir(mode=0o700, parents=True, exist_ok=True)
        (_RECORDS / f"{device.address}.json").write_text(json.dumps(record))
        (here / "driver_override").write_text(_DRIVER)
        if device.driver:
            (here / "driver/unbind").write_text(device.address)
        (_SYS / "bus/pci/drivers_probe").write_text(device.address)
    except OSError as error:
        raise HostUnfit(
            f"device {device.address} cannot be bound to {_DRIVER}: "
            f"{denial(error.errno or 0, absent='it was removed, or no driver fits it')}"
        ) from error
    if not _wait_for_driver(here, _DRIVER):
        raise HostUnfit(
            f"device {device.address} was not bound to {_DRIVER} but to "
            f"{_driver(here) or 'no driver'}: see dmesg"
        )


def _restore_driver(address: str, driver: str) -> None:
    """Undo `_bind`, as far as it got. Does nothing for a device that was removed."""
    here = _SYS / "bus/pci/devices" / address
    with suppress(OSError):
        if _driver(here) == _DRIVER:
            (here / "driver/unbind").write_text(address)
        (here / "driver_override").write_text("\n")
        if driver and not _driver(here):
            (_SYS / "bus/pci/drivers_probe").write_text(address)
            _wait_for_driver(here, driver)
    (_RECORDS / f"{address}.json").unlink(missing_ok=True)


def _wait_for_driver(here: Path, driver: str) -> bool:
    end = time.monotonic() + _BIND_TIMEOUT_S
    while _driver(here) != driver:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _group_in_use(device: PciDevice) -> bool:
    """Whether another process has the group open: VFIO allows only one at a time."""
    if device.driver != _DRIVER:
        return False
    try:
        os.close(os.open(f"/dev/vfio/{device.group}", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


# --- uses by the host ---------------------------------------------------------------------


def _disks(here: Path, sys: Path) -> Iterator[str]:
    """Its block devices that are claimed by a mount, swap or a volume."""
    for name in _children(here, sys / "class/block"):
        try:
            # O_EXCL fails for mounts in any namespace, swap, device mapper and RAID.
            os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == errno.EBUSY:
                yield f"disk {name} is mounted or part of a volume"


def _interfaces(here: Path, sys: Path) -> Iterator[str]:
    for name in _children(here, sys / "class/net"):
        if _hex(sys / "class/net" / name / "flags") & _IFF_UP:
            yield f"network interface {name} is up"


def _displays(here: Path) -> Iterator[str]:
    if _text(here / "boot_vga") == "1":
        yield "it is the boot display"


def _children(here: Path, kind: Path) -> Iterator[str]:
    """Devices of one class below the PCI device."""
    root = here.resolve()
    for entry in sorted(kind.glob("*")):
        real = entry.resolve()
        if any(root in path.parents for path in (real, *_controllers(real))):
            yield entry.name


def _controllers(disk: Path) -> Iterator[Path]:
    """With NVMe multipath a disk belongs to a subsystem, which links to its controllers."""
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
