"""Failures for want of memory name the limit that was hit."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from results.errors import GuestLost
from results.records.scenario import MIB, Scenario
from runners.builds.discover import default_build
from runners.host import hugepages
from runners.payload.build import build_payload
from runners.qemu import shortage
from runners.qemu.guest import Guest, GuestPlace
from runners.qemu.shortage import Shortage
from runners.system import limits
from runners.system.limits import Room

ANON = Scenario("anon", "anon")
HUGE = Scenario("hugetlb-2m", "hugetlb-memfd", ram_bytes=64 * MIB, accel="kvm")
SHM = Scenario("shm", "shm")
NO_MEMORY = "cannot set up guest memory 'ram0': Cannot allocate memory"


@pytest.fixture
def unlimited(monkeypatch):
    monkeypatch.setattr(limits.Refusals, "since", lambda self: ())
    monkeypatch.setattr(limits, "address_space", lambda: None)
    monkeypatch.setattr(limits, "lockable_memory", lambda: None)


def test_other_failures_are_left_as_they_are(unlimited):
    assert Shortage(ANON).explained("QEMU refused migrate") == "QEMU refused migrate"
    assert Shortage(ANON).explained(NO_MEMORY) == NO_MEMORY


def test_a_limit_that_the_kernel_counted_is_named(monkeypatch):
    limit = Room(0, "the memory limit of a control group, 100 MiB (/x)", "raise it")
    monkeypatch.setattr(limits.Refusals, "since", lambda self: (limit,))
    explained = Shortage(ANON).explained("QEMU (pid 7) ended with SIGKILL")
    assert explained == (
        "QEMU (pid 7) ended with SIGKILL; the memory limit of a control group, 100 MiB (/x), was "
        "hit: raise it"
    )


def test_a_limit_of_address_space_and_of_locked_memory(unlimited, monkeypatch):
    monkeypatch.setattr(limits, "address_space", lambda: 1500 * MIB)
    monkeypatch.setattr(limits, "lockable_memory", lambda: 8 * MIB)
    assert "1500 MiB (ulimit -v)" in Shortage(ANON).explained(NO_MEMORY)
    locked = Shortage(ANON).explained("QEMU (pid 7) ended: locking memory failed")
    assert "8 MiB (ulimit -l)" in locked
    assert "ulimit -v" not in locked


def test_huge_pages_that_another_process_took(unlimited, monkeypatch):
    monkeypatch.setattr(hugepages, "free_pages", lambda: 3)
    explained = Shortage(HUGE).explained(NO_MEMORY)
    assert "only 3 huge pages are free, 32 are needed: another process took" in explained
    assert "huge" not in Shortage(ANON).explained(NO_MEMORY)


def test_dev_shm_that_was_too_small_before(unlimited, monkeypatch):
    monkeypatch.setattr(shortage, "free_bytes", lambda directory: 10 * MIB)
    before = Shortage(SHM)
    monkeypatch.setattr(shortage, "free_bytes", lambda directory: 99 * MIB)  # QEMU is dead
    assert "only 10 MiB were free in /dev/shm" in before.explained("no page for guest RAM")


@pytest.mark.kvm
@pytest.mark.qemu
@pytest.mark.hugepages
def test_a_guest_without_huge_pages_on_a_real_host(tmp_path):
    if hugepages.free_pages() >= HUGE.ram_bytes // hugepages.PAGE_BYTES:
        pytest.skip("the pool of this host has free pages")
    place = GuestPlace(tmp_path, build_payload(tmp_path))
    before = Shortage(HUGE)
    with pytest.raises(GuestLost) as lost:
        asyncio.run(Guest.boot(HUGE, default_build(), place))
    assert "another process took" in before.explained(str(lost.value))


@contextlib.contextmanager
def huge_page_group(limit_bytes):
    """A control group of version 1 with a limit on huge pages; its hierarchy is our own."""
    with tempfile.TemporaryDirectory(prefix="cgroup-") as name:
        point = Path(name)
        mounted = ["mount", "-t", "cgroup", "-o", "hugetlb", "none", name]
        if subprocess.run(mounted, capture_output=True, check=False).returncode:
            pytest.skip("no version 1 hierarchy of hugetlb can be mounted")
        group = point / f"pausebench-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / "hugetlb.2MB.limit_in_bytes").write_text(str(limit_bytes))
            yield group
        finally:
            group.rmdir()
            subprocess.run(["umount", name], check=True)
            # A hierarchy that is unmounted while the kernel still frees its group stays.
            for _ in range(20):
                time.sleep(0.2)
                if "hugetlb\t0\t" in Path("/proc/cgroups").read_text():
                    break
                subprocess.run(mounted, check=True)
                time.sleep(0.2)
                subprocess.run(["umount", name], check=True)


FILL = """
import os
open({procs!r}, "w").write(str(os.getpid()))
from results.errors import GuestLost
from results.records.scenario import MIB, Scenario
from runners.payload.memory import GuestMemory, plan_guest
from runners.qemu.shortage import Shortage
fd = os.memfd_create("ram", os.MFD_HUGETLB)
os.truncate(fd, 64 * MIB)
before = Shortage(Scenario("hugetlb-2m", "hugetlb-memfd", ram_bytes=64 * MIB))
memory = GuestMemory(f"/proc/self/fd/{{fd}}", plan_guest(1, 64 * MIB, 0.5, 64 * MIB, 1, 1e7))
try:
    memory.prepare()
except GuestLost as error:
    print(before.explained(str(error)))
memory.close()
"""


@pytest.mark.hugepages
def test_a_real_limit_on_huge_pages_is_a_failure_and_no_sigbus():
    """Pages are free, and still the write that takes one too many kills who makes it."""
    with hugepages.reserve(64 * MIB, print), huge_page_group(32 * MIB) as group:
        code = FILL.format(procs=str(group / "cgroup.procs"))
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr  # -7 is SIGBUS
    assert "the kernel has no page for guest RAM at " in done.stdout
    assert "the huge page limit of a control group, 32 MiB" in done.stdout
