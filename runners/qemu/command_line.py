"""Builds QEMU command lines from scenarios: values in, argv out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from results.errors import UsageError
from results.qemu.modes import check_mode, ram_needed
from results.records.scenario import MIB, Build, Scenario
from runners.payload import layout

RAM_ID = "ram0"
HUGE_PAGE_BYTES = 2 * MIB
MOST_SPARE_DEVICES = 24  # the root bus has 32 slots, some of which the machine uses itself
FIRST_SLOT = 0x10  # on the root bus, for assigned devices
MAX_DEVICES = 8
_OF_THE_MACHINE, _OF_A_DEVICE, _OF_VFIO = 16, 2, 128  # descriptors, see `descriptors_made`


@dataclass(frozen=True, slots=True)
class Sockets:
    """Private socket paths of one transfer."""

    cpr: Path
    main: Path
    plain: bool = False  # an ordinary migration, without a cpr channel
    uri: str = ""  # loaded at start, instead of waiting for `migrate-incoming`
    monitor: Path | None = None  # a socket to listen on, instead of an inherited descriptor


@dataclass(frozen=True, slots=True)
class Variation:
    """How one QEMU's command line differs from its scenario's."""

    arguments: tuple[str, ...] = ()  # appended
    aux_ram_share: bool = True  # False: RAM without its own backend is private, which CPR refuses
    descriptors: tuple[int, ...] = ()  # inherited by QEMU under the same numbers


NO_VARIATION = Variation()


def low_ram_bytes(machine: str, ram_bytes: int) -> int:
    """RAM below the PCI hole in QEMU's memory layout; the rest starts at 4 GiB.

    Source: pc_q35_init and pc_init1 in QEMU's hw/i386/pc_q35.c and pc_piix.c.
    """
    if machine.startswith(("pc-i440fx", "pc")) and not machine.startswith("pc-q35"):
        return 0xC0000000 if ram_bytes >= 0xE0000000 else ram_bytes
    return 0x80000000 if ram_bytes >= 0xB0000000 else ram_bytes


def backend_options(scenario: Scenario, hugetlbfs: Path | None) -> str:
    """The -object option of guest RAM; CPR requires share=on for every backend."""
    common = f"id={RAM_ID},size={scenario.ram_bytes},share=on"
    match scenario.backend:
        case "anon":
            return f"memory-backend-ram,{common}"
        case "memfd":
            return f"memory-backend-memfd,{common}"
        case "shm":
            return f"memory-backend-shm,{common}"
        case "hugetlb-memfd":
            return f"memory-backend-memfd,{common},hugetlb=on,hugetlbsize={HUGE_PAGE_BYTES}"
        case "hugetlbfs":
            if hugetlbfs is None:
                raise UsageError(f"scenario {scenario.id} needs a mounted hugetlbfs")
            return f"memory-backend-file,{common},mem-path={_escape(hugetlbfs / 'guest-ram')}"


def device_options(scenario: Scenario) -> list[str]:
    """Options of assigned devices, each in a fixed slot of the root bus, where the payload looks.

    Each needs an id, by which QEMU names its descriptors: "vfio device with fd=%d needs an id
    property".
    """
    argv = ["-object", "iommufd,id=iommufd0"] if scenario.vfio == "iommufd" else []
    for number, address in enumerate(filter(None, scenario.devices.split(","))):
        options = f"vfio-pci,host={address},id=vfio{number},addr={FIRST_SLOT + number:#x}.0"
        if scenario.vfio == "iommufd":
            options += ",iommufd=iommufd0"
        if scenario.no_mmap:
            options += ",x-no-mmap=on"
        argv += ["-device", options]
    return argv


def _escape(path: Path) -> str:
    """QEMU's option parser reads a doubled comma as a comma."""
    return str(path).replace(",", ",,")


def guest_argv(
    build: Build,
    scenario: Scenario,
    *,
    firmware: Path,
    monitor_fd: int,
    hugetlbfs: Path | None = None,
    incoming: Sockets | None = None,
    variation: Variation = NO_VARIATION,
) -> tuple[str, ...]:
    """Complete argv of one QEMU. With `incoming` it receives a guest, else it starts one paused.

    `monitor_fd` is an inherited, connected socket: QEMU's greeting on it shows that the monitor is
    open, without polling for a socket file.
    """
    machine = f"{scenario.machine},accel={scenario.accel},memory-backend={RAM_ID}"
    if variation.aux_ram_share:
        machine += ",aux-ram-share=on"
    argv = [
        *build.launcher,
        *("-name", f"pausebench-{scenario.id},debug-threads=on"),
        *("-machine", machine),
        *("-cpu", scenario.cpu),
        *("-smp", str(scenario.vcpus)),
        *("-m", f"{scenario.ram_bytes // MIB}M"),
        *("-object", backend_options(scenario, hugetlbfs)),
        *("-overcommit", f"mem-lock={'on' if scenario.mem_lock else 'off'}"),
        *("-bios", str(firmware)),
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",  # a triple fault of the payload must end the run, not restart the guest
        *("-display", "none"),
        *(("-object", "rng-builtin,id=rng0") if scenario.spare_devices else ()),
        *("-chardev", f"socket,id=qmp,{_monitor(monitor_fd, incoming)}"),
        *("-mon", "chardev=qmp,mode=control"),
    ]
    argv += device_options(scenario)
    for number in range(scenario.spare_devices):
        argv += ["-device", f"virtio-rng-pci,rng=rng0,id=spare{number}"]
    argv += variation.arguments
    if incoming is None:
        argv.append("-S")
    elif incoming.uri:
        argv += ["-incoming", incoming.uri]
    elif incoming.plain:
        argv += ["-incoming", "defer"]
    else:
        # The monitor opens while the guest runs in old QEMU; `migrate-incoming` then starts the
        # blackout.
        argv += ["-incoming", "defer", "-incoming", json.dumps(channel("cpr", incoming.cpr))]
    return tuple(argv)


