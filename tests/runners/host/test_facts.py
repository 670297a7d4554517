"""Host facts: the parsers, and the facts of this host."""

import os

import psutil
import pytest

from runners.host.facts import (
    cpu_facts,
    environment,
    kvm_parameters,
    mitigations,
    read_text,
    selected,
)

CPUINFO = """\
processor\t: 0
model name\t: A CPU: the first
flags\t\t: fpu hypervisor lm
microcode\t: 0x1

processor\t: 1
model name\t: another
"""


def test_cpu_facts_are_those_of_the_first_cpu():
    facts = cpu_facts(CPUINFO)
    assert facts["model name"] == "A CPU: the first"
    assert facts["flags"].split() == ["fpu", "hypervisor", "lm"]
    assert cpu_facts("") == {}


@pytest.mark.parametrize(
    ("choices", "chosen"),
    [("always [madvise] never", "madvise"), ("[always] never", "always"), ("", ""), ("x", "x")],
)
def test_the_selected_word(choices, chosen):
    assert selected(choices) == chosen


def test_mitigations_omit_vulnerabilities_that_do_not_affect_this_cpu(tmp_path):
    (tmp_path / "meltdown").write_text("Not affected\n")
    (tmp_path / "retbleed").write_text("Vulnerable\n")
    (tmp_path / "bhi").write_text("Mitigation: x\n")
    assert mitigations(tmp_path) == "bhi: Mitigation: x; retbleed: Vulnerable"
    assert mitigations(tmp_path / "none") == ""


def test_kvm_parameters_of_every_module(tmp_path):
    for module, name in (("kvm", "halt_poll_ns"), ("kvm_intel", "nested"), ("loop", "max")):
        (tmp_path / module / "parameters").mkdir(parents=True)
        (tmp_path / module / "parameters" / name).write_text("1\n")
    assert kvm_parameters(tmp_path) == "kvm.halt_poll_ns=1 kvm_intel.nested=1"


def test_an_unreadable_file_is_empty(tmp_path):
    assert read_text(tmp_path / "none") == ""
    assert read_text(tmp_path) == ""


def test_environment_describes_this_host_as_text():
    facts = environment()
    assert all(isinstance(value, str) and value for value in facts.values())
    assert facts["kernel"] == os.uname().release
    assert int(facts["memory_bytes"]) == psutil.virtual_memory().total
    assert {"cpu", "cpus", "cmdline", "kernel_version", "huge_pages"} <= set(facts)
