"""The table of what the measurement requires of a host, and how one row of it is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from results.records.host_needs import Need, ProbeSupport
from results.records.scenario import GIB
from runners.lab.recipe import FREE_MIB
from runners.qemu.headroom import SHM, shm_fix

from . import host_texts, limit_texts
from .facts import HostFacts
from .host_texts import Text

Condition = Callable[[HostFacts, ProbeSupport], bool]

_BUSY = 0.5  # load per CPU above which vCPU threads have to wait for a CPU
SUDO = "run pausebench with sudo"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of the measurement on a host, with its texts.

    `unmet` describes a host that does not meet it, and is empty on a host that does.
    """

    name: str
    met: Text
    unmet: Text
    consequence: Text
    fix: Text
    essential: bool | Condition = False  # nothing can be measured without it

    def evaluate(self, facts: HostFacts, support: ProbeSupport) -> Need:
        def value(text: Text) -> str:
            return text if isinstance(text, str) else text(facts, support)

        if not (found := value(self.unmet)):
            return Need(self.name, "ok", value(self.met))
        essential = self.essential
        missing = essential(facts, support) if callable(essential) else essential
        state: Literal["missing", "limited"] = "missing" if missing else "limited"
        return Need(self.name, state, found, value(self.consequence), value(self.fix))


