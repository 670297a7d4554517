"""Scenarios that a limit of the host would break are refused before anything starts."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from results.errors import HostUnfit
from results.records.scenario import GIB, MIB, Scenario
from runners.qemu import headroom
from runners.qemu.headroom import check_room, free_bytes, huge_bytes, touched_bytes
from runners.system import limits
from runners.system.limits import Room

ANON = Scenario("anon", "anon", vcpus=2)
SHM = replace(ANON, id="shm", backend="shm")
HUGE = replace(ANON, id="hugetlb-2m", backend="hugetlb-memfd")


@pytest.fixture
def host(monkeypatch):
    """A host without limits, except those given."""

    def make(**given):
        rooms = {
            "memory_room": Room(8 * GIB, "the host's available memory", "use less --ram"),
            "huge_page_rooms": (),
            "task_room": None,
            "address_space": None,
            "open_files": None,
            "lockable_memory": None,
        }
        for name, value in (rooms | given).items():
            monkeypatch.setattr(limits, name, lambda value=value: value)

    return make


def group(free, what="the limit of a group"):
    return Room(free, what, "raise it")


@pytest.mark.parametrize("scenario", [ANON, SHM, HUGE, replace(ANON, mem_lock=True)])
def test_a_host_without_limits_has_room(host, monkeypatch, scenario):
    host()
    monkeypatch.setattr(headroom, "free_bytes", lambda directory: GIB)
    check_room(scenario)


LIMITED = [
    (ANON, {"memory_room": group(150 * MIB)}, "161 MiB of memory .* 150 MiB are left of the limit"),
    (ANON, {"task_room": group(11)}, "12 processes and threads, but 11 are left of the limit"),
    (ANON, {"address_space": GIB}, r"1664 MiB of address space, the limit is 1024 MiB \(ulimit -v"),
    (ANON, {"open_files": 64}, r"256 open files, the limit is 64 \(ulimit -n\)"),
    (replace(ANON, mem_lock=True), {"lockable_memory": 8 * MIB}, r"CAP_IPC_LOCK .* ulimit -l"),
    (replace(ANON, pinned=True), {"lockable_memory": 8 * MIB}, r"CAP_IPC_LOCK .* ulimit -l"),
    (HUGE, {"huge_page_rooms": (group(64 * MIB),)}, "68 MiB of huge pages, but 64 MiB are left"),
    (
        HUGE,
        {"huge_page_rooms": (Room(128 * MIB, "the limit", "raise it", reserved=True),)},
        "256 MiB of huge pages, but 128 MiB are left",
    ),
    (replace(HUGE, mode="precopy"), {"huge_page_rooms": (group(100 * MIB),)}, "136 MiB of huge"),
]


@pytest.mark.parametrize(("scenario", "given", "words"), LIMITED)
def test_a_limit_is_named_with_its_fix(host, scenario, given, words):
    host(**given)
    with pytest.raises(HostUnfit, match=f"^scenario {scenario.id}: .*{words}"):
        check_room(scenario)


def test_memory_that_is_not_locked_needs_no_limit(host):
    host(lockable_memory=8 * MIB)
    check_room(ANON)


@pytest.mark.parametrize(
    ("free", "words"), [(64 * MIB, "only 64 MiB are free in /dev/shm"), (None, "no /dev/shm")]
)
def test_a_small_dev_shm(host, monkeypatch, free, words):
    host()
    monkeypatch.setattr(headroom, "free_bytes", lambda directory: free)
    with pytest.raises(HostUnfit, match=f"{words}.*mount "):
        check_room(SHM)
    check_room(ANON)


def test_a_mode_that_copies_ram_needs_twice_the_space(host, monkeypatch):
    host()
    monkeypatch.setattr(headroom, "free_bytes", lambda directory: 100 * MIB)
    check_room(SHM)
    with pytest.raises(HostUnfit, match="130 MiB of guest RAM, but only 100 MiB"):
        check_room(replace(SHM, mode="precopy"))


def test_what_a_guest_fills():
    assert touched_bytes(replace(ANON, touched=1.0)) == ANON.ram_bytes
    assert touched_bytes(replace(ANON, mem_lock=True)) == ANON.ram_bytes
    assert touched_bytes(ANON) == 65 * MIB + (2 << 15)
    assert huge_bytes(HUGE, reserved=True) == HUGE.ram_bytes


def test_free_space_of_a_missing_directory_is_unknown(tmp_path):
    assert free_bytes(tmp_path / "none") is None
    assert (free_bytes(tmp_path) or 0) > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")
def test_a_real_dev_shm_of_64_mib():
    code = (
        "from runners.qemu.headroom import check_room\n"
        "from results.records.scenario import Scenario\n"
        "check_room(Scenario('shm', 'shm'))"
    )
    mounted = 'mount -t tmpfs -o size=64m t /dev/shm && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "HostUnfit: scenario shm: 65 MiB of guest RAM, but only 64 MiB" in done.stderr
    assert "--shm-size=" in done.stderr


def test_real_limits_of_a_child():
    code = (
        "from runners.qemu.headroom import check_room\n"
        "from results.records.scenario import Scenario\n"
        "check_room(Scenario('anon', 'anon'))"
    )
    done = subprocess.run(
        ["prlimit", "--nofile=64:64", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the probes need 256 open files, the limit is 64 (ulimit -n)" in done.stderr
