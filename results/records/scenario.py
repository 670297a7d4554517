"""What is measured, on which builds, and in which session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Backend = Literal["anon", "memfd", "shm", "hugetlb-memfd", "hugetlbfs"]


Accelerator = Literal["auto", "kvm", "tcg"]


Vfio = Literal["", "type1", "iommufd"]


Mode = Literal[
    "cpr-transfer",
    "precopy",
    "precopy-multifd",
    "postcopy",
    "cpr-reboot",
    "cpr-exec",
    "snapshot",
]  # how the guest gets into new QEMU; results.qemu.modes says what each promises


MIB = 1 << 20


GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is handed over. Two runs are comparable only if all fields but `about` are equal."""

    id: str
    backend: Backend
    about: str = ""
    ram_bytes: int = 256 * MIB
    touched: float = 0.25  # share of RAM that the guest has touched before the first transfer
    vcpus: int = 1
    accel: Accelerator = "auto"  # `auto` is resolved to kvm or tcg before a guest starts
    machine: str = "q35"
    cpu: str = "qemu64"
    mem_lock: bool = False
    return_path: bool = False
    pinned: bool = False  # a process that stands for a DMA device pins all of guest RAM
    vfio: Vfio = ""  # how real PCI devices are assigned; empty: none
    devices: str = ""  # their addresses, separated by commas; named by whoever starts the session
    spare_devices: int = 0  # virtio-rng devices that nobody uses: more state to carry
    no_mmap: bool = False  # BARs are not mapped into QEMU: iommufd's CPR refuses mapped ones (11.1)
    mode: Mode = "cpr-transfer"  # how the guest gets into new QEMU


@dataclass(frozen=True, slots=True)
class Build:
    """One QEMU build as a value.

    `launcher` is the argv prefix that starts it (the binary itself, or an unpacked tree's own
    dynamic loader and the binary); `binary` is the ELF file that uprobes attach to.
    """

    label: str
    binary: str
    version: str
    build_id: str
    sha256: str
    launcher: tuple[str, ...]
    firmware_dirs: tuple[str, ...] = ()
    cpr_modes: tuple[str, ...] = ()
    symbols: dict[str, int] = field(default_factory=dict)  # probed function → file offset
    missing_marks: tuple[
        str, ...
    ] = ()  # marks of results.timeline.marks without any symbol in this build


@dataclass(frozen=True, slots=True)
class Session:
    """One invocation: where, with what, and the seed of its schedule."""

    id: str
    started_unix_ns: int
    command: tuple[str, ...]
    builds: tuple[Build, ...]
    environment: dict[str, str]
    probe_tier: str = "none"
