"""Facts about the host: metadata of a session, and load around a run."""

from __future__ import annotations

import gzip
import os
import platform
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from results.errors import HostUnfit
from results.sightings import HostState

from . import hugepages, trials

_SYS = Path("/sys")
_PROC = Path("/proc")
_CPUS = _SYS / "devices/system/cpu"
_TRACEFS = (_SYS / "kernel/tracing", _SYS / "kernel/debug/tracing")
_TRIED_HUGE_BYTES = 16 << 20
_LAB_BYTES = 3584 << 20
LAB_VARIABLE = "PAUSEBENCH_LAB"  # set in the lab: the machine and the QEMU that it runs on


def read_text(path: Path) -> str:
    """Content of a small file of /proc or /sys, stripped; empty when it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def environment() -> dict[str, str]:
    """What may explain a difference between two sessions, as text; what is unknown is left out."""
    cpu = cpu_facts(read_text(_PROC / "cpuinfo"))
    # In the lab every other fact is the lab's: this one names what it runs on.
    lab = {"lab": os.environ[LAB_VARIABLE]} if os.environ.get(LAB_VARIABLE) else {}
    uname = os.uname()
    facts = {
        "host": platform.node(),
        "kernel": uname.release,
        "kernel_version": uname.version,
        "cmdline": read_text(_PROC / "cmdline"),
        "distribution": _distribution(),
        "cpu": cpu.get("model name", ""),
        "microcode": cpu.get("microcode", ""),
        "cpus": str(os.cpu_count() or 0),
        "hypervisor": "yes" if "hypervisor" in cpu.get("flags", "").split() else "no",
        "memory_bytes": str(psutil.virtual_memory().total),
        "clocksource": read_text(
            _SYS / "devices/system/clocksource/clocksource0/current_clocksource"
        ),
        "governor": _governor(),
        "thp": selected(read_text(_SYS / "kernel/mm/transparent_hugepage/enabled")),
        "thp_shmem": selected(read_text(_SYS / "kernel/mm/transparent_hugepage/shmem_enabled")),
        "ksm": read_text(_SYS / "kernel/mm/ksm/run"),
        "swap_bytes": str(psutil.swap_memory().total),
        "huge_pages": _huge_pages(),
        "numa_nodes": read_text(_SYS / "devices/system/node/online"),
        "smt": read_text(_CPUS / "smt/active"),
        "isolated_cpus": read_text(_CPUS / "isolated"),
        "nohz_full_cpus": read_text(_CPUS / "nohz_full").strip("(nul)"),
        "mitigations": mitigations(_CPUS / "vulnerabilities"),
        "kvm": kvm_parameters(_SYS / "module"),
        "python": platform.python_version(),
    }
    return {name: value for name, value in (facts | lab).items() if value}


def cpu_facts(cpuinfo: str) -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    facts: dict[str, str] = {}
    for line in cpuinfo.split("\n\n")[0].splitlines():
        name, colon, value = line.partition(":")
        if colon:
            facts[name.strip()] = value.strip()
    return facts


def selected(choices: str) -> str:
    """The chosen word of a file like `always [madvise] never`."""
    match = re.search(r"\[(\w+)\]", choices)
    return match[1] if match else choices


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def mitigations(directory: Path) -> str:
    """Each CPU vulnerability that is not absent, with the kernel's answer to it."""
    if not directory.is_dir():
        return ""
    states = ((entry.name, read_text(entry)) for entry in sorted(directory.iterdir()))
    return "; ".join(f"{name}: {state}" for name, state in states if state != "Not affected")


def kvm_parameters(modules: Path) -> str:
    """Parameters of every loaded kvm module, `kvm.halt_poll_ns=200000 …`."""
    found = []
    for module in sorted(modules.glob("kvm*")):
        directory = module / "parameters"
        if directory.is_dir():
            found += [
                f"{module.name}.{entry.name}={value}"
                for entry in sorted(directory.iterdir())
                if (value := read_text(entry))
            ]
    return " ".join(found)


def _governor() -> str:
    return read_text(_CPUS / "cpu0/cpufreq/scaling_governor")


def _huge_pages() -> str:
    """`128 of 2048 kB, 0 free; …` for every size that has any."""
    found = []
    for pool in sorted((_SYS / "kernel/mm/hugepages").glob("hugepages-*")):
        if (number := read_text(pool / "nr_hugepages")) not in ("", "0"):
            size = pool.name.removeprefix("hugepages-").removesuffix("kB")
            found.append(f"{number} of {size} kB, {read_text(pool / 'free_hugepages')} free")
    return "; ".join(found) or "none"


def config_value(config: str, option: str) -> str:
    """`y`, `m`, a value, or `n` from the text of a kernel configuration; empty without a text."""
    match = re.search(rf"^{option}=(.*)$", config, re.MULTILINE)
    return match[1] if match else "n" if config else ""


