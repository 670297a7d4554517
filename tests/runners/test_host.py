"""Host facts: the parsers, and that the live readers give what the records take."""

import gzip
import os
import subprocess
import sys
import time

import psutil
import pytest

from results.sightings import HostState
from runners import host
from runners.host import (
    LoadSnapshot,
    config_value,
    cpu_facts,
    environment,
    host_state,
    kvm_parameters,
    load_snapshot,
    look,
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


@pytest.mark.parametrize(
    ("config", "value"),
    [
        ("CONFIG_VFIO=m\nCONFIG_VFIO_PCI=y\n", "m"),
        ("# CONFIG_VFIO is not set\nCONFIG_VFIO_PCI=y\n", "n"),
        ("CONFIG_NO_VFIO=y\n", "n"),
        ("", ""),
    ],
)
def test_a_value_of_the_kernel_configuration(config, value):
    assert config_value(config, "CONFIG_VFIO") == value


def test_a_broken_kernel_configuration_tells_nothing(tmp_path, monkeypatch):
    (tmp_path / "config.gz").write_bytes(gzip.compress(b"CONFIG_VFIO=y\n")[:-8])
    monkeypatch.setattr(host, "_PROC", tmp_path)
    monkeypatch.setattr(host.os, "uname", lambda: os.uname_result(["", "", "none", "", ""]))
    assert host._kernel_config() == ""


def test_mitigations_leave_out_what_does_not_concern_this_cpu(tmp_path):
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


def test_host_state_is_the_difference():
    before = LoadSnapshot(10, 100, 1, 5, 9.0, ns=1_000, own_s=3.0, waiting_us=40)
    after = LoadSnapshot(11, 104, 1.5, 25, 0.5, ns=4_000, own_s=3.25, waiting_us=90)
    assert host_state(before, after) == HostState(
        load1=0.5,
        cpu_percent=25.0,
        steal_ns=500_000_000,
        context_switches=20,
        window_ns=3_000,
        foreign_ns=250_000_000,  # of a second of busy CPU half was stolen, a quarter our own
        waiting_ns=50_000,
        cpus=os.cpu_count(),
    )
    assert host_state(before, before).cpu_percent == 0.0


def test_the_live_snapshot_sees_a_busy_cpu():
    before = load_snapshot()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    state = host_state(before, load_snapshot())
    # One of the CPUs was busy with this; psutil counts in ticks of 10 ms.
    assert state.cpu_percent > 0.5 * 100 / (os.cpu_count() or 1)
    assert state.context_switches > 0
    assert state.steal_ns >= 0


def burn(seconds):
    return [sys.executable, "-c", f"import time\nwhile time.process_time() < {seconds}: pass"]


def test_the_load_of_others_is_told_from_our_own():
    """A child that has ended and one that lives and is named are ours; an unnamed one is not."""
    with subprocess.Popen(burn(60)) as living:
        try:
            time.sleep(0.3)
            before = load_snapshot((living.pid,))
            subprocess.run(burn(0.4), check=True)
            ours = host_state(before, load_snapshot((living.pid,)))
            theirs = host_state(load_snapshot(), (time.sleep(0.5), load_snapshot())[1])
        finally:
            living.kill()
    assert theirs.foreign_ns > 0.1e9
    # Of ours 0.4 s were burnt twice over; only what others did in that time may be left.
    spent = ours.cpu_percent / 100 * ours.window_ns * ours.cpus
    assert ours.foreign_ns < spent - 0.4e9


def test_environment_is_text_and_of_this_host():
    facts = environment()
    assert all(isinstance(value, str) and value for value in facts.values())
    assert facts["kernel"] == os.uname().release
    assert int(facts["memory_bytes"]) == psutil.virtual_memory().total
    assert {"cpu", "cpus", "cmdline", "kernel_version", "huge_pages"} <= set(facts)


def test_a_look_leaves_the_host_as_it_was():
    pool = host.hugepages.POOL / "nr_hugepages"
    before = read_text(pool)
    facts = look()
    assert read_text(pool) == before
    assert facts.cpus >= 1
    assert facts.root == (os.geteuid() == 0)
    assert set(facts.trials) >= {"kvm", "kcmp", "pagemap", "io_uring", "lock_memory"}
