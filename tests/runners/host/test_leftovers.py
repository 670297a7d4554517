"""What killed sessions left: found, described, and removed once nobody owns it."""

import json
import subprocess

import pytest

from results import ownership
from results.ownership import pid_namespace, start_time
from runners.host import hugepage_ledger, hugetlbfs, vfio_pci
from runners.host.leftovers import Leftovers, find_leftovers, tidy
from runners.system.process_record import records

DEAD = f"pausebench-{2**22 + 1}-5-{pid_namespace():x}-x1"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Nothing of this host's own sessions."""
    monkeypatch.setattr(ownership, "RUN", tmp_path / "run")
    monkeypatch.setattr(hugepage_ledger, "STATE", tmp_path / "run" / "ledger.json")
    monkeypatch.setattr(vfio_pci, "_RECORDS", tmp_path / "run" / "devices")
    monkeypatch.setattr(ownership.tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(hugetlbfs, "_MOUNTS", tmp_path / "mounts")
    (tmp_path / "mounts").write_text("")
    (tmp_path / "tmp").mkdir()
    records().mkdir(parents=True)
    return tmp_path


def test_a_host_without_any(host):
    assert find_leftovers() == tidy(print) == Leftovers()
    assert str(Leftovers()) == ""


def test_counts_are_words():
    assert str(Leftovers(1024, 1, 0, 2, 1)) == "1,024 huge pages, 1 mount, 2 processes, 1 directory"


def test_directories_and_processes_of_a_killed_session_are_removed(host):
    (records() / DEAD).mkdir()
    (host / "tmp" / DEAD).mkdir()
    (host / "tmp" / DEAD / "qemu.log").write_text("x")
    other = host / "tmp" / "pausebench-something-else"
    other.mkdir()
    with subprocess.Popen(["sleep", "60"]) as orphan:
        children = [(orphan.pid, start_time(orphan.pid))]
        (records() / DEAD / "children.json").write_text(json.dumps(children))
        assert find_leftovers() == Leftovers(processes=1, directories=1)
        assert orphan.poll() is None
        assert tidy(print) == Leftovers(processes=1, directories=1)
        assert orphan.wait() == -9
    assert list((host / "tmp").iterdir()) == [other]
    assert list(records().iterdir()) == []
    assert find_leftovers() == Leftovers()


def test_a_living_session_keeps_all_it_has(host, monkeypatch):
    directory, _ = ownership.claim_directory(host / "tmp")
    record, _ = ownership.claim_directory(records())
    assert tidy(print) == Leftovers()
    assert directory.is_dir()
    assert record.is_dir()


def test_devices_of_a_killed_session_are_found(host):
    devices = host / "run" / "devices"
    devices.mkdir()
    (devices / "0000:ff:1f.7.json").write_text(json.dumps({"owner": DEAD, "driver": "nvme"}))
    (devices / "0000:ff:1f.6.json").write_text("[]")
    (devices / "odd.json").write_text(json.dumps({"owner": DEAD, "driver": "nvme"}))
    assert find_leftovers() == Leftovers(devices=1)
    assert tidy(print).devices == 1
    assert find_leftovers() == Leftovers()