def descriptors_made(argv: Sequence[str]) -> int:
    """How many descriptors an update of this QEMU passes, at most.

    Each memory backend has one, each device those of its ROM and its own memory, an assigned
    device those of its interrupts too, and the machine some of its own (firmware, vga, tables).
    """
    found = _OF_THE_MACHINE
    for option, value in pairwise(argv):
        if option == "-object" and value.startswith("memory-backend-"):
            found += 1
        elif option == "-device":
            found += _OF_VFIO if value.startswith("vfio-") else _OF_A_DEVICE
    return found


def _monitor(fd: int, incoming: Sockets | None) -> str:
    if incoming is None or incoming.monitor is None:
        return f"fd={fd}"
    return f"path={_escape(incoming.monitor)},server=on,wait=off"


def channel(kind: str, path: Path) -> dict[str, object]:
    """A MigrationChannel of the QMP schema, over a unix socket."""
    return {
        "channel-type": kind,
        "addr": {"transport": "socket", "type": "unix", "path": str(path)},
    }


def check_scenario(scenario: Scenario, memory_bytes: int, cpus: int) -> None:
    """Refuse a scenario that cannot be run, before anything is started.

    `memory_bytes` is the host's available memory, `cpus` the number of its CPUs. Raises UsageError.
    """
    where = f"scenario {scenario.id}"
    if scenario.ram_bytes < layout.MINIMUM_RAM_BYTES:
        raise UsageError(
            f"{where}: {scenario.ram_bytes // MIB} MiB of RAM is too little; "
            f"the payload needs at least {layout.MINIMUM_RAM_BYTES // MIB} MiB (--ram)"
        )
    if scenario.ram_bytes % HUGE_PAGE_BYTES:
        raise UsageError(f"{where}: RAM must be a multiple of 2 MiB (--ram)")
    check_mode(scenario)
    if (needed := ram_needed(scenario)) > memory_bytes:
        raise UsageError(
            f"{where}: {needed // MIB} MiB of RAM, but the host has only "
            f"{memory_bytes // MIB} MiB available: use less (--ram)"
        )
    if not 1 <= scenario.vcpus <= layout.MAX_VCPUS:
        raise UsageError(
            f"{where}: {scenario.vcpus} vCPUs: expected 1 to {layout.MAX_VCPUS} (--vcpus)"
        )
    if scenario.vcpus > 4 * cpus:
        raise UsageError(
            f"{where}: {scenario.vcpus} vCPUs on {cpus} CPUs would measure the scheduler: "
            f"use at most {4 * cpus} on this host (--vcpus)"
        )
    _check_devices(scenario, where)
    if not 0 <= scenario.spare_devices <= MOST_SPARE_DEVICES:
        raise UsageError(
            f"{where}: {scenario.spare_devices} spare devices: expected 0 to {MOST_SPARE_DEVICES}"
        )
    if not 0.0 <= scenario.touched <= 1.0:
        raise UsageError(f"{where}: touched is {scenario.touched}: expected a share from 0 to 1")


def _check_devices(scenario: Scenario, where: str) -> None:
    devices = [address for address in scenario.devices.split(",") if address]
    if devices and not scenario.vfio:
        raise UsageError(
            f"{where}: this scenario assigns no device; use --device with vfio-type1, "
            "vfio-iommufd, …"
        )
    if not scenario.vfio:
        return
    if not devices:
        raise UsageError(
            f"{where}: choose the PCI device to assign, e.g. --device 0000:01:00.0 (it is unbound "
            "from the host meanwhile), or use the lab: pausebench lab run"
        )
    if len(devices) > MAX_DEVICES:
        raise UsageError(f"{where}: {len(devices)} devices: use at most {MAX_DEVICES} (--device)")
    if scenario.accel == "tcg":
        # Seen with 10.1 to 11.1: SIGSEGV in kvm_irqchip_remove_irqfd_notifier_gsi.
        raise UsageError(
            f"{where}: needs KVM: under TCG old QEMU crashes when it transfers assigned devices "
            "(vfio-under-tcg); use `pausebench lab run`, which has both"
        )
