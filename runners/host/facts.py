"""Facts about the host, as metadata of a session."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import psutil

from runners.system.timeouts import LAB_VARIABLE

SYS = Path("/sys")
PROC = Path("/proc")
CPUS = SYS / "devices/system/cpu"


def read_text(path: Path) -> str:
    """Content of a small /proc or /sys file, stripped; empty when it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def environment() -> dict[str, str]:
    """Facts that may explain a difference between two sessions, as text; unknown ones omitted."""
    cpu = cpu_facts(read_text(PROC / "cpuinfo"))
    # In the lab all other facts describe the lab: this one names the host that it runs on.
    lab = {"lab": os.environ[LAB_VARIABLE]} if os.environ.get(LAB_VARIABLE) else {}
    uname = os.uname()
    facts = {
        "host": platform.node(),
        "kernel": uname.release,
        "kernel_version": uname.version,
        "cmdline": read_text(PROC / "cmdline"),
        "distribution": _distribution(),
        "cpu": cpu.get("model name", ""),
        "microcode": cpu.get("microcode", ""),
        "cpus": str(os.cpu_count() or 0),
        "hypervisor": "yes" if "hypervisor" in cpu.get("flags", "").split() else "no",
        "memory_bytes": str(psutil.virtual_memory().total),
        "clocksource": read_text(
            SYS / "devices/system/clocksource/clocksource0/current_clocksource"
        ),
        "governor": governor(),
        "thp": selected(read_text(SYS / "kernel/mm/transparent_hugepage/enabled")),
        "thp_shmem": selected(read_text(SYS / "kernel/mm/transparent_hugepage/shmem_enabled")),
        "ksm": read_text(SYS / "kernel/mm/ksm/run"),
        "swap_bytes": str(psutil.swap_memory().total),
        "huge_pages": _huge_pages(),
        "numa_nodes": read_text(SYS / "devices/system/node/online"),
        "smt": read_text(CPUS / "smt/active"),
        "isolated_cpus": read_text(CPUS / "isolated"),
        "nohz_full_cpus": read_text(CPUS / "nohz_full").strip("(nul)"),
        "mitigations": mitigations(CPUS / "vulnerabilities"),
        "kvm": kvm_parameters(SYS / "module"),
        "python": platform.python_version(),
    }
    return {name: value for name, value in (facts | lab).items() if value}


def cpu_facts(cpuinfo: str) -> dict[str, str]:
    """The first CPU's fields in /proc/cpuinfo."""
    facts: dict[str, str] = {}
    for line in cpuinfo.split("\n\n")[0].splitlines():
        name, colon, value = line.partition(":")
        if colon:
            facts[name.strip()] = value.strip()
    return facts


def selected(choices: str) -> str:
    """The selected word of a sysfs file like `always [madvise] never`."""
    match = re.search(r"\[(\w+)\]", choices)
    return match[1] if match else choices


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def mitigations(directory: Path) -> str:
    """Each vulnerability that affects this CPU, with the kernel's mitigation."""
    if not directory.is_dir():
        return ""
    states = ((entry.name, read_text(entry)) for entry in sorted(directory.iterdir()))
    return "; ".join(f"{name}: {state}" for name, state in states if state != "Not affected")


def kvm_parameters(modules: Path) -> str:
    """Parameters of all loaded kvm modules, `kvm.halt_poll_ns=200000 …`."""
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


def governor() -> str:
    return read_text(CPUS / "cpu0/cpufreq/scaling_governor")


def _huge_pages() -> str:
    """`128 of 2048 kB, 0 free; …` for every page size in use, else `none`."""
    found = []
    for pool in sorted((SYS / "kernel/mm/hugepages").glob("hugepages-*")):
        if (number := read_text(pool / "nr_hugepages")) not in ("", "0"):
            size = pool.name.removeprefix("hugepages-").removesuffix("kB")
            found.append(f"{number} of {size} kB, {read_text(pool / 'free_hugepages')} free")
    return "; ".join(found) or "none"
