"""What is found of a host, as texts of the requirements."""

from __future__ import annotations

from collections.abc import Callable

from results.denial import Denial
from results.records.host_needs import ProbeSupport
from results.records.scenario import MIB

from .facts import HostFacts

# A text, or a function that derives it from the facts.
Text = str | Callable[[HostFacts, ProbeSupport], str]

VM_FIX = "use bare metal for absolute figures; comparisons within one session are valid here too"
LAB_FIX = "or use the lab: pausebench lab run"


def reason_lacking(name: str) -> Text:
    """Why the check of a capability failed; empty when it did not."""
    return lambda facts, _: facts.capabilities.get(name, Denial()).reason


def fix_of(name: str, otherwise: str) -> Text:
    """The fix for the errno of a failed check, or else that of any other cause."""
    return lambda facts, _: facts.capabilities.get(name, Denial()).fix or otherwise


def fix_of_probe(kind: str, otherwise: str) -> Text:
    return lambda _, support: support.fixes.get(kind) or otherwise


# --- texts with more than one condition -----------------------------------------------------


def nested(facts: HostFacts, _: ProbeSupport) -> str:
    if not facts.hypervisor:
        return ""
    emulated = " (kvm_pvm: no hardware virtualization)" if "kvm_pvm" in facts.kvm_modules else ""
    return f"this host is itself a virtual machine{emulated}"


def no_tracefs(facts: HostFacts, _: ProbeSupport) -> str:
    if facts.tracefs:
        return ""
    return "not mounted" if facts.root else "accessible to root only"


def other_headers(_: HostFacts, support: ProbeSupport) -> str:
    if not support.headers:
        return "none"
    return support.headers if "stand-in" in support.headers else ""


def lock(facts: HostFacts, _: ProbeSupport) -> str:
    """What keeps sessions from measuring one at a time; empty when nothing does."""
    if facts.measuring:
        return f"another session measures: {facts.measuring}"
    return "" if facts.lock_shared else "in a mount namespace with its own /run"


def lock_effect(facts: HostFacts, _: ProbeSupport) -> str:
    if facts.measuring:
        return "it and what is tried here disturb each other"
    return "sessions outside are not seen and not waited for: each disturbs the other"


def strangers(facts: HostFacts, _: ProbeSupport) -> str:
    return "; ".join(
        f"{label} is run by {'pid' if len(pids) == 1 else 'pids'} {', '.join(map(str, pids))}"
        for label, pids in facts.strangers.items()
    )


def tidied(facts: HostFacts, _: ProbeSupport) -> str:
    return f"none any more: {facts.leftovers} removed" if facts.leftovers else "none"


def vfio_ways(facts: HostFacts, _: ProbeSupport) -> str:
    ways = [way for way, there in (("type1", facts.vfio), ("iommufd", facts.iommufd)) if there]
    return f"{', '.join(ways)}; {facts.iommu_groups} IOMMU groups"


def no_vfio(facts: HostFacts, support: ProbeSupport) -> str:
    if facts.vfio or facts.iommufd:
        return "" if facts.iommu_groups else vfio_ways(facts, support)
    built = {"n": "this kernel was built without CONFIG_VFIO", "m": "its module is not loaded"}
    reason = built.get(facts.vfio_config, "")
    return f"no /dev/vfio/vfio: {reason}" if reason else "no /dev/vfio/vfio"


def vfio_fix(facts: HostFacts, _: ProbeSupport) -> str:
    fix = "use a kernel with CONFIG_VFIO" if facts.vfio_config == "n" else "modprobe vfio-pci"
    if facts.vfio or facts.iommufd:
        fix = "enable the IOMMU in the firmware and boot with intel_iommu=on (AMD: on by default)"
    return f"{fix}, {LAB_FIX}"


def isolation_fix(facts: HostFacts, _: ProbeSupport) -> str:
    if facts.cpus < 4:
        return "use a host with 4 or more CPUs and isolate some of them (isolcpus=)"
    return "boot with isolcpus=2-3 nohz_full=2-3 on the kernel command line"


def other_governor(facts: HostFacts, _: ProbeSupport) -> str:
    if facts.governor:
        return "" if facts.governor == "performance" else facts.governor
    return "hidden by the hypervisor" if facts.hypervisor else "none: controlled by the firmware"


def governor_fix(facts: HostFacts, _: ProbeSupport) -> str:
    if facts.governor:
        return "cpupower frequency-set -g performance"
    return VM_FIX if facts.hypervisor else ""


def swap(facts: HostFacts, _: ProbeSupport) -> str:
    return f"{facts.swap_bytes // MIB} MiB, unused" if facts.swap_bytes else "none"


def swap_used(facts: HostFacts, _: ProbeSupport) -> str:
    used = facts.swap_used_bytes // MIB
    return f"{used} MiB used" if used else ""


def thp(facts: HostFacts, _: ProbeSupport) -> str:
    return f"{facts.thp or 'none'}, for shared memory {facts.thp_shmem or 'none'}"


def load(facts: HostFacts, _: ProbeSupport) -> str:
    return f"{facts.load1:.2f} on {facts.cpus} CPUs"
