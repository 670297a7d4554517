"""What is measured, on which builds, and in which session."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal

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


# Whether two runs are comparable only where a field of their scenarios is equal is said at the
# field; one that does not say it is an error.
_SAID = "compared"
COMPARED = {_SAID: "always"}
# What earlier versions did not know is told only where it is used: their runs stay comparable.
COMPARED_WHERE_USED = {_SAID: "where used"}
NOT_COMPARED = {_SAID: "never"}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is handed over."""

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
    # A process that stands for a DMA device pins all of guest RAM.
    pinned: bool = field(default=False, metadata=COMPARED)
    # How real PCI devices are assigned; empty: none.
    vfio: Vfio = field(default="", metadata=COMPARED_WHERE_USED)
    # Their addresses, separated by commas; named by whoever starts the session.
    devices: str = field(default="", metadata=COMPARED_WHERE_USED)
    # virtio-rng devices that nobody uses: more state to carry.
    spare_devices: int = field(default=0, metadata=COMPARED_WHERE_USED)
    # BARs are not mapped into QEMU: iommufd's CPR refuses mapped ones (11.1).
    no_mmap: bool = field(default=False, metadata=COMPARED_WHERE_USED)
    # How the guest gets into new QEMU.
    mode: Mode = field(default="cpr-transfer", metadata=COMPARED_WHERE_USED)


def dimensions(scenario: Scenario) -> str:
    """All that must be equal for two runs to be compared, as text that sorts and prints."""
    told = sorted(f.name for f in fields(scenario) if _is_told(f, getattr(scenario, f.name)))
    return " ".join(f"{name}={getattr(scenario, name)}" for name in told)


def _is_told(about: Field[Any], value: object) -> bool:
    match about.metadata.get(_SAID):
        case "always":
            return True
        case "where used":
            return value != about.default
        case "never":
            return False
    raise TypeError(f"whether {about.name} must be equal for a comparison is not said at it")


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
    # Over binary, libraries, modules and firmware of a tree of its own; empty: it has none.
    tree_sha256: str = ""

    @property
    def identity(self) -> str:
        """Hash of the files that run: what tells a build from another, build id or not."""
        return self.tree_sha256 or self.sha256


@dataclass(frozen=True, slots=True)
class Session:
    """One invocation: where, with what, and the seed of its schedule."""

    id: str
    started_unix_ns: int
    command: tuple[str, ...]
    builds: tuple[Build, ...]
    environment: dict[str, str]
    probe_tier: str = "none"
