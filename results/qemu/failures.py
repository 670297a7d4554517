"""Known failures: the message of QEMU that identifies each, what it means, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from results.records.reasons import KNOWN_FAILURE, Reason, because


@dataclass(frozen=True, slots=True)
class Known:
    """One known failure; `said` matches QEMU's message, in a QMP reply or in its log."""

    name: str
    said: str
    means: str
    advice: str
    vfio: bool = True  # only in transfers with assigned devices


KNOWN: tuple[Known, ...] = (
    Known(
        "iommufd-mapped-bars",
        r"some memory regions do not support IOMMU_IOAS_CHANGE_PROCESS",
        "iommufd can change the owner of guest RAM, but not of a device's mapped BARs",
        "assign it with x-no-mmap=on (no_mmap = true in a scenario, as in vfio-iommufd), or use "
        "type1",
    ),
    Known(
        "iommufd-too-old",
        r"does not support IOMMU_IOAS_CHANGE_PROCESS",
        "this kernel's iommufd cannot change the owner of mappings",
        "use Linux 6.13 or newer, or type1",
    ),
    Known(
        "type1-without-vaddr",
        r"does not support VFIO_UPDATE_VADDR",
        "this container cannot change the addresses of mappings",
        "use Linux 5.12 or newer, and no mediated device in the container",
    ),
    Known(
        "vfio-mdev", r"CPR does not support vfio mdev", "CPR does not support mediated devices", ""
    ),
    Known(
        "no-vfio-cpr",
        r"VFIO migration is not supported|vfio-pci: .*migration.* not supported",
        "this QEMU cannot transfer assigned devices: CPR supports vfio since QEMU 10.1",
        "use a build of 10.1 or newer (pausebench build add debian:trixie-backports)",
    ),
    Known(
        "device-without-reset",
        r"kvm run failed Bad address",
        "new QEMU cannot reach the device's memory: seen with devices that have neither a "
        "function-level nor a bus reset",
        "use a device with FLR, or one behind its own root port",
    ),
    Known(
        "private-ram",
        r"is not compatible with CPR\. share=on is required",
        "a block of guest RAM is private to old QEMU",
        "use share=on for memory backends, and -machine aux-ram-share=on",
        vfio=False,
    ),
    Known(
        "no-cpr-channel",
        r"missing 'cpr' migration channel",
        "without a second channel no descriptor can be passed",
        "add a channel of channel-type cpr to `migrate`",
        vfio=False,
    ),
    Known(
        "channel-twice",
        r"Channel list has more than one (main|cpr) entry",
        "`migrate` accepts each channel once",
        "",
        vfio=False,
    ),
    Known(
        "cpr-channel-not-unix",
        r"bad cpr channel (address|socket type); must be unix",
        "only a unix socket can pass descriptors (SCM_RIGHTS)",
        "use a unix socket for the cpr channel of old and of new QEMU",
        vfio=False,
    ),
    Known(
        "capability-conflict",
        r"Cannot use (postcopy|background snapshot|COLO) with CPR",
        "this migration capability cannot be combined with CPR",
        "disable it by migrate-set-capabilities",
        vfio=False,
    ),
    Known(
        "invtsc",
        r"State blocked by non-migratable CPU device \(invtsc flag\)",
        "invtsc blocks every migration, including CPR",
        "remove invtsc from the CPU, or set its tsc-frequency",
        vfio=False,
    ),
    Known(
        "device-not-migratable",
        r"State blocked by non-migratable device|Migration is disabled when using feature",
        "the guest has a device that blocks every migration, including CPR",
        "remove that device from the guest, or use a QEMU that can migrate it",
        vfio=False,
    ),
    Known(
        "cpr-exec-command",
        r"cpr-exec mode requires setting cpr-exec-command",
        "QEMU has no command line to execute",
        "set cpr-exec-command by migrate-set-parameters first",
        vfio=False,
    ),
    Known(
        "descriptor-not-saved",
        r"cannot find saved value for fd",
        "new QEMU looks up a descriptor that old did not pass: their devices differ",
        "",
        vfio=False,
    ),
)


def recognise(text: str, *, vfio: bool) -> Known | None:
    """The known failure that `text` reports, if any; specific ones are tried first.

    `vfio` is whether the guest had assigned devices.
    """
    fit = (known for known in KNOWN if vfio or not known.vfio)
    return next((known for known in fit if re.search(known.said, text)), None)


def known_failure(said: str, log: str, *, vfio: bool) -> tuple[Reason, ...]:
    """The known failure that `said` or the log reports, if any, with its meaning."""
    known = recognise(f"{said}\n{log}", vfio=vfio)
    if known is None:
        return ()
    means = f"{known.means}: {known.advice}" if known.advice else known.means
    return (because(KNOWN_FAILURE, name=known.name, means=means),)
