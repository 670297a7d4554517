"""The table of what the measurement needs of a host, and how one row of it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from results.records.host_needs import Need, ProbeSupport
from results.records.scenario import GIB, MIB

from .facts import HostFacts

# What is told, or how it follows from what was found out.
Text = str | Callable[[HostFacts, ProbeSupport], str]
Condition = Callable[[HostFacts, ProbeSupport], bool]

_BUSY = 0.5  # load per CPU from which vCPU threads have to wait for each other's CPU
_VM_FIX = "measure on bare metal for absolute figures; comparisons within one session hold here"
_LAB_FIX = "or in a virtual machine: pausebench lab run"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that the measurement needs of a host, with all that is told of it.

    `unmet` says what was found on a host that does not have it, and is empty on one that has.
    """

    name: str
    met: Text
    unmet: Text
    consequence: Text
    fix: Text
    essential: bool | Condition = False  # without it nothing can be measured

    def judged(self, facts: HostFacts, support: ProbeSupport) -> Need:
        def said(text: Text) -> str:
            return text if isinstance(text, str) else text(facts, support)

        if not (found := said(self.unmet)):
            return Need(self.name, "ok", said(self.met))
        essential = self.essential
        missing = essential(facts, support) if callable(essential) else essential
        state: Literal["missing", "limited"] = "missing" if missing else "limited"
        return Need(self.name, state, found, said(self.consequence), said(self.fix))


def _trial(name: str) -> Text:
    """Why a trial failed; nothing when it did not."""
    return lambda facts, _: facts.trials.get(name, "")


# --- texts of more than one condition -------------------------------------------------------


def _nested(facts: HostFacts, _: ProbeSupport) -> str:
    if not facts.hypervisor:
        return ""
    emulated = " (kvm_pvm: no hardware virtualization)" if "kvm_pvm" in facts.kvm_modules else ""
    return f"this host is a virtual machine itself{emulated}"


def _no_tracefs(facts: HostFacts, _: ProbeSupport) -> str:
    if facts.tracefs:
        return ""
    return "not mounted" if facts.root else "only root may see it"


def _other_headers(_: HostFacts, support: ProbeSupport) -> str:
    if not support.headers:
        return "none"
    return support.headers if "stand-in" in support.headers else ""


def _huge_pages(facts: HostFacts, _: ProbeSupport) -> str:
    back = f"; {facts.huge_returned} of a killed session given back" if facts.huge_returned else ""
    return f"{facts.huge_free} free; more can be reserved for a run{back}"


def _vfio_ways(facts: HostFacts, _: ProbeSupport) -> str:
    ways = [way for way, there in (("type1", facts.vfio), ("iommufd", facts.iommufd)) if there]
    return f"{', '.join(ways)}; {facts.iommu_groups} IOMMU groups"


def _no_vfio(facts: HostFacts, support: ProbeSupport) -> str:
    if facts.vfio or facts.iommufd:
        return "" if facts.iommu_groups else _vfio_ways(facts, support)
    built = {"n": "this kernel was built without CONFIG_VFIO", "m": "not loaded"}
    return f"no /dev/vfio/vfio: {built.get(facts.vfio_config, 'none')}"


def _vfio_fix(facts: HostFacts, _: ProbeSupport) -> str:
    fix = "another kernel" if facts.vfio_config == "n" else "modprobe vfio-pci"
    if facts.vfio or facts.iommufd:
        fix = "boot with intel_iommu=on (AMD: on by itself), with the IOMMU on in the firmware"
    return f"{fix}; {_LAB_FIX}"


def _isolation_fix(facts: HostFacts, _: ProbeSupport) -> str:
    if facts.cpus < 4:
        return "a host with 4 or more CPUs, some of them isolated (isolcpus=)"
    return "isolcpus=2-3 nohz_full=2-3 on the kernel's command line"


def _other_governor(facts: HostFacts, _: ProbeSupport) -> str:
    if facts.governor:
        return "" if facts.governor == "performance" else facts.governor
    return "hidden by the hypervisor" if facts.hypervisor else "none: the firmware decides"


def _governor_fix(facts: HostFacts, _: ProbeSupport) -> str:
    if facts.governor:
        return "cpupower frequency-set -g performance"
    return _VM_FIX if facts.hypervisor else ""