# --- the table, in the order of display -----------------------------------------------------

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "root",
        met="yes",
        unmet=lambda facts, _: "" if facts.root else "not root",
        consequence="BPF programs cannot be loaded and guest RAM cannot be read",
        fix=SUDO,
        essential=True,
    ),
    Requirement(
        "PID namespace",
        met="the host's",
        unmet=lambda facts, _: "" if facts.pid_namespace else "not the host's",
        consequence="probes report the host's pids, which name no process here",
        fix="run it outside, or in a container with `--pid=host`",
        essential=True,
    ),
    Requirement(
        "capabilities",
        met="all",
        unmet=lambda facts, _: limit_texts.missing_capabilities(facts),
        consequence=lambda facts, _: limit_texts.lost_without(facts),
        fix=lambda facts, _: limit_texts.capabilities_fix(facts),
    ),
    Requirement(
        "KVM",
        met=lambda facts, _: f"creates a VM and a vCPU ({', '.join(facts.kvm_modules) or 'kvm'})",
        unmet=host_texts.reason_lacking("kvm"),
        consequence="guests run under TCG, with other blackouts than under KVM",
        fix=host_texts.fix_of("kvm", "use a host with virtualization by hardware"),
    ),
    Requirement(
        "KVM nesting",
        met="none: bare metal",
        unmet=host_texts.nested,
        consequence="exits go through an outer hypervisor: longer blackouts with more variance",
        fix=host_texts.VM_FIX,
    ),
    Requirement(
        "tracefs",
        met="mounted",
        unmet=host_texts.no_tracefs,
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
        fix="apt-get install python3-bpfcc, then run `make setup`",
        essential=True,
    ),
    Requirement(
        "kernel headers",
        met=lambda _, support: support.headers,
        unmet=host_texts.other_headers,
        consequence=lambda _, support: (
            "no effect on our probes, which read no kernel struct"
            if support.headers
            else "no BPF program can be compiled"
        ),
        fix=lambda _, support: (
            "apt-get install linux-headers-$(uname -r), "
            f"{'if available' if support.headers else 'or linux-headers-amd64'}"
        ),
        essential=lambda _, support: not support.headers,
    ),
    Requirement(
        "BPF tracepoints",
        met="load and fire",
        unmet=lambda _, support: support.tracepoints,
        consequence="the blackout cannot be measured",
        fix=host_texts.fix_of_probe(
            "tracepoints", "mount tracefs, and use a kernel with CONFIG_BPF_EVENTS"
        ),
        essential=True,
    ),
    Requirement(
        "BPF uprobes",
        met="load and fire",
        unmet=lambda _, support: support.uprobes,
        consequence="the probes cannot be loaded: QEMU's functions cannot be traced",
        fix=host_texts.fix_of_probe("uprobes", "use a kernel with CONFIG_UPROBE_EVENTS"),
        essential=True,
    ),
    Requirement(
        "BPF kprobes",
        met="load and fire",
        unmet=lambda _, support: support.kprobes,
        consequence="pin and unpin functions are not traced; the blackout does not need them",
        fix=host_texts.fix_of_probe("kprobes", "use a kernel with CONFIG_KPROBES"),
    ),
    Requirement(
        "BPF fentry",
        met="load and fire",
        unmet=lambda _, support: support.fentry,
        consequence="no effect: no probe uses it",
        fix="use a kernel with CONFIG_DEBUG_INFO_BTF and BPF trampolines that is not locked down",
    ),
    Requirement(
        "perf, software",
        met="counts the task clock",
        unmet=host_texts.reason_lacking("perf_software"),
        consequence="perf does not count page faults, context switches and CPU time",
        fix=host_texts.fix_of("perf_software", "sysctl kernel.perf_event_paranoid=1"),
    ),
    Requirement(
        "perf, PMU",
        met="counts cycles",
        unmet=host_texts.reason_lacking("perf_hardware"),
        consequence="cycles, instructions and cache misses are not counted",
        fix=host_texts.fix_of(
            "perf_hardware", "use bare metal, or a virtual machine with a PMU (-cpu host,pmu=on)"
        ),
    ),
    Requirement(
        "huge pages, 2 MiB",
        met=lambda facts, _: f"{facts.huge_free} free; more can be reserved for a run",
        unmet=lambda facts, _: limit_texts.no_huge_pages(facts),
        consequence="the hugetlb scenarios cannot run",
        fix=lambda facts, _: limit_texts.huge_pages_fix(facts),
    ),
    Requirement(
        "one session at a time",
        met="no other measures; one that does, and shares this /run, is waited for",
        unmet=host_texts.lock,
        consequence=host_texts.lock_effect,
        fix=lambda facts, _: (
            "leave out --share, to wait for its end"
            if facts.measuring
            else "mount the host's /run/pausebench here"
        ),
    ),
    Requirement(
        "unrelated QEMUs",
        met="none runs a binary to be measured",
        unmet=host_texts.strangers,
        consequence="probes sit in the binary, so in these too: none of their events is counted, "
        "but their calls to probed functions take longer",
        fix="measure a copy of the binary: --build copy=PATH",
    ),
    Requirement(
        "killed sessions",
        met=host_texts.tidied,
        unmet=lambda facts, _: (
            f"left {facts.leftovers}" if not facts.tidied and facts.leftovers else ""
        ),
        consequence="what they took is missing until the next session on this host gives it back",
        fix="pausebench doctor --tidy",
    ),
    Requirement(
        "memlock",
        met="16 MiB can be locked",
        unmet=host_texts.reason_lacking("lock_memory"),
        consequence="scenarios with --mem-lock and pinned buffers fail",
        fix=host_texts.fix_of("lock_memory", "ulimit -l unlimited"),
    ),
    Requirement(
        "free memory",
        met=lambda facts, _: f"{facts.memory.free / GIB:.1f} GiB",
        unmet=lambda facts, _: limit_texts.little_memory(facts),
        consequence="guests may be swapped out or killed",
        fix=lambda facts, _: facts.memory.fix,
        essential=lambda facts, _: facts.memory.free < limit_texts.LEAST_MEMORY_BYTES,
    ),
    Requirement(
        "shared memory",
        met=lambda facts, _: f"{(facts.shm_bytes or 0) / GIB:.1f} GiB free in {SHM}",
        unmet=lambda facts, _: limit_texts.little_shm(facts),
        consequence="scenario shm cannot run with its usual RAM",
        fix=lambda facts, _: (
            shm_fix(limit_texts.SHM_BYTES)
            if facts.shm_bytes is not None
            else f"mount -t tmpfs tmpfs {SHM}"
        ),
    ),
    Requirement(
        "limits",
        met=lambda facts, _: f"{facts.open_files or 'any number of'} open files",
        unmet=lambda facts, _: "; ".join(found for found, _ in limit_texts.low_limits(facts)),
        consequence="probes cannot be attached or QEMU cannot start",
        fix=lambda facts, _: "; ".join(raised for _, raised in limit_texts.low_limits(facts)),
        essential=True,
    ),
    Requirement(
        "kcmp",
        met="distinguishes open files",
        unmet=host_texts.reason_lacking("kcmp"),
        consequence="no proof that old and new QEMU share the same open files",
        fix=host_texts.fix_of("kcmp", "use a kernel with CONFIG_KCMP"),
    ),
    Requirement(
        "pagemap",
        met="shows page frame numbers",
        unmet=host_texts.reason_lacking("pagemap"),
        consequence="no proof that guest RAM stays in the same physical pages",
        fix=host_texts.fix_of("pagemap", "run as root in the initial user namespace"),
    ),
    Requirement(
        "io_uring",
        met="pins registered buffers",
        unmet=host_texts.reason_lacking("io_uring"),
        consequence="without an assigned device there are no long-term pins, and no proof for them",
        fix=host_texts.fix_of("io_uring", "use a kernel with CONFIG_IO_URING"),
    ),
    Requirement(
        "VFIO and IOMMU",
        met=host_texts.vfio_ways,
        unmet=host_texts.no_vfio,
        consequence="guests with assigned devices cannot be measured on this host",
        fix=host_texts.vfio_fix,
    ),
    Requirement(
        "VFIO in the lab",
        met=lambda facts, _: (
            f"ready: {facts.lab}" if facts.lab else "can be built (a minute, 1 GB in the cache)"
        ),
        unmet=lambda facts, _: facts.lab_refusal,
        consequence="guests with assigned devices cannot be measured in the lab",
        fix=f"use an x86_64 Debian host with {FREE_MIB / 1024:.1f} GiB of free memory",
    ),
    Requirement(
        "CPU isolation",
        met=lambda facts, _: f"CPUs {facts.isolated}",
        unmet=lambda facts, _: "" if facts.isolated else f"none of {facts.cpus} CPUs",
        consequence="other tasks may run on a vCPU's CPU: more variance",
        fix=host_texts.isolation_fix,
    ),
    Requirement(
        "CPU governor",
        met="performance",
        unmet=host_texts.other_governor,
        consequence=lambda facts, _: (
            "the clock frequency varies with the load"
            if facts.governor
            else "the clock frequency may vary unnoticed; comparisons interleave A and B for that"
        ),
        fix=host_texts.governor_fix,
    ),
    Requirement(
        "swap",
        met=host_texts.swap,
        unmet=host_texts.swap_used,
        consequence="guest RAM may have to be read back from disk in the blackout",
        fix="swapoff -a while measuring, if there is enough free memory",
    ),
    Requirement(
        "KSM",
        met=lambda facts, _: "off" if facts.ksm else "none",
        unmet=lambda facts, _: "" if facts.ksm in ("", "0") else "merges pages",
        consequence="its scanner takes CPU time and write-protects guest pages",
        fix="echo 0 > /sys/kernel/mm/ksm/run",
    ),
    Requirement(
        "THP",
        met=host_texts.thp,
        unmet=lambda facts, support: (
            host_texts.thp(facts, support) if facts.thp_shmem in ("always", "force") else ""
        ),
        consequence="shared guest RAM gets huge pages in some boots and not in others",
        fix="echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled",
    ),
    Requirement(
        "load",
        met=host_texts.load,
        unmet=lambda facts, support: (
            host_texts.load(facts, support) if facts.load1 > _BUSY * facts.cpus else ""
        ),
        consequence="vCPUs wait for a CPU: longer blackouts with more variance",
        fix="stop other programs, or wait for them to finish",
    ),
)
