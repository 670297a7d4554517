"""Requirements: their evaluation on facts, which are essential, and the capability checks."""

import ctypes
import os
from dataclasses import replace

import pytest

from results.denial import Denial, Privileges
from results.records.host_needs import Need, ProbeSupport, measurable
from results.records.scenario import GIB, MIB, Build
from results.timeline.marks import FUNCTIONS
from runners.doctor import capabilities
from runners.doctor.facts import HostFacts
from runners.doctor.requirement_table import REQUIREMENTS
from runners.doctor.requirements import build_needs, check_host, judge
from runners.system import syscalls
from runners.system.limits import Room

GOOD = HostFacts(
    cpus=8,
    capabilities=dict.fromkeys(["kvm", "kcmp", "pagemap", "io_uring", "lock_memory"], Denial()),
    isolated="2-3",
    governor="performance",
    memory=Room(8 * GIB, "the host's available memory", "use less --ram"),
    shm_bytes=GIB,
    thp="madvise",
    thp_shmem="never",
    ksm="0",
    vfio=True,
    iommu_groups=3,
)
SUPPORT = ProbeSupport(headers="6.1.0-1-amd64", bcc_version="0.26.0")
BUILD = Build(
    label="system",
    binary="/usr/bin/qemu-system-x86_64",
    version="10.0.2",
    build_id="ab",
    sha256="cd",
    launcher=("/usr/bin/qemu-system-x86_64",),
    cpr_modes=("cpr-reboot", "cpr-transfer"),
    symbols=dict.fromkeys(FUNCTIONS, 1),
)


def by_name(facts=GOOD, support=SUPPORT, builds=(BUILD,), refused=()):
    return {need.name: need for need in judge(facts, support, builds, refused)}


def test_a_good_host_meets_every_requirement():
    needs = by_name()
    assert {need.state for need in needs.values()} == {"ok"}
    assert measurable(needs.values())
    assert not any(need.consequence or need.fix for need in needs.values())


LIMITED = [
    (
        "KVM",
        replace(
            GOOD,
            capabilities=GOOD.capabilities | {"kvm": Denial("/dev/kvm: No such file or directory")},
        ),
    ),
    ("KVM nesting", replace(GOOD, hypervisor=True)),
    ("huge pages, 2 MiB", replace(GOOD, huge_refusal="only 0 are available")),
    ("one session at a time", replace(GOOD, measuring="pid 12 (pausebench run anon)")),
    ("one session at a time", replace(GOOD, lock_shared=False)),
    ("unrelated QEMUs", replace(GOOD, strangers={"system": (12, 13)})),
    ("killed sessions", replace(GOOD, leftovers="5,120 huge pages")),
    (
        "memlock",
        replace(
            GOOD, capabilities=GOOD.capabilities | {"lock_memory": Denial("Cannot allocate memory")}
        ),
    ),
    ("free memory", replace(GOOD, memory=Room(500 * MIB, "a limit", "raise it"))),
    ("shared memory", replace(GOOD, shm_bytes=64 * MIB)),
    ("shared memory", replace(GOOD, shm_bytes=None)),
    ("huge pages, 2 MiB", replace(GOOD, huge_limits=(Room(64 * MIB, "the limit", "raise it"),))),
    ("capabilities", replace(GOOD, privileges=Privileges(frozenset({"BPF"})))),
    (
        "kcmp",
        replace(
            GOOD, capabilities=GOOD.capabilities | {"kcmp": Denial("Function not implemented")}
        ),
    ),
    ("pagemap", replace(GOOD, capabilities=GOOD.capabilities | {"pagemap": Denial("hidden")})),
    (
        "io_uring",
        replace(
            GOOD, capabilities=GOOD.capabilities | {"io_uring": Denial("Operation not permitted")}
        ),
    ),
    (
        "perf, software",
        replace(GOOD, capabilities=GOOD.capabilities | {"perf_software": Denial("no")}),
    ),
    ("perf, PMU", replace(GOOD, capabilities=GOOD.capabilities | {"perf_hardware": Denial("no")})),
    ("VFIO and IOMMU", replace(GOOD, vfio=False)),
    ("VFIO in the lab", replace(GOOD, lab_refusal="only 200 MiB of memory are free")),
    ("VFIO and IOMMU", replace(GOOD, iommu_groups=0)),
    ("CPU isolation", replace(GOOD, isolated="")),
    ("CPU isolation", replace(GOOD, isolated="", cpus=2)),
    ("CPU governor", replace(GOOD, governor="powersave")),
    ("CPU governor", replace(GOOD, governor="", hypervisor=True)),
    ("swap", replace(GOOD, swap_bytes=GIB, swap_used_bytes=MIB)),
    ("KSM", replace(GOOD, ksm="1")),
    ("THP", replace(GOOD, thp_shmem="always")),
    ("load", replace(GOOD, load1=4.1)),
]


@pytest.mark.parametrize(("name", "facts"), LIMITED)
def test_an_unmet_requirement_has_a_consequence_and_a_fix(name, facts):
    needs = by_name(facts)
    assert needs[name].state == "limited"
    assert needs[name].found
    assert needs[name].consequence
    assert needs[name].fix
    assert measurable(needs.values())


