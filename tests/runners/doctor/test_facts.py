"""Facts of doctor: the kernel configuration, and that collecting facts changes nothing."""

import gzip
import os

import pytest

from runners.doctor import facts
from runners.doctor.facts import collect_facts, config_value
from runners.host.facts import (
    read_text,
)
from runners.host.hugepages import POOL
from runners.host.leftovers import Leftovers


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


def test_a_truncated_kernel_configuration_counts_as_empty(tmp_path, monkeypatch):
    (tmp_path / "config.gz").write_bytes(gzip.compress(b"CONFIG_VFIO=y\n")[:-8])
    monkeypatch.setattr(facts, "PROC", tmp_path)
    monkeypatch.setattr(facts.os, "uname", lambda: os.uname_result(["", "", "none", "", ""]))
    assert facts._kernel_config() == ""


def test_collecting_facts_changes_nothing():
    pool = POOL / "nr_hugepages"
    before = read_text(pool)
    found = collect_facts()
    assert read_text(pool) == before
    assert found.cpus >= 1
    assert found.root == (os.geteuid() == 0)
    assert found.pid_namespace
    assert not found.tidied
    assert set(found.capabilities) >= {"kvm", "kcmp", "pagemap", "io_uring", "lock_memory"}


def test_what_killed_sessions_owe_is_shown_and_returned_on_request(monkeypatch):
    tried = []
    left = Leftovers(pages=7)
    monkeypatch.setattr(facts, "find_leftovers", lambda: left)
    monkeypatch.setattr(facts, "tidy", lambda note: left)
    monkeypatch.setattr(facts, "_try_huge_pages", lambda: tried.append(1) or "")
    monkeypatch.setattr(facts.os, "geteuid", lambda: 0)
    found = collect_facts()
    assert (found.leftovers, found.tidied, tried) == ("7 huge pages", False, [])
    found = collect_facts(tidied=True)
    assert (found.leftovers, found.tidied, tried) == ("7 huge pages", True, [1])