def _kernel_config() -> str:
    """The running kernel's configuration where it is kept; else empty."""
    try:
        return gzip.decompress((_PROC / "config.gz").read_bytes()).decode()
    except (OSError, EOFError, UnicodeDecodeError):
        return read_text(Path(f"/boot/config-{os.uname().release}"))


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What `runners.needs` judges. `trials` maps a trial to why it failed, or to nothing."""

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
    """The facts as they are now. Takes a few ms; gives back what killed sessions left."""
    returned, refusal = _try_huge_pages()
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    flags = cpu_facts(read_text(_PROC / "cpuinfo")).get("flags", "").split()
    tried = (trials.kvm, trials.kcmp, trials.pagemap, trials.io_uring, trials.lock_memory)
    return HostFacts(
        root=os.geteuid() == 0,
        cpus=len(os.sched_getaffinity(0)),
        hypervisor="hypervisor" in flags,
        kvm_modules=tuple(sorted(m.name for m in (_SYS / "module").glob("kvm_*"))),
        trials={t.__name__: t() for t in (*tried, trials.perf_software, trials.perf_hardware)},
        tracefs=any(_there(tracefs / "events") for tracefs in _TRACEFS),
        isolated=read_text(_CPUS / "isolated"),
        governor=_governor(),
        load1=psutil.getloadavg()[0],
        available_bytes=memory.available,
        swap_bytes=swap.total,
        swap_used_bytes=swap.used,
        ksm=read_text(_SYS / "kernel/mm/ksm/run"),
        thp=selected(read_text(_SYS / "kernel/mm/transparent_hugepage/enabled")),
        thp_shmem=selected(read_text(_SYS / "kernel/mm/transparent_hugepage/shmem_enabled")),
        huge_free=hugepages.free_pages(),
        huge_refusal=refusal,
        huge_returned=returned,
        vfio=_there(Path("/dev/vfio/vfio")),
        iommufd=_there(Path("/dev/iommu")),
        iommu_groups=len(list((_SYS / "kernel/iommu_groups").glob("[0-9]*"))),
        vfio_config=config_value(_kernel_config(), "CONFIG_VFIO"),
        lab=_lab(),
        lab_refusal=_lab_refusal(),
    )


def _lab() -> str:
    from .lab.root import current_root, describe

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
    free = psutil.virtual_memory().available
    return "" if free >= _LAB_BYTES else f"only {free >> 20} MiB of memory are free"


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


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """The host's counters at one moment."""

    busy_s: float
    total_s: float
    steal_s: float
    context_switches: int
    load1: float
    ns: int = 0  # CLOCK_MONOTONIC
    own_s: float = 0.0  # CPU time of this process, its ended children and the named processes
    waiting_us: int | None = None


def load_snapshot(pids: Iterable[int] = ()) -> LoadSnapshot:
    """CPU time, steal and context switches of the whole host so far, and how much is our own.

    `pids` are the children that live now; those that have ended are known to the kernel.
    """
    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return LoadSnapshot(
        busy_s=total - times.idle - getattr(times, "iowait", 0.0),
        total_s=total,
        steal_s=getattr(times, "steal", 0.0),
        context_switches=psutil.cpu_stats().ctx_switches,
        load1=psutil.getloadavg()[0],
        ns=time.monotonic_ns(),
        own_s=sum(os.times()[:4]) + sum(map(_cpu_s, pids)),
        waiting_us=_waiting_us(read_text(_PROC / "pressure/cpu")),
    )


def _cpu_s(pid: int) -> float:
    """CPU time of a process; 0 once it is gone, as it then counts as an ended child."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _waiting_us(pressure: str) -> int | None:
    """`total` of the line `some` of /proc/pressure/cpu; None without pressure information."""
    match = re.search(r"^some .*total=(\d+)", pressure, re.MULTILINE)
    return int(match[1]) if match else None


def host_state(before: LoadSnapshot, after: LoadSnapshot) -> HostState:
    """What the host did between two snapshots; CPU use in percent of all CPUs together."""
    span = after.total_s - before.total_s
    return HostState(
        load1=after.load1,
        cpu_percent=round(100 * (after.busy_s - before.busy_s) / span, 1) if span > 0 else 0.0,
        steal_ns=round((after.steal_s - before.steal_s) * 1e9),
        context_switches=after.context_switches - before.context_switches,
        window_ns=after.ns - before.ns,
        foreign_ns=max(
            0,
            round(
                (
                    (after.busy_s - before.busy_s)
                    - (after.steal_s - before.steal_s)
                    - (after.own_s - before.own_s)
                )
                * 1e9
            ),
        ),
        waiting_ns=None
        if before.waiting_us is None or after.waiting_us is None
        else (after.waiting_us - before.waiting_us) * 1000,
        cpus=os.cpu_count(),
    )
