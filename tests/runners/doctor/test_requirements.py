"""Needs: what each fact means, what is essential, and that the trials try what they say."""

import ctypes
import os
from dataclasses import replace

import pytest

from results.records.host_needs import Need, ProbeSupport, measurable
from results.records.scenario import GIB, MIB, Build
from results.timeline.marks import FUNCTIONS
from runners.doctor import capabilities as trials
from runners.doctor.facts import HostFacts
from runners.doctor.requirement_table import REQUIREMENTS
from runners.doctor.requirements import build_needs, check_host, judge
from runners.system import syscalls

GOOD = HostFacts(
    cpus=8,
    trials=dict.fromkeys(["kvm", "kcmp", "pagemap", "io_uring", "lock_memory"], ""),
    isolated="2-3",
    governor="performance",
    available_bytes=8 * GIB,
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


def test_a_good_host_lacks_nothing():
    needs = by_name()
    assert {need.state for need in needs.values()} == {"ok"}
    assert measurable(needs.values())
    assert not any(need.consequence or need.fix for need in needs.values())


LIMITED = [
    ("KVM", replace(GOOD, trials=GOOD.trials | {"kvm": "/dev/kvm: No such file or directory"})),
    ("KVM nesting", replace(GOOD, hypervisor=True)),
    ("huge pages, 2 MiB", replace(GOOD, huge_refusal="only 0 can be had")),
    ("memlock", replace(GOOD, trials=GOOD.trials | {"lock_memory": "Cannot allocate memory"})),
    ("free memory", replace(GOOD, available_bytes=500 * MIB)),
    ("kcmp", replace(GOOD, trials=GOOD.trials | {"kcmp": "Function not implemented"})),
    ("pagemap", replace(GOOD, trials=GOOD.trials | {"pagemap": "hidden"})),
    ("io_uring", replace(GOOD, trials=GOOD.trials | {"io_uring": "Operation not permitted"})),
    ("perf, software", replace(GOOD, trials=GOOD.trials | {"perf_software": "no"})),
    ("perf, PMU", replace(GOOD, trials=GOOD.trials | {"perf_hardware": "no"})),
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
def test_what_limits_a_measurement_has_a_consequence_and_a_fix(name, facts):
    needs = by_name(facts)
    assert needs[name].state == "limited"
    assert needs[name].found
    assert needs[name].consequence
    assert needs[name].fix
    assert measurable(needs.values())


MISSING = [
    ("root", replace(GOOD, root=False), SUPPORT),
    ("tracefs", replace(GOOD, tracefs=False), SUPPORT),
    ("bcc", GOOD, replace(SUPPORT, bcc_version="")),
    ("kernel headers", GOOD, replace(SUPPORT, headers="")),
    ("BPF tracepoints", GOOD, replace(SUPPORT, tracepoints="refused")),
    ("BPF uprobes", GOOD, replace(SUPPORT, uprobes="refused")),
]


@pytest.mark.parametrize(("name", "facts", "support"), MISSING)
def test_without_the_essential_nothing_is_measurable(name, facts, support):
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


def test_headers_of_another_kernel_are_a_limit():
    need = by_name(support=replace(SUPPORT, headers="6.1.0 (stand-in)"))["kernel headers"]
    assert (need.state, need.found) == ("limited", "6.1.0 (stand-in)")


def test_a_user_is_told_to_use_sudo_and_not_to_mend_the_host():
    facts = replace(GOOD, root=False, trials=GOOD.trials | {"kvm": "/dev/kvm: Permission denied"})
    assert by_name(facts)["KVM"].fix == "run it with sudo"
    facts = replace(facts, trials=GOOD.trials | {"kvm": "/dev/kvm: No such file or directory"})
    assert "modprobe" in by_name(facts)["KVM"].fix


def test_a_refused_build_matters_only_where_no_other_is_fit():
    refused = [("old", "QEMU 7.2.22 has no cpr-transfer")]
    beside = build_needs([BUILD], refused)
    assert [(n.name, n.state) for n in beside] == [("QEMU system", "ok"), ("QEMU old", "limited")]
    (alone,) = build_needs([], refused)
    assert (alone.state, alone.found) == ("missing", "QEMU 7.2.22 has no cpr-transfer")


def test_a_build_says_which_modes_it_has_and_what_cannot_be_probed():
    (whole,) = build_needs([BUILD], [])
    assert "cpr-reboot, cpr-transfer" in whole.found
    (renamed,) = build_needs([replace(BUILD, missing_marks=("main_listen",))], [])
    assert renamed.state == "limited"
    assert "main_listen" in renamed.consequence
    (stripped,) = build_needs([replace(BUILD, symbols={}, missing_marks=("vm_stop",))], [])
    assert "not stripped" in stripped.fix


def test_every_need_is_told_once_and_in_order():
    names = [need.name for need in judge(GOOD, SUPPORT)]
    assert len(names) == len(set(names)) == len(REQUIREMENTS)


def test_a_live_check():
    needs = check_host(SUPPORT, [BUILD])
    assert all(isinstance(need, Need) and need.found for need in needs)
    assert all(need.consequence for need in needs if need.state != "ok")


# --- trials -----------------------------------------------------------------------------------


@pytest.mark.kvm
def test_kvm_makes_a_vcpu():
    open_before = len(os.listdir("/proc/self/fd"))
    assert trials.kvm() == ""
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_kvm_that_is_not_there(monkeypatch):
    def refuse(*args):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(trials.os, "open", refuse)
    assert trials.kvm() == "/dev/kvm: No such file or directory"


@pytest.mark.parametrize(
    "trial",
    [trials.kcmp, trials.pagemap, trials.io_uring, trials.perf_software, trials.perf_hardware],
)
def test_a_refused_system_call_is_a_reason(trial, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(syscalls, "_by_number", refuse)
    if trial is trials.pagemap:
        monkeypatch.setattr(trials.Path, "open", refuse)
    assert trial() == "Operation not permitted"


def test_an_unknown_machine_has_none_of_the_old_numbers(monkeypatch):
    monkeypatch.setattr(syscalls.platform, "machine", lambda: "vax")
    assert trials.kcmp() == "Function not implemented"


def test_a_kcmp_that_cannot_tell_is_found_out(monkeypatch):
    monkeypatch.setattr(syscalls, "_by_number", lambda *args: 0)
    assert trials.kcmp() == "it does not tell open files apart"


@pytest.mark.bpf
def test_root_may_do_all_that_the_pin_proof_needs():
    assert [trials.kcmp(), trials.pagemap(), trials.lock_memory()] == ["", "", ""]


def test_memory_beyond_the_limit_cannot_be_locked_without_the_right():
    """In a child that has given its rights up."""
    if os.geteuid() != 0:
        pytest.skip("needs root to give it up")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        ctypes.CDLL(None).setuid(65534)
        os.write(write, trials.lock_memory().encode() + b"|" + trials.pagemap().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as said:
        lock, pagemap = said.read().split("|")
    assert lock == "Cannot allocate memory"
    assert pagemap
