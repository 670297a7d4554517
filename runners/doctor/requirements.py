"""What the measurement needs of a host, judged one by one: facts in, state and fix out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from results.records.host_needs import Need, ProbeSupport, measurable
from results.records.scenario import GIB, MIB, Build
from results.timeline.marks import MARKS
from runners.doctor.facts import HostFacts, look

__all__ = ["NEEDS", "Need", "build_needs", "check_host", "judge", "measurable"]

Judge = Callable[[HostFacts, ProbeSupport], Need]

_BUSY = 0.5  # load per CPU from which vCPU threads have to wait for each other's CPU
_REFUSALS = ("not permitted", "Permission denied", "root", "CAP_SYS_ADMIN", "Cannot allocate")
_VM_FIX = "measure on bare metal for absolute figures; comparisons within one session hold here"


def check_host(
    support: ProbeSupport,
    builds: Sequence[Build] = (),
    refused: Sequence[tuple[str, str]] = (),
) -> tuple[Need, ...]:
    """Every need of this host as it is now. `refused` are (label, reason) of unfit builds."""
    return judge(look(), support, builds, refused)


def judge(
    facts: HostFacts,
    support: ProbeSupport,
    builds: Sequence[Build] = (),
    refused: Sequence[tuple[str, str]] = (),
) -> tuple[Need, ...]:
    """The same from facts that are given."""
    judged = (need(facts, support) for need in NEEDS)
    if not facts.root:
        judged = (_as_a_user(need) for need in judged)
    return (*build_needs(builds, refused), *judged)


def _as_a_user(need: Need) -> Need:
    """A user is refused what root may do: then nothing on the host needs mending."""
    refused = any(word in need.found for word in _REFUSALS)
    return replace(need, fix="run it with sudo") if need.state != "ok" and refused else need


def build_needs(builds: Sequence[Build], refused: Sequence[tuple[str, str]]) -> tuple[Need, ...]:
    """One need per QEMU build; one that is refused is missed only when no other is fit."""
    consequence = "this build cannot be measured" if builds else "there is no QEMU to measure"
    unfit = [
        Need(f"QEMU {label}", "limited" if builds else "missing", reason, consequence, _QEMU_FIX)
        for label, reason in refused
    ]
    return (*map(_build, builds), *unfit)


_QEMU_FIX = "name another with --build LABEL=PATH, or `make setup` for the distribution's"


def _build(build: Build) -> Need:
    name = f"QEMU {build.label}"
    needed = [mark for mark in MARKS if mark.needed]
    found = (
        f"{build.version}: {', '.join(build.cpr_modes)}; "
        f"{len(needed) - len(build.missing_marks)} of {len(needed)} probed functions named"
    )
    if not build.missing_marks:
        return Need(name, "ok", found)
    if build.symbols:
        consequence = f"phases bounded by {', '.join(build.missing_marks)} are not told"
        fix = (
            "this release may call those functions otherwise: add the names to "
            "results/timeline/marks.py"
        )
    else:
        consequence = "its functions cannot be probed: no phases are told"
        fix = "use a build that exports them or keeps .symtab (not stripped, not -microvm)"
    return Need(name, "limited", found, consequence, fix)


def _tried(
    name: str, why: str, good: str, consequence: str, fix: str, *, essential: bool = False
) -> Need:
    """A need that was tried out: `why` it failed is empty when it did not."""
    if not why:
        return Need(name, "ok", good)
    return Need(name, "missing" if essential else "limited", why, consequence, fix)


def _root(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "root",
        "" if facts.root else "not root",
        "yes",
        "neither BPF nor guest RAM can be read",
        "run it with sudo",
        essential=True,
    )


def _kvm(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "KVM",
        facts.trials.get("kvm", ""),
        f"makes a VM and a vCPU ({', '.join(facts.kvm_modules) or 'kvm'})",
        "guests run under TCG: other blackouts than under KVM",
        "modprobe kvm_intel or kvm_amd, with virtualization on in the firmware; in a virtual "
        "machine let its host pass nested virtualization on",
    )


def _nesting(facts: HostFacts, support: ProbeSupport) -> Need:
    if not facts.hypervisor:
        return Need("KVM nesting", "ok", "none: this is the bare machine")
    emulated = " (kvm_pvm: no hardware virtualization)" if "kvm_pvm" in facts.kvm_modules else ""
    return Need(
        "KVM nesting",
        "limited",
        f"this host is a virtual machine itself{emulated}",
        "exits go through an outer hypervisor: longer blackouts, more spread",
        _VM_FIX,
    )


def _tracefs(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "tracefs",
        "" if facts.tracefs else "not mounted" if facts.root else "only root may see it",
        "mounted",
        "no tracepoint can be attached",
        "mount -t tracefs tracefs /sys/kernel/tracing",
        essential=True,
    )


def _bcc(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "bcc",
        "" if support.bcc_version else "the distribution's bcc cannot be imported",
        support.bcc_version,
        "no BPF program can be compiled",
        "apt-get install python3-bpfcc, then `make setup`",
        essential=True,
    )


def _headers(facts: HostFacts, support: ProbeSupport) -> Need:
    name, fix = "kernel headers", "apt-get install linux-headers-$(uname -r)"
    if not support.headers:
        why = "no BPF program can be compiled"
        return Need(name, "missing", "none", why, f"{fix}, or any linux-headers-amd64")
    if "stand-in" not in support.headers:
        return Need(name, "ok", support.headers)
    consequence = "enough for our probes; none may read a kernel struct through them"
    return Need(name, "limited", support.headers, consequence, f"{fix}, where there are any")


def _tracepoints(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "BPF tracepoints",
        support.tracepoints,
        "load and fire",
        "the blackout cannot be seen",
        "root, tracefs and a kernel with CONFIG_BPF_EVENTS",
        essential=True,
    )


def _uprobes(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "BPF uprobes",
        support.uprobes,
        "load and fire",
        "the session's probes do not load: QEMU's functions cannot be seen",
        "root and a kernel with CONFIG_UPROBE_EVENTS",
        essential=True,
    )


def _kprobes(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "BPF kprobes",
        support.kprobes,
        "load and fire",
        "pin and unpin events are not seen; the blackout does not need them",
        "a kernel with CONFIG_KPROBES",
    )


def _fentry(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "BPF fentry",
        support.fentry,
        "load and fire",
        "as for kprobes; either of the two is enough",
        "a kernel with CONFIG_DEBUG_INFO_BTF and BPF trampolines, not locked down",
    )


def _perf_software(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "perf, software",
        facts.trials.get("perf_software", ""),
        "counts the task clock",
        "no faults, switches or CPU time beside the blackout",
        "root, or sysctl kernel.perf_event_paranoid=1",
    )


def _pmu(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "perf, PMU",
        facts.trials.get("perf_hardware", ""),
        "counts cycles",
        "no cycles, instructions or cache misses",
        "bare metal, or a virtual machine with a PMU (for QEMU: -cpu host,pmu=on)",
    )


def _huge_pages(facts: HostFacts, support: ProbeSupport) -> Need:
    back = f"; {facts.huge_returned} of a killed session given back" if facts.huge_returned else ""
    return _tried(
        "huge pages, 2 MiB",
        facts.huge_refusal,
        f"{facts.huge_free} free; more can be reserved for a run{back}",
        "the hugetlb scenarios cannot run",
        "as root: sysctl vm.nr_hugepages=512 (1 GiB), or hugepages=512 on the kernel's command "
        "line",
    )


def _memlock(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "memlock",
        facts.trials.get("lock_memory", ""),
        "16 MiB can be locked",
        "scenarios with --mem-lock and pinned buffers fail",
        "run as root, or raise it: ulimit -l unlimited",
    )


def _memory(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "free memory",
        "" if facts.available_bytes >= GIB else f"{facts.available_bytes // MIB} MiB",
        f"{facts.available_bytes / GIB:.1f} GiB",
        "guests may be swapped or killed",
        "end other work, or measure with less --ram",
    )


def _kcmp(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "kcmp",
        facts.trials.get("kcmp", ""),
        "tells open files apart",
        "no proof that old's and new's descriptors are one open file",
        "root and a kernel with CONFIG_KCMP",
    )


def _pagemap(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "pagemap",
        facts.trials.get("pagemap", ""),
        "shows page frame numbers",
        "no proof that guest RAM stays in the same physical pages",
        "run as root, in the host's own user namespace",
    )


def _io_uring(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "io_uring",
        facts.trials.get("io_uring", ""),
        "pins registered buffers",
        "no long-term pins without a device, so no pin proof",
        "sysctl kernel.io_uring_disabled=0, and a kernel with CONFIG_IO_URING",
    )


def _vfio(facts: HostFacts, support: ProbeSupport) -> Need:
    consequence = "no guest with a passed-through device can be measured"
    if facts.vfio or facts.iommufd:
        ways = [w for w, there in (("type1", facts.vfio), ("iommufd", facts.iommufd)) if there]
        groups = f"{', '.join(ways)}; {facts.iommu_groups} IOMMU groups"
        return _tried(
            "VFIO and IOMMU",
            "" if facts.iommu_groups else groups,
            groups,
            consequence,
            "boot with intel_iommu=on (AMD: on by itself), with the IOMMU on in the firmware; "
            f"{_LAB}",
        )
    built = {"n": "this kernel was built without CONFIG_VFIO", "m": "not loaded"}
    return Need(
        "VFIO and IOMMU",
        "limited",
        f"no /dev/vfio/vfio: {built.get(facts.vfio_config, 'none')}",
        consequence,
        f"{'another kernel' if facts.vfio_config == 'n' else 'modprobe vfio-pci'}; {_LAB}",
    )


_LAB = "or in a virtual machine: pausebench lab run"


def _lab(facts: HostFacts, support: ProbeSupport) -> Need:
    made = "can be made (a minute, 1 GB in the cache)"
    return _tried(
        "VFIO in the lab",
        facts.lab_refusal,
        f"ready: {facts.lab}" if facts.lab else made,
        "assigned devices cannot be measured in the lab either",
        "an x86_64 Debian with 4 GiB of free memory",
    )


def _isolation(facts: HostFacts, support: ProbeSupport) -> Need:
    consequence = "other work may run on a vCPU's CPU: more spread"
    fix = "isolcpus=2-3 nohz_full=2-3 on the kernel's command line"
    if facts.cpus < 4:
        fix = "a host with 4 or more CPUs, some of them isolated (isolcpus=)"
    found = f"none of {facts.cpus} CPUs"
    why = "" if facts.isolated else found
    return _tried("CPU isolation", why, f"CPUs {facts.isolated}", consequence, fix)


def _governor(facts: HostFacts, support: ProbeSupport) -> Need:
    if facts.governor == "performance":
        return Need("CPU governor", "ok", facts.governor)
    if facts.governor:
        fix = "cpupower frequency-set -g performance"
        return Need("CPU governor", "limited", facts.governor, "the clock varies with load", fix)
    found = "hidden by the hypervisor" if facts.hypervisor else "none: the firmware decides"
    consequence = "the clock may vary unseen; A/B order is interleaved against that"
    return Need("CPU governor", "limited", found, consequence, _VM_FIX if facts.hypervisor else "")


def _swap(facts: HostFacts, support: ProbeSupport) -> Need:
    used = facts.swap_used_bytes // MIB
    return _tried(
        "swap",
        f"{used} MiB used" if used else "",
        f"{facts.swap_bytes // MIB} MiB, unused" if facts.swap_bytes else "none",
        "guest RAM may be read back from disk in the blackout",
        "swapoff -a while measuring, with memory to spare",
    )


def _ksm(facts: HostFacts, support: ProbeSupport) -> Need:
    return _tried(
        "KSM",
        "" if facts.ksm in ("", "0") else "merges pages",
        "off" if facts.ksm else "none",
        "a scanner takes CPU time and write-protects guest pages",
        "echo 0 > /sys/kernel/mm/ksm/run",
    )


def _thp(facts: HostFacts, support: ProbeSupport) -> Need:
    found = f"{facts.thp or 'none'}, for shared memory {facts.thp_shmem or 'none'}"
    return _tried(
        "THP",
        found if facts.thp_shmem in ("always", "force") else "",
        found,
        "shared guest RAM gets huge pages by chance: boots differ",
        "echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled",
    )


def _load(facts: HostFacts, support: ProbeSupport) -> Need:
    found = f"{facts.load1:.2f} on {facts.cpus} CPUs"
    return _tried(
        "load",
        found if facts.load1 > _BUSY * facts.cpus else "",
        found,
        "vCPUs wait for a CPU: longer and more scattered blackouts",
        "let other work end first",
    )


NEEDS: tuple[Judge, ...] = (
    _root,
    _kvm,
    _nesting,
    _tracefs,
    _bcc,
    _headers,
    _tracepoints,
    _uprobes,
    _kprobes,
    _fentry,
    _perf_software,
    _pmu,
    _huge_pages,
    _memlock,
    _memory,
    _kcmp,
    _pagemap,
    _io_uring,
    _vfio,
    _lab,
    _isolation,
    _governor,
    _swap,
    _ksm,
    _thp,
    _load,
)
