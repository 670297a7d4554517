"""What this host has, found out once: the facts that the requirements of `doctor` rest on."""

from __future__ import annotations

import gzip
import os
import platform
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from results.errors import HostUnfit
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
from runners.lab import recipe
from runners.system.timeouts import LAB_VARIABLE

from . import capabilities as trials

_TRACEFS = (SYS / "kernel/tracing", SYS / "kernel/debug/tracing")
_TRIED_HUGE_BYTES = 16 << 20


def config_value(config: str, option: str) -> str:
    """`y`, `m`, a value, or `n` from the text of a kernel configuration; empty without a text."""
    match = re.search(rf"^{option}=(.*)$", config, re.MULTILINE)
    return match[1] if match else "n" if config else ""


def _kernel_config() -> str:
    """The running kernel's configuration where it is kept; else empty."""
    try:
        return gzip.decompress((PROC / "config.gz").read_bytes()).decode()
    except (OSError, EOFError, UnicodeDecodeError):
        return read_text(Path(f"/boot/config-{os.uname().release}"))


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What `runners.doctor.requirements` judges.

    `trials` maps a trial to why it failed, or to nothing.
    """

    root: bool = True
    cpus: int = 1
    hypervisor: bool = False
    kvm_modules: tuple[str, ...] = ()
    trials: dict[str, str] = field(default_factory=dict)
    tracefs: bool = True
    isolated: str = ""
    governor: str = ""
    load1: float = 0.0
    available_bytes: int = 0
    swap_bytes: int = 0
    swap_used_bytes: int = 0
    ksm: str = ""
    thp: str = ""
    thp_shmem: str = ""
    huge_free: int = 0
    huge_refusal: str = ""  # why no huge pages can be had; empty when they can
    huge_returned: int = 0  # pages that a killed session had left in the pool
    vfio: bool = False
    iommufd: bool = False
    iommu_groups: int = 0
    vfio_config: str = ""
    lab: str = ""  # what the lab's root consists of; empty when there is none yet
    lab_refusal: str = ""  # why there can be no lab here


def look() -> HostFacts:
    """The facts as they are now. Takes some 10 ms; gives back what killed sessions left."""
    returned, refusal = _try_huge_pages()
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    flags = cpu_facts(read_text(PROC / "cpuinfo")).get("flags", "").split()
    tried = (trials.kvm, trials.kcmp, trials.pagemap, trials.io_uring, trials.lock_memory)
    return HostFacts(
        root=os.geteuid() == 0,
        cpus=len(os.sched_getaffinity(0)),
        hypervisor="hypervisor" in flags,
        kvm_modules=tuple(sorted(m.name for m in (SYS / "module").glob("kvm_*"))),
        trials={t.__name__: t() for t in (*tried, trials.perf_software, trials.perf_hardware)},
        tracefs=any(_there(tracefs / "events") for tracefs in _TRACEFS),
        isolated=read_text(CPUS / "isolated"),
        governor=governor(),
        load1=psutil.getloadavg()[0],
        available_bytes=memory.available,
        swap_bytes=swap.total,
        swap_used_bytes=swap.used,
        ksm=read_text(SYS / "kernel/mm/ksm/run"),
        thp=selected(read_text(SYS / "kernel/mm/transparent_hugepage/enabled")),
        thp_shmem=selected(read_text(SYS / "kernel/mm/transparent_hugepage/shmem_enabled")),
        huge_free=hugepages.free_pages(),
        huge_refusal=refusal,
        huge_returned=returned,
        vfio=_there(Path("/dev/vfio/vfio")),
        iommufd=_there(Path("/dev/iommu")),
        iommu_groups=len(list((SYS / "kernel/iommu_groups").glob("[0-9]*"))),
        vfio_config=config_value(_kernel_config(), "CONFIG_VFIO"),
        lab=_lab(),
        lab_refusal=_lab_refusal(),
    )


def _lab() -> str:
    from runners.lab.root import current_root, describe

    with suppress(HostUnfit, OSError):
        root = current_root()
        return describe(root) if root is not None else ""
    return ""


def _lab_refusal() -> str:
    if os.environ.get(LAB_VARIABLE):
        return "this is the lab"
    if platform.machine() != "x86_64":
        return f"the lab is for x86_64, not {platform.machine()}"
    if shutil.which("apt-get") is None:
        return "no apt-get to fetch its packages with"
    free = psutil.virtual_memory().available >> 20
    return "" if free >= recipe.FREE_MIB else f"only {free} MiB of memory are free"


def _there(path: Path) -> bool:
    """False also of what only root may see, like tracefs."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _try_huge_pages() -> tuple[int, str]:
    """Pages that were given back, and why 16 MiB cannot be had, if they cannot."""
    try:
        returned = hugepages.give_back_of_the_dead()
        with hugepages.reserve(_TRIED_HUGE_BYTES):
            return returned, ""
    except HostUnfit as error:
        return 0, str(error)
