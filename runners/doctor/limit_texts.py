"""What limits and privileges leave to this process, as texts of the requirements."""

from __future__ import annotations

from results.denial import granting
from results.records.scenario import GIB, MIB, Scenario
from runners.qemu.headroom import (
    ADDRESS_SPACE_BYTES,
    ADDRESS_SPACE_FIX,
    OPEN_FILES,
    OPEN_FILES_FIX,
    OVERHEAD_BYTES,
    SHM,
    huge_bytes,
    tasks_needed,
    touched_bytes,
)
from runners.system.limits import Room

from .facts import HostFacts

DEFAULT_RAM_BYTES = 256 * MIB
SHM_BYTES = touched_bytes(Scenario("shm", "shm"))
LEAST_MEMORY_BYTES = OVERHEAD_BYTES + SHM_BYTES


def no_huge_pages(facts: HostFacts) -> str:
    if facts.huge_refusal:
        return facts.huge_refusal
    limit = _low_huge_limit(facts)
    return "" if limit is None else f"{limit.free // MIB} MiB are left of {limit.bound}"


def _low_huge_limit(facts: HostFacts) -> Room | None:
    """A control group's limit that is too low for the usual guest."""
    usual = Scenario("hugetlb-2m", "hugetlb-memfd")
    low = (r for r in facts.huge_limits if r.free < huge_bytes(usual, reserved=r.reserved))
    return next(low, None)


def huge_pages_fix(facts: HostFacts) -> str:
    limit = _low_huge_limit(facts)
    if not facts.huge_refusal and limit is not None:
        return limit.fix
    return (
        "as root: sysctl vm.nr_hugepages=512 (1 GiB), or boot with hugepages=512 on the kernel "
        "command line"
    )


def little_memory(facts: HostFacts) -> str:
    if facts.memory.free >= GIB:
        return ""
    return f"{facts.memory.free // MIB} MiB are left of {facts.memory.bound}"


def little_shm(facts: HostFacts) -> str:
    if facts.shm_bytes is None:
        return f"no {SHM}"
    return "" if facts.shm_bytes >= SHM_BYTES else f"{facts.shm_bytes // MIB} MiB free in {SHM}"


def low_limits(facts: HostFacts) -> list[tuple[str, str]]:
    """Limits that are too low for the usual guest, and how to raise each."""
    found = []
    if facts.open_files is not None and facts.open_files < OPEN_FILES:
        found.append((f"{facts.open_files} open files (ulimit -n)", OPEN_FILES_FIX))
    needed = ADDRESS_SPACE_BYTES + DEFAULT_RAM_BYTES
    if facts.address_space is not None and facts.address_space < needed:
        space = facts.address_space // MIB
        found.append((f"{space} MiB of address space (ulimit -v)", ADDRESS_SPACE_FIX))
    if facts.tasks is not None and facts.tasks.free < tasks_needed(1):
        found.append((f"{facts.tasks.free} tasks are left of {facts.tasks.bound}", facts.tasks.fix))
    return found


# What each capability is for, in the order of importance.
_USES = {
    "BPF": "BPF programs cannot be loaded",
    "PERFMON": "BPF programs cannot be attached",
    "SYS_ADMIN": "page frames are hidden, hugetlbfs cannot be mounted, and newer kernels refuse "
    "uprobes",
    "SYS_PTRACE": "QEMU's memory and descriptors cannot be inspected",
    "IPC_LOCK": "RAM is locked up to ulimit -l only",
    "NET_ADMIN": "network devices cannot be tested",
}


def _missing(facts: HostFacts) -> list[str]:
    return [name for name in _USES if name not in facts.privileges.capabilities]


def missing_capabilities(facts: HostFacts) -> str:
    missing = _missing(facts)
    if not missing:
        return ""
    also = [
        *(["a user namespace"] if facts.privileges.user_namespace else []),
        *(["a seccomp filter"] if facts.privileges.seccomp else []),
        *([f"lockdown {facts.privileges.lockdown}"] if facts.privileges.lockdown != "none" else []),
    ]
    names = ", ".join(f"CAP_{name}" for name in missing)
    return f"{names} missing, with {', '.join(also)}" if also else f"{names} missing"


def capabilities_fix(facts: HostFacts) -> str:
    return granting(_missing(facts))


def lost_without(facts: HostFacts) -> str:
    return "; ".join(_USES[name] for name in _missing(facts))
