"""What the lab consists of: packages, Python packages, kernel options, devices. Values only."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from results.errors import UsageError
from runners.debian.private_apt import Package

SUITE = "trixie-backports"  # a kernel with iommufd's CPR (6.13) and a QEMU with vfio's (10.1)
VIRTME = "virtme-ng==1.42"
# Part of every root's key: raise it when a root is made in another way.
VERSION = 2

PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "findutils"),
    *("grep", "gzip", "hostname", "libc-bin", "mawk", "sed", "tar", "util-linux", "mount"),
    *("procps", "iproute2", "pciutils", "kmod", "busybox-static", "binutils"),
    *("linux-image-amd64", "linux-headers-amd64", "qemu-system-x86", "python3", "python3-bpfcc"),
)
# Dependencies that nothing in the lab uses. Without udev and systemd it boots in 6 s, with them in
# 14 s: nobody has to wait for all devices to settle.
_UNWANTED = re.compile(
    r"(systemd|udev|dbus|initramfs-tools|dracut|libsystemd-shared|lib[almtu]+san\d+|libhwasan\d+|"
    r"libitm1|libquadmath0|libgprofng0|libcc1-0|iso-codes|ipxe-qemu|perl|perl-modules-[\d.]+)_"
)
# Kernel modules that no lab device needs: a third of the root, and most of depmod's time.
UNUSED_MODULES = (
    *("sound", "drivers/gpu", "drivers/media", "drivers/staging", "drivers/infiniband"),
    *("drivers/usb", "drivers/scsi", "drivers/iio", "drivers/hid", "drivers/hwmon", "drivers/isdn"),
    *("drivers/net/wireless", "drivers/net/can", "drivers/net/phy", "drivers/net/usb"),
    *("drivers/platform", "drivers/input", "drivers/mfd", "drivers/video", "drivers/ata"),
    *("net/bluetooth", "net/mac80211", "net/wireless", "net/netfilter", "drivers/bluetooth"),
)
# What pausebench itself imports in the lab; in the versions that this host has.
PYTHON_PACKAGES = (*("msgspec", "numpy", "psutil", "pyelftools", "qemu.qmp", "rich", "SQLAlchemy"),)
KERNEL_OPTIONS = ("intel_iommu=on", "iommu=nopt")
CPUS, MEMORY_MIB = 2, 3072
FREE_MIB = MEMORY_MIB + 512  # that the host must have, with what QEMU takes itself


@dataclass(frozen=True, slots=True)
class LabDevice:
    """A device of the lab, to be assigned to guests in it."""

    name: str
    options: str  # -device of QEMU
    about: str
    disk_mib: int = 0  # of the empty disk behind it


# Each sits behind a root port of its own: QEMU's edu has no reset but its bus's, and a device
# without any breaks in new QEMU.
DEVICES = {
    device.name: device
    for device in (
        LabDevice("edu", "edu", "QEMU's teaching device, driven by the payload: DMA, interrupts"),
        LabDevice("nvme", "nvme,serial=lab,drive=lab-disk", "an NVMe disk", disk_mib=64),
        LabDevice("igb", "igb", "a network card with function-level reset"),
    )
}


def chosen_devices(names: Iterable[str]) -> tuple[LabDevice, ...]:
    """The devices by name. Raises UsageError."""
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in DEVICES:
            raise UsageError(f"the lab has no device `{name}`: one of {', '.join(DEVICES)}")
    return tuple(DEVICES[name] for name in wanted)


def address_of(place: int) -> str:
    """PCI address in the lab of the device at `place` of the chosen ones, from 0."""
    return f"0000:{place + 1:02x}:00.0"  # firmware numbers buses in the order of the root ports


def device_argv(devices: Sequence[LabDevice], disk: str) -> list[str]:
    """QEMU options of the lab's IOMMU and devices; `disk` is an image file."""
    # caching-mode: without it the vIOMMU does not see what VFIO maps.
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
    """Whether a package that apt would install goes into the root."""
    return _UNWANTED.match(package.name) is None


def root_key(packages: Iterable[Package], python_packages: Iterable[str]) -> str:
    """Names a root by all that is in it: two with the same key are the same."""
    lines = sorted(f"{p.name} {p.size_bytes} {p.checksum}" for p in packages)
    text = "\n".join([str(VERSION), *lines, *python_packages])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def root_argv(tree: str) -> list[str]:
    """QEMU options that show the lab its root a second time, as `root`, for `job_script`."""
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
# virtme-ng mounts the root without a cache: each start of QEMU would read it all again (2 s, not
# 0.2), each start of Python 1 s.
mkdir -p /run/root /run/store /run/tmp /lab/store
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 {tag} /run/root || exit
for place in proc sys dev lab run; do mount --rbind /$place /run/root/$place; done
mount --bind /run/tmp /run/root/tmp
timeout --kill-after=10 {limit} env -C /run chroot /run/root /usr/bin/env -C /run {words}
status=$?
# A store lies in memory until here: SQLite's log needs shared memory, which 9p has not.
cp -r /run/store/. /lab/store/
dmesg > /lab/dmesg
echo $status > /lab/status.part && mv /lab/status.part /lab/status
"""


def job_script(arguments: Sequence[str], environment: Mapping[str, str], limit_s: int) -> str:
    """What the lab runs: `arguments` with `environment`, for `limit_s` at the most."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    words = shlex.join([*settings, *arguments])
    return _JOB.format(tag=_ROOT_TAG, limit=limit_s, words=words)
