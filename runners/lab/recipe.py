"""What the lab consists of: packages, Python packages, kernel options and devices. Values only."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from results.errors import UsageError
from runners.debian.private_apt import Package

SUITE = "trixie-backports"  # its kernel (6.13 or newer) and QEMU (10.1) support CPR with iommufd
VIRTME = "virtme-ng==1.42"
# Part of every root's key: increment it when roots are built differently.
VERSION = 2

PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "findutils"),
    *("grep", "gzip", "hostname", "libc-bin", "mawk", "sed", "tar", "util-linux", "mount"),
    *("procps", "iproute2", "pciutils", "kmod", "busybox-static", "binutils"),
    *("linux-image-amd64", "linux-headers-amd64", "qemu-system-x86", "python3", "python3-bpfcc"),
)
# Dependencies that nothing in the lab uses. Without udev and systemd it boots in 6 s instead of
# 14 s, as nothing waits for devices to settle.
_UNWANTED = re.compile(
    r"(systemd|udev|dbus|initramfs-tools|dracut|libsystemd-shared|lib[almtu]+san\d+|libhwasan\d+|"
    r"libitm1|libquadmath0|libgprofng0|libcc1-0|iso-codes|ipxe-qemu|perl|perl-modules-[\d.]+)_"
)
# Kernel modules that no lab device needs: a third of the root, and most of depmod's run time.
UNUSED_MODULES = (
    *("sound", "drivers/gpu", "drivers/media", "drivers/staging", "drivers/infiniband"),
    *("drivers/usb", "drivers/scsi", "drivers/iio", "drivers/hid", "drivers/hwmon", "drivers/isdn"),
    *("drivers/net/wireless", "drivers/net/can", "drivers/net/phy", "drivers/net/usb"),
    *("drivers/platform", "drivers/input", "drivers/mfd", "drivers/video", "drivers/ata"),
    *("net/bluetooth", "net/mac80211", "net/wireless", "net/netfilter", "drivers/bluetooth"),
)
# What pausebench imports in the lab, in the versions installed on this host.
PYTHON_PACKAGES = (*("msgspec", "numpy", "psutil", "pyelftools", "qemu.qmp", "rich", "SQLAlchemy"),)
KERNEL_OPTIONS = ("intel_iommu=on", "iommu=nopt")
CPUS, MEMORY_MIB = 2, 3072
FREE_MIB = MEMORY_MIB + 512  # free memory that the host needs, with QEMU's own


@dataclass(frozen=True, slots=True)
class LabDevice:
    """A device of the lab that can be assigned to guests."""

    name: str
    options: str  # for QEMU's -device
    about: str
    disk_mib: int = 0  # size of its empty disk; 0: none


# Each is behind its own root port: QEMU's edu only has a bus reset, and a device without any reset
# fails in new QEMU.
DEVICES = {
    device.name: device
    for device in (
        LabDevice("edu", "edu", "QEMU's educational device, driven by the payload with DMA"),
        LabDevice("nvme", "nvme,serial=lab,drive=lab-disk", "an NVMe disk", disk_mib=64),
        LabDevice("igb", "igb", "a network card with function-level reset"),
    )
}


def chosen_devices(names: Iterable[str]) -> tuple[LabDevice, ...]:
    """The devices by name. Raises UsageError."""
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in DEVICES:
            raise UsageError(
                f"the lab has no device `{name}`: expected one of {', '.join(DEVICES)}"
            )
    return tuple(DEVICES[name] for name in wanted)


def address_of(place: int) -> str:
    """PCI address in the lab of the chosen device number `place`, from 0."""
    return f"0000:{place + 1:02x}:00.0"  # the firmware numbers buses in the order of root ports


def device_argv(devices: Sequence[LabDevice], disk: str) -> list[str]:
    """QEMU options for the lab's IOMMU and devices; `disk` is an image file."""
    # caching-mode: without it the vIOMMU does not see VFIO's mappings.
    argv = ["-device", "intel-iommu,intremap=on,caching-mode=on"]
    for place, device in enumerate(devices):
        port = f"pcie-root-port,id=rp{place},slot={place + 1},chassis={place + 1}"
        argv += ["-device", f"{port},addr={0x16 + place:#x}.0"]
        if device.disk_mib:
            path = disk.replace(",", ",,")
            argv += ["-drive", f"file={path},if=none,id=lab-disk,format=raw,cache=unsafe"]
        argv += ["-device", f"{device.options},bus=rp{place}"]
    return argv


def wanted(package: Package) -> bool:
    """Whether a package that apt would install belongs into the root."""
    return _UNWANTED.match(package.name) is None


def root_key(packages: Iterable[Package], python_packages: Iterable[str]) -> str:
    """A hash of everything in a root: roots with the same key have the same content."""
    lines = sorted(f"{p.name} {p.size_bytes} {p.checksum}" for p in packages)
    text = "\n".join([str(VERSION), *lines, *python_packages])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def root_argv(tree: str) -> list[str]:
    """QEMU options that export the lab's root a second time, with a tag for `job_script`."""
    path = tree.replace(",", ",,")
    return [
        *("-fsdev", f"local,id=root,path={path},security_model=none,readonly=on,multidevs=remap"),
        *("-device", f"virtio-9p-pci,fsdev=root,mount_tag={_ROOT_TAG}"),
    ]


_ROOT_TAG = "lab-root"
_JOB = """\
#!/bin/bash
exec > /lab/output 2> /lab/progress < /dev/null
modprobe kvm_amd 2>/dev/null || modprobe kvm_intel
# virtme-ng mounts the root without a cache: every start of QEMU would take 2 s instead of 0.2 s,
# every start of Python 1 s.
mkdir -p /run/root /run/store /run/tmp /lab/store
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 {tag} /run/root || exit
for place in proc sys dev lab run; do mount --rbind /$place /run/root/$place; done
mount --bind /run/tmp /run/root/tmp
timeout --kill-after=10 {limit} env -C /run chroot /run/root /usr/bin/env -C /run {words}
status=$?
# Until here the store is in memory: SQLite's write-ahead log needs shared memory, which 9p lacks.
cp -r /run/store/. /lab/store/
dmesg > /lab/dmesg
echo $status > /lab/status.part && mv /lab/status.part /lab/status
"""


def job_script(arguments: Sequence[str], environment: Mapping[str, str], limit_s: int) -> str:
    """The script that the lab runs: `arguments` with `environment`, for at most `limit_s`."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    words = shlex.join([*settings, *arguments])
    return _JOB.format(tag=_ROOT_TAG, limit=limit_s, words=words)
