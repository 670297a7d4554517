"""Facts about the host: metadata of a session, and load around a run."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

from results.records import HostState

_SYS = Path("/sys")
_PROC = Path("/proc")


def read_text(path: Path) -> str:
    """Content of a small file of /proc or /sys, stripped; empty when it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def environment() -> dict[str, str]:
    """What may explain a difference between two sessions, as text; what is unknown is left out."""
    cpu = cpu_facts(read_text(_PROC / "cpuinfo"))
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
        "governor": read_text(_SYS / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "thp": selected(read_text(_SYS / "kernel/mm/transparent_hugepage/enabled")),
        "thp_shmem": selected(read_text(_SYS / "kernel/mm/transparent_hugepage/shmem_enabled")),
        "ksm": read_text(_SYS / "kernel/mm/ksm/run"),
        "swap_bytes": str(psutil.swap_memory().total),
        "isolated_cpus": read_text(_SYS / "devices/system/cpu/isolated"),
        "mitigations": mitigations(_SYS / "devices/system/cpu/vulnerabilities"),
        "kvm": kvm_parameters(_SYS / "module"),
        "python": platform.python_version(),
    }
    return {name: value for name, value in facts.items() if value}


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


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """The host's counters at one moment."""

    busy_s: float
    total_s: float
    steal_s: float
    context_switches: int
    load1: float


def load_snapshot() -> LoadSnapshot:
    """CPU time, steal and context switches of the whole host so far."""
    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return LoadSnapshot(
        busy_s=total - times.idle - getattr(times, "iowait", 0.0),
        total_s=total,
        steal_s=getattr(times, "steal", 0.0),
        context_switches=psutil.cpu_stats().ctx_switches,
        load1=psutil.getloadavg()[0],
    )


def host_state(before: LoadSnapshot, after: LoadSnapshot) -> HostState:
    """What the host did between two snapshots; CPU use in percent of all CPUs together."""
    span = after.total_s - before.total_s
    return HostState(
        load1=after.load1,
        cpu_percent=round(100 * (after.busy_s - before.busy_s) / span, 1) if span > 0 else 0.0,
        steal_ns=round((after.steal_s - before.steal_s) * 1e9),
        context_switches=after.context_switches - before.context_switches,
    )