def _swap(facts: HostFacts, _: ProbeSupport) -> str:
    return f"{facts.swap_bytes // MIB} MiB, unused" if facts.swap_bytes else "none"


def _swap_used(facts: HostFacts, _: ProbeSupport) -> str:
    used = facts.swap_used_bytes // MIB
    return f"{used} MiB used" if used else ""


def _thp(facts: HostFacts, _: ProbeSupport) -> str:
    return f"{facts.thp or 'none'}, for shared memory {facts.thp_shmem or 'none'}"


def _load(facts: HostFacts, _: ProbeSupport) -> str:
    return f"{facts.load1:.2f} on {facts.cpus} CPUs"


# --- the table, in the order in which it is shown -------------------------------------------

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "root",
        met="yes",
        unmet=lambda facts, _: "" if facts.root else "not root",
        consequence="neither BPF nor guest RAM can be read",
        fix="run it with sudo",
        essential=True,
    ),
    Requirement(
        "KVM",
        met=lambda facts, _: f"makes a VM and a vCPU ({', '.join(facts.kvm_modules) or 'kvm'})",
        unmet=_trial("kvm"),
        consequence="guests run under TCG: other blackouts than under KVM",
        fix="modprobe kvm_intel or kvm_amd, with virtualization on in the firmware; in a virtual "
        "machine let its host pass nested virtualization on",
    ),
    Requirement(
        "KVM nesting",
        met="none: this is the bare machine",
        unmet=_nested,
        consequence="exits go through an outer hypervisor: longer blackouts, more spread",
        fix=_VM_FIX,
    ),
    Requirement(
        "tracefs",
        met="mounted",
        unmet=_no_tracefs,
        consequence="no tracepoint can be attached",
        fix="mount -t tracefs tracefs /sys/kernel/tracing",
        essential=True,
    ),
    Requirement(
        "bcc",
        met=lambda _, support: support.bcc_version,
        unmet=lambda _, support: (
            "" if support.bcc_version else "the distribution's bcc cannot be imported"
        ),
        consequence="no BPF program can be compiled",
        fix="apt-get install python3-bpfcc, then `make setup`",
        essential=True,
    ),
    Requirement(
        "kernel headers",
        met=lambda _, support: support.headers,
        unmet=_other_headers,
        consequence=lambda _, support: (
            "enough for our probes; none may read a kernel struct through them"
            if support.headers
            else "no BPF program can be compiled"
        ),
        fix=lambda _, support: (
            "apt-get install linux-headers-$(uname -r), "
            f"{'where there are any' if support.headers else 'or any linux-headers-amd64'}"
        ),
        essential=lambda _, support: not support.headers,
    ),
    Requirement(
        "BPF tracepoints",
        met="load and fire",
        unmet=lambda _, support: support.tracepoints,
        consequence="the blackout cannot be seen",
        fix="root, tracefs and a kernel with CONFIG_BPF_EVENTS",
        essential=True,
    ),
    Requirement(
        "BPF uprobes",
        met="load and fire",
        unmet=lambda _, support: support.uprobes,
        consequence="the session's probes do not load: QEMU's functions cannot be seen",
        fix="root and a kernel with CONFIG_UPROBE_EVENTS",
        essential=True,
    ),
    Requirement(
        "BPF kprobes",
        met="load and fire",
        unmet=lambda _, support: support.kprobes,
        consequence="pin and unpin events are not seen; the blackout does not need them",
        fix="a kernel with CONFIG_KPROBES",
    ),
    Requirement(
        "BPF fentry",
        met="load and fire",
        unmet=lambda _, support: support.fentry,
        consequence="as for kprobes; either of the two is enough",
        fix="a kernel with CONFIG_DEBUG_INFO_BTF and BPF trampolines, not locked down",
    ),
    Requirement(
        "perf, software",
        met="counts the task clock",
        unmet=_trial("perf_software"),
        consequence="no faults, switches or CPU time beside the blackout",
        fix="root, or sysctl kernel.perf_event_paranoid=1",
    ),
    Requirement(
        "perf, PMU",
        met="counts cycles",
        unmet=_trial("perf_hardware"),
        consequence="no cycles, instructions or cache misses",
        fix="bare metal, or a virtual machine with a PMU (for QEMU: -cpu host,pmu=on)",
    ),
    Requirement(
        "huge pages, 2 MiB",
        met=_huge_pages,
        unmet=lambda facts, _: facts.huge_refusal,
        consequence="the hugetlb scenarios cannot run",
        fix="as root: sysctl vm.nr_hugepages=512 (1 GiB), or hugepages=512 on the kernel's command "
        "line",
    ),
    Requirement(
        "memlock",
        met="16 MiB can be locked",
        unmet=_trial("lock_memory"),
        consequence="scenarios with --mem-lock and pinned buffers fail",
        fix="run as root, or raise it: ulimit -l unlimited",
    ),
    Requirement(
        "free memory",
        met=lambda facts, _: f"{facts.available_bytes / GIB:.1f} GiB",
        unmet=lambda facts, _: (
            "" if facts.available_bytes >= GIB else f"{facts.available_bytes // MIB} MiB"
        ),
        consequence="guests may be swapped or killed",
        fix="end other work, or measure with less --ram",
    ),
    Requirement(
        "kcmp",
        met="tells open files apart",
        unmet=_trial("kcmp"),
        consequence="no proof that old's and new's descriptors are one open file",
        fix="root and a kernel with CONFIG_KCMP",
    ),
    Requirement(
        "pagemap",
        met="shows page frame numbers",
        unmet=_trial("pagemap"),
        consequence="no proof that guest RAM stays in the same physical pages",
        fix="run as root, in the host's own user namespace",
    ),
    Requirement(
        "io_uring",
        met="pins registered buffers",
        unmet=_trial("io_uring"),
        consequence="no long-term pins without a device, so no pin proof",
        fix="sysctl kernel.io_uring_disabled=0, and a kernel with CONFIG_IO_URING",
    ),
    Requirement(
        "VFIO and IOMMU",
        met=_vfio_ways,
        unmet=_no_vfio,
        consequence="no guest with a passed-through device can be measured",
        fix=_vfio_fix,
    ),
    Requirement(
        "VFIO in the lab",
        met=lambda facts, _: (
            f"ready: {facts.lab}" if facts.lab else "can be made (a minute, 1 GB in the cache)"
        ),
        unmet=lambda facts, _: facts.lab_refusal,
        consequence="assigned devices cannot be measured in the lab either",
        fix="an x86_64 Debian with 4 GiB of free memory",
    ),
    Requirement(
        "CPU isolation",
        met=lambda facts, _: f"CPUs {facts.isolated}",
        unmet=lambda facts, _: "" if facts.isolated else f"none of {facts.cpus} CPUs",
        consequence="other work may run on a vCPU's CPU: more spread",
        fix=_isolation_fix,
    ),
    Requirement(
        "CPU governor",
        met="performance",
        unmet=_other_governor,
        consequence=lambda facts, _: (
            "the clock varies with load"
            if facts.governor
            else "the clock may vary unseen; A/B order is interleaved against that"
        ),
        fix=_governor_fix,
    ),
    Requirement(
        "swap",
        met=_swap,
        unmet=_swap_used,
        consequence="guest RAM may be read back from disk in the blackout",
        fix="swapoff -a while measuring, with memory to spare",
    ),
    Requirement(
        "KSM",
        met=lambda facts, _: "off" if facts.ksm else "none",
        unmet=lambda facts, _: "" if facts.ksm in ("", "0") else "merges pages",
        consequence="a scanner takes CPU time and write-protects guest pages",
        fix="echo 0 > /sys/kernel/mm/ksm/run",
    ),
    Requirement(
        "THP",
        met=_thp,
        unmet=lambda facts, support: (
            _thp(facts, support) if facts.thp_shmem in ("always", "force") else ""
        ),
        consequence="shared guest RAM gets huge pages by chance: boots differ",
        fix="echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled",
    ),
    Requirement(
        "load",
        met=_load,
        unmet=lambda facts, support: (
            _load(facts, support) if facts.load1 > _BUSY * facts.cpus else ""
        ),
        consequence="vCPUs wait for a CPU: longer and more scattered blackouts",
        fix="let other work end first",
    ),
)
