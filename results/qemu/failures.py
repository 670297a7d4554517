"""Failures that are known: by what QEMU says, what they mean, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from results.records.reasons import KNOWN_FAILURE, Reason, because


@dataclass(frozen=True, slots=True)
class Known:
    """One known failure; `said` matches QEMU's words, in an answer or in its log."""

    name: str
    said: str
    means: str
    advice: str
    vfio: bool = True  # only told of transfers with assigned devices


KNOWN: tuple[Known, ...] = (
    Known(
        "iommufd-mapped-bars",
        r"some memory regions do not support IOMMU_IOAS_CHANGE_PROCESS",
        "iommufd can change the owner of guest RAM, but not of a device's mapped BARs",
        "assign it with x-no-mmap=on (no_mmap = true in a scenario, as vfio-iommufd has it), or by "
        "type1",
    ),
    Known(
        "iommufd-too-old",
        r"does not support IOMMU_IOAS_CHANGE_PROCESS",
        "this kernel's iommufd cannot change the owner of mappings",
        "Linux 6.13 or newer, or assign it by type1",
    ),
    Known(
        "type1-without-vaddr",
        r"does not support VFIO_UPDATE_VADDR",
        "this container cannot change the addresses of mappings",
        "Linux 5.12 or newer, and no mediated device in the container",
    ),
    Known(
        "vfio-mdev", r"CPR does not support vfio mdev", "mediated devices are left out of CPR", ""
    ),
    Known(
        "no-vfio-cpr",
        r"VFIO migration is not supported|vfio-pci: .*migration.* not supported",
        "this QEMU hands no assigned device over: vfio came to CPR with QEMU 10.1",
        "a build of 10.1 or newer (pausebench build add debian:trixie-backports)",
    ),
    Known(
        "device-without-reset",
        r"kvm run failed Bad address",
        "new QEMU cannot reach the device's memory: seen with devices that have neither a "
        "function-level nor a bus reset",
        "a device with FLR, or one behind a root port of its own",
    ),
    Known(
        "private-ram",
        r"is not compatible with CPR\. share=on is required",
        "a block of guest RAM is private to old QEMU",
        "share=on for memory backends, -machine aux-ram-share=on",
        vfio=False,
    ),
    Known(
        "no-cpr-channel",
        r"missing 'cpr' migration channel",
        "without a second channel no descriptor can be carried",
        "add a channel of channel-type cpr to `migrate`",
        vfio=False,
    ),
    Known(
        "channel-twice",
        r"Channel list has more than one (main|cpr) entry",
        "`migrate` takes each channel once",
        "",
        vfio=False,
    ),
    Known(
        "cpr-channel-not-unix",
        r"bad cpr channel (address|socket type); must be unix",
        "nothing but a unix socket carries descriptors (SCM_RIGHTS)",
        "a unix socket for the cpr channel of old and of new QEMU",
        vfio=False,
    ),
    Known(
        "capability-conflict",
        r"Cannot use (postcopy|background snapshot|COLO) with CPR",
        "this capability of an ordinary migration has no meaning in CPR",
        "turn it off by migrate-set-capabilities",
        vfio=False,
    ),
    Known(
        "invtsc",
        r"State blocked by non-migratable CPU device \(invtsc flag\)",
        "invtsc forbids every migration, and CPR is one",
        "leave invtsc out of the CPU, or fix its tsc-frequency",
        vfio=False,
    ),
    Known(
        "device-not-migratable",
        r"State blocked by non-migratable device|Migration is disabled when using feature",
        "the guest has a device that forbids every migration, and CPR is one",
        "take that device out of the guest, or a QEMU that can migrate it",
        vfio=False,
    ),
    Known(
        "cpr-exec-command",
        r"cpr-exec mode requires setting cpr-exec-command",
        "QEMU does not know what to become",
        "set cpr-exec-command by migrate-set-parameters first",
        vfio=False,
    ),
    Known(
        "descriptor-not-saved",
        r"cannot find saved value for fd",
        "new QEMU asks for a descriptor that old did not carry: their devices differ",
        "",
        vfio=False,
    ),
)


def recognise(text: str, *, vfio: bool) -> Known | None:
    """The known failure that `text` tells of, if any; the first that matches, narrow ones first.

    `vfio` is whether the guest had devices assigned.
    """
    fit = (known for known in KNOWN if vfio or not known.vfio)
    return next((known for known in fit if re.search(known.said, text)), None)


def known_failure(said: str, log: str, *, vfio: bool) -> tuple[Reason, ...]:
    """The name and meaning of the known failure that `said` or the log tells of, if any."""
    known = recognise(f"{said}\n{log}", vfio=vfio)
    if known is None:
        return ()
    means = f"{known.means}: {known.advice}" if known.advice else known.means
    return (because(KNOWN_FAILURE, name=known.name, means=means),)
