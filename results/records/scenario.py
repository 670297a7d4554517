"""What is measured, on which builds, and in which session."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal

Backend = Literal["anon", "memfd", "shm", "hugetlb-memfd", "hugetlbfs"]


Accelerator = Literal["auto", "kvm", "tcg"]


Vfio = Literal["", "type1", "iommufd"]


Mode = str  # how the guest gets into new QEMU: a name of results.records.modes

MIB = 1 << 20
GIB = 1 << 30

# Each field of a scenario declares whether runs are comparable only if it is equal in both; a field
# without a declaration is an error.
_POLICY = "compared"
COMPARED = {_POLICY: "always"}
# Fields that earlier versions did not have: omitted while unused, so that old runs stay comparable.
COMPARED_WHERE_USED = {_POLICY: "where used"}
NOT_COMPARED = {_POLICY: "never"}


@dataclass(frozen=True, slots=True)
class Scenario:
    """The guest that is updated, and how."""

    id: str = field(metadata=COMPARED)
    backend: Backend = field(metadata=COMPARED)
    about: str = field(default="", metadata=NOT_COMPARED)
    ram_bytes: int = field(default=256 * MIB, metadata=COMPARED)
    # Share of RAM that the guest has touched before the first transfer.
    touched: float = field(default=0.25, metadata=COMPARED)
    vcpus: int = field(default=1, metadata=COMPARED)
    # `auto` is resolved to kvm or tcg before a guest starts.
    accel: Accelerator = field(default="auto", metadata=COMPARED)
    machine: str = field(default="q35", metadata=COMPARED)
    cpu: str = field(default="qemu64", metadata=COMPARED)
    mem_lock: bool = field(default=False, metadata=COMPARED)
    return_path: bool = field(default=False, metadata=COMPARED)
    # A process that stands in for a DMA device pins all of guest RAM.
    pinned: bool = field(default=False, metadata=COMPARED)
    # How real PCI devices are assigned; empty: none.
    vfio: Vfio = field(default="", metadata=COMPARED_WHERE_USED)
    # Their addresses, separated by commas; given when the session starts.
    devices: str = field(default="", metadata=COMPARED_WHERE_USED)
    # Idle virtio-rng devices: more device state to transfer.
    spare_devices: int = field(default=0, metadata=COMPARED_WHERE_USED)
    # BARs are not mapped into QEMU: iommufd's CPR rejects mapped ones (QEMU 11.1).
    no_mmap: bool = field(default=False, metadata=COMPARED_WHERE_USED)
    # How the guest gets into new QEMU.
    mode: Mode = field(default="cpr-transfer", metadata=COMPARED_WHERE_USED)


def dimensions(scenario: Scenario) -> str:
    """All fields that must be equal for two runs to be compared, as sortable, printable text."""
    names = sorted(f.name for f in fields(scenario) if _is_compared(f, getattr(scenario, f.name)))
    return " ".join(f"{name}={getattr(scenario, name)}" for name in names)


def _is_compared(about: Field[Any], value: object) -> bool:
    match about.metadata.get(_POLICY):
        case "always":
            return True
        case "where used":
            return value != about.default
        case "never":
            return False
    raise TypeError(f"{about.name} does not declare whether it must be equal for a comparison")


@dataclass(frozen=True, slots=True)
class Build:
    """One QEMU build.

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
    # Marks of results.timeline.marks for which this build has no symbol.
    missing_marks: tuple[str, ...] = ()
    # Over binary, libraries, modules and firmware of a tree of its own; empty: it has none.
    tree_sha256: str = ""

    @property
    def identity(self) -> str:
        """Hash of the files that run: it distinguishes builds, with or without a build id."""
        return self.tree_sha256 or self.sha256


@dataclass(frozen=True, slots=True)
class Session:
    """One invocation of pausebench: its command, builds and environment."""

    id: str
    started_unix_ns: int
    command: tuple[str, ...]
    builds: tuple[Build, ...]
    environment: dict[str, str]
    probe_tier: str = "none"
    # Updates that it is to measure if none fails; None where that depends on what it finds.
    planned_updates: int | None = None