MISSING = [
    ("limits", replace(GOOD, open_files=64), SUPPORT),
    ("limits", replace(GOOD, address_space=GIB), SUPPORT),
    ("limits", replace(GOOD, tasks=Room(3, "the pids limit", "raise it")), SUPPORT),
    ("free memory", replace(GOOD, memory=Room(150 * MIB, "a limit", "raise it")), SUPPORT),
    ("root", replace(GOOD, root=False), SUPPORT),
    ("PID namespace", replace(GOOD, pid_namespace=False), SUPPORT),
    ("tracefs", replace(GOOD, tracefs=False), SUPPORT),
    ("bcc", GOOD, replace(SUPPORT, bcc_version="")),
    ("kernel headers", GOOD, replace(SUPPORT, headers="")),
    ("BPF tracepoints", GOOD, replace(SUPPORT, tracepoints="refused")),
    ("BPF uprobes", GOOD, replace(SUPPORT, uprobes="refused")),
]


@pytest.mark.parametrize(("name", "facts", "support"), MISSING)
def test_nothing_is_measurable_without_an_essential_requirement(name, facts, support):
    needs = by_name(facts, support)
    assert needs[name].state == "missing"
    assert needs[name].consequence
    assert needs[name].fix
    assert not measurable(needs.values())


@pytest.mark.parametrize("kind", ["kprobes", "fentry"])
def test_kprobes_and_fentry_are_not_essential(kind):
    needs = by_name(support=replace(SUPPORT, **{kind: "refused"}))
    assert needs[f"BPF {kind}"].state == "limited"
    assert measurable(needs.values())


def test_headers_of_another_kernel_are_limited():
    need = by_name(support=replace(SUPPORT, headers="6.1.0 (stand-in)"))["kernel headers"]
    assert (need.state, need.found) == ("limited", "6.1.0 (stand-in)")


def test_the_fix_for_an_ordinary_user_is_sudo():
    facts = replace(
        GOOD,
        root=False,
        capabilities=GOOD.capabilities | {"kvm": Denial("/dev/kvm: Permission denied")},
    )
    assert by_name(facts)["KVM"].fix == "run pausebench with sudo"
    absent = Denial("/dev/kvm: No such file or directory", "modprobe kvm_intel")
    facts = replace(facts, capabilities=GOOD.capabilities | {"kvm": absent})
    assert by_name(facts)["KVM"].fix == "modprobe kvm_intel"


def test_a_refused_build_is_essential_only_without_a_fit_one():
    refused = [("old", "QEMU 7.2.22 has no cpr-transfer")]
    both = build_needs([BUILD], refused)
    assert [(n.name, n.state) for n in both] == [("QEMU system", "ok"), ("QEMU old", "limited")]
    (alone,) = build_needs([], refused)
    assert (alone.state, alone.found) == ("missing", "QEMU 7.2.22 has no cpr-transfer")


def test_the_need_of_a_build_lists_modes_and_missing_functions():
    (complete,) = build_needs([BUILD], [])
    assert "cpr-reboot, cpr-transfer" in complete.found
    (renamed,) = build_needs([replace(BUILD, missing_marks=("main_listen",))], [])
    assert renamed.state == "limited"
    assert "main_listen" in renamed.consequence
    (stripped,) = build_needs([replace(BUILD, symbols={}, missing_marks=("vm_stop",))], [])
    assert "not stripped" in stripped.fix


def test_every_need_is_listed_once():
    names = [need.name for need in judge(GOOD, SUPPORT)]
    assert len(names) == len(set(names)) == len(REQUIREMENTS)


def test_this_host_is_checked():
    needs = check_host(SUPPORT, [BUILD])
    assert all(isinstance(need, Need) and need.found for need in needs)
    assert all(need.consequence for need in needs if need.state != "ok")


# --- capabilities -----------------------------------------------------------------------------


@pytest.mark.kvm
def test_kvm_creates_a_vcpu():
    open_before = len(os.listdir("/proc/self/fd"))
    assert not capabilities.kvm()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_missing_kvm_device_is_a_reason(monkeypatch):
    def refuse(*args):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(capabilities.os, "open", refuse)
    found = capabilities.kvm()
    assert found.reason == "/dev/kvm: No such file or directory"
    assert "modprobe kvm_intel" in found.fix


@pytest.mark.parametrize(
    "trial",
    [
        capabilities.kcmp,
        capabilities.pagemap,
        capabilities.io_uring,
        capabilities.perf_software,
        capabilities.perf_hardware,
    ],
)
def test_a_refused_system_call_is_a_reason(trial, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(syscalls, "_by_number", refuse)
    if trial is capabilities.pagemap:
        monkeypatch.setattr(capabilities.Path, "open", refuse)
    assert trial().reason.startswith("Operation not permitted")


def test_old_system_calls_are_unsupported_on_an_unknown_architecture(monkeypatch):
    monkeypatch.setattr(syscalls.platform, "machine", lambda: "vax")
    assert capabilities.kcmp() == Denial(
        "Function not implemented", "use a kernel with CONFIG_KCMP"
    )


def test_a_kcmp_that_does_not_distinguish_files_is_detected(monkeypatch):
    monkeypatch.setattr(syscalls, "_by_number", lambda *args: 0)
    assert capabilities.kcmp() == Denial("does not distinguish open files")


@pytest.mark.bpf
def test_root_has_all_capabilities_of_the_pin_proof():
    assert not any([capabilities.kcmp(), capabilities.pagemap(), capabilities.lock_memory()])


def test_memory_beyond_the_limit_cannot_be_locked_without_privileges():
    """In a child process that has dropped its privileges."""
    if os.geteuid() != 0:
        pytest.skip("needs root to drop privileges")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        ctypes.CDLL(None).setuid(65534)
        os.write(write, f"{capabilities.lock_memory()}|{capabilities.pagemap().reason}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as answers:
        lock, pagemap = answers.read().split("|")
    assert lock.startswith("Cannot allocate memory, the limit is ")
    assert "ulimit -l unlimited" in lock
    assert "CAP_SYS_ADMIN is missing" in pagemap
