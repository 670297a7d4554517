"""Facts about this host, on which the requirements of `doctor` are evaluated."""

from __future__ import annotations

import gzip
import os
import platform
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from results.denial import Denial, Privileges, privileges
from results.errors import HostUnfit
from results.ownership import HOST_PID_NAMESPACE, pid_namespace
from results.records.scenario import Build
from runners.host import hugepages
from runners.host.facts import (
    CPUS,
    PROC,
    SYS,
    cpu_facts,
    governor,
    read_text,
    selected,
)
from runners.host.leftovers import find_leftovers, tidy
from runners.host.lock import is_seen_by_the_host, others_measuring
from runners.host.strangers import strangers
from runners.lab import recipe
from runners.qemu.headroom import SHM, free_bytes
from runners.system import limits
from runners.system.limits import Room
from runners.system.timeouts import LAB_VARIABLE

from . import capabilities

_TRACEFS = (SYS / "kernel/tracing", SYS / "kernel/debug/tracing")
_TRIED_HUGE_BYTES = 16 << 20


def config_value(config: str, option: str) -> str:
    """`y`, `m`, a value, or `n` from the text of a kernel configuration; empty for empty text."""
    match = re.search(rf"^{option}=(.*)$", config, re.MULTILINE)
    return match[1] if match else "n" if config else ""


def _kernel_config() -> str:
    """The running kernel's configuration; empty when it is not available."""
    try:
        return gzip.decompress((PROC / "config.gz").read_bytes()).decode()
    except (OSError, EOFError, UnicodeDecodeError):
        return read_text(Path(f"/boot/config-{os.uname().release}"))


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The input of `runners.doctor.requirements`.

    `capabilities` maps the name of a check to why it failed, or to a false denial.
    """

    root: bool = True
    privileges: Privileges = field(default_factory=Privileges)
    cpus: int = 1
    hypervisor: bool = False
    kvm_modules: tuple[str, ...] = ()
    capabilities: dict[str, Denial] = field(default_factory=dict)
    tracefs: bool = True
    isolated: str = ""
    governor: str = ""
    load1: float = 0.0
    memory: Room = field(default_factory=lambda: Room(0, "the host's available memory", ""))
    shm_bytes: int | None = None  # free in /dev/shm; None without it
    open_files: int | None = None  # limits of this process; None: unlimited
    address_space: int | None = None
    tasks: Room | None = None
    huge_limits: tuple[Room, ...] = ()  # of control groups
    swap_bytes: int = 0
    swap_used_bytes: int = 0
    ksm: str = ""
    thp: str = ""
    thp_shmem: str = ""
    huge_free: int = 0
    huge_refusal: str = ""  # why no huge pages can be reserved; empty when they can
    pid_namespace: bool = True  # of the host
    measuring: str = ""  # who holds the host's lock, and is not waited for
    lock_shared: bool = True  # with the host's own mount namespace
    strangers: dict[str, tuple[int, ...]] = field(default_factory=dict)  # build → pids
    leftovers: str = ""  # of killed sessions; empty when there are none
    tidied: bool = False  # the leftovers have been removed
    vfio: bool = False
    iommufd: bool = False
    iommu_groups: int = 0
    vfio_config: str = ""
    lab: str = ""  # kernel, QEMU and Python of the lab; empty when it is not built yet
    lab_refusal: str = ""  # why the lab cannot run on this host


def collect_facts(builds: Sequence[Build] = (), *, tidied: bool = False) -> HostFacts:
    """The current facts. Takes some 30 ms; with `tidied`, removes what killed sessions left."""
    host = pid_namespace() == HOST_PID_NAMESPACE
    tidied = tidied and host and os.geteuid() == 0
    left = tidy(_ignore) if tidied else find_leftovers()
    # A trial would return what killed sessions owe: it is shown, and returned on request.
    refusal = _try_huge_pages() if host and (tidied or not left.pages) else ""
    swap = psutil.swap_memory()
    flags = cpu_facts(read_text(PROC / "cpuinfo")).get("flags", "").split()
    tried = (
        capabilities.kvm,
        capabilities.kcmp,
        capabilities.pagemap,
        capabilities.io_uring,
        capabilities.lock_memory,
    )
    return HostFacts(
        root=os.geteuid() == 0,
        privileges=privileges(),
        cpus=len(os.sched_getaffinity(0)),
        hypervisor="hypervisor" in flags,
        kvm_modules=tuple(sorted(m.name for m in (SYS / "module").glob("kvm_*"))),
        capabilities={
            t.__name__: t()
            for t in (*tried, capabilities.perf_software, capabilities.perf_hardware)
        },
        tracefs=any(_exists(tracefs / "events") for tracefs in _TRACEFS),
        isolated=read_text(CPUS / "isolated"),
        governor=governor(),
        load1=psutil.getloadavg()[0],
        memory=limits.memory_room(),
        shm_bytes=free_bytes(SHM),
        open_files=limits.open_files(),
        address_space=limits.address_space(),
        tasks=limits.task_room(),
        huge_limits=limits.huge_page_rooms(),
        swap_bytes=swap.total,
        swap_used_bytes=swap.used,
        ksm=read_text(SYS / "kernel/mm/ksm/run"),
        thp=selected(read_text(SYS / "kernel/mm/transparent_hugepage/enabled")),
        thp_shmem=selected(read_text(SYS / "kernel/mm/transparent_hugepage/shmem_enabled")),
        huge_free=hugepages.free_pages(),
        huge_refusal=refusal,
        pid_namespace=host,
        measuring=", ".join(map(str, others_measuring())) if os.geteuid() == 0 else "",
        lock_shared=is_seen_by_the_host(),
        strangers={label: pids for label, pids in strangers(builds).items() if pids},
        leftovers=str(left),
        tidied=tidied,
        vfio=_exists(Path("/dev/vfio/vfio")),
        iommufd=_exists(Path("/dev/iommu")),
        iommu_groups=len(list((SYS / "kernel/iommu_groups").glob("[0-9]*"))),
        vfio_config=config_value(_kernel_config(), "CONFIG_VFIO"),
        lab=_lab_root(),
        lab_refusal=_lab_refusal(),
    )


def _lab_root() -> str:
    from runners.lab.root import current_root, describe

    with suppress(HostUnfit, OSError):
        root = current_root()
        return describe(root) if root is not None else ""
    return ""


def _lab_refusal() -> str:
    if os.environ.get(LAB_VARIABLE):
        return "this is the lab"
    if platform.machine() != "x86_64":
        return f"the lab runs on x86_64 only, not on {platform.machine()}"
    if shutil.which("apt-get") is None:
        return "apt-get, which downloads its packages, is missing"
    free = limits.memory_room().free >> 20
    return "" if free >= recipe.FREE_MIB else f"only {free} MiB of memory are free"


def _exists(path: Path) -> bool:
    """False also for a path that only root may access, like tracefs."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _try_huge_pages() -> str:
    """Why 16 MiB cannot be reserved; empty if they can."""
    try:
        with hugepages.reserve(_TRIED_HUGE_BYTES, _ignore):
            return ""
    except HostUnfit as error:
        return str(error)


def _ignore(line: str) -> None:
    """What changed the pool of huge pages meanwhile is of no interest to a trial."""
