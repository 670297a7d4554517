"""Memory accounting: parsing of /proc, and agreement with real memory and real pins."""

import mmap
import os
import subprocess
from pathlib import Path

import pytest

from probes import memory_accounts
from probes.memory_accounts import fields_in_bytes, read_accounts, thread_faults
from results.records.scenario import MIB
from runners.pins.holder import PinHolder

STATUS = """\
Name:\tqemu-system-x86
Umask:\t0022
VmPeak:\t  900000 kB
VmLck:\t       0 kB
VmPin:\t  262144 kB
VmRSS:\t  300012 kB
RssAnon:\t   11264 kB
HugetlbPages:\t       0 kB
"""
PIN_BYTES = 12_345 * 4096  # a number of pages that no other program is likely to pin


def test_requested_fields_are_converted_to_bytes():
    found = fields_in_bytes(STATUS, ("VmPin", "VmLck", "RssAnon", "RssShmem"))
    assert found == {"VmPin": 256 * MIB, "VmLck": 0, "RssAnon": 11 * MIB}


def test_a_status_without_memory_has_no_fields():
    assert fields_in_bytes("Name:\tzombie\nState:\tZ (zombie)\n", ("VmPin",)) == {}
    assert fields_in_bytes("", ("VmPin",)) == {}


def test_accounts_of_this_process_and_this_host():
    accounts = read_accounts("hold", {"old": os.getpid()})
    assert accounts.point == "hold"
    assert set(accounts.processes) == {"old"}
    assert {"VmPin", "VmLck", "VmRSS", "RssAnon", "RssShmem"} <= set(accounts.processes["old"])
    assert accounts.processes["old"]["VmRSS"] > MIB
    assert {"Shmem", "AnonPages", "Unevictable", "Mlocked"} <= set(accounts.host)
    assert accounts.host["AnonPages"] > MIB


def touch(area):
    """Write to every page; a buffer to copy from would itself count as private memory."""
    for start in range(0, len(area), mmap.PAGESIZE):
        area[start] = 1


def test_private_memory_is_distinguished_from_shared():
    def accounts():
        return read_accounts("hold", {"old": os.getpid()}).processes["old"]

    before = accounts()
    with mmap.mmap(-1, 16 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as private:
        touch(private)
        grown = accounts()
    assert grown["RssAnon"] - before["RssAnon"] == pytest.approx(16 * MIB, abs=4 * MIB)
    with mmap.mmap(-1, 16 * MIB) as shared:
        touch(shared)
        grown = accounts()
    assert grown["RssShmem"] - before["RssShmem"] == pytest.approx(16 * MIB, abs=MIB)


def test_a_process_that_has_exited_is_omitted():
    with subprocess.Popen(["true"]) as process:
        process.wait()
    accounts = read_accounts("end", {"old": process.pid, "new": os.getpid()})
    assert set(accounts.processes) == {"new"}


def test_a_kernel_without_counters_of_pins_and_migrations(tmp_path, monkeypatch):
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 5\n")
    real = Path.read_text

    def read_text(self, *args, **kwargs):
        return real(vmstat if str(self) == "/proc/vmstat" else self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)
    accounts = read_accounts("hold", {})
    assert (accounts.pins, accounts.migrated) == (None, None)


def test_per_cpu_counters_are_flushed_only_on_request(tmp_path, monkeypatch):
    refresh = tmp_path / "stat_refresh"
    monkeypatch.setattr(memory_accounts, "_REFRESH", refresh)
    read_accounts("hold", {})
    assert not refresh.exists()
    read_accounts("hold", {}, exact_pins=True)
    assert refresh.read_text() == "1\n"


def test_pins_are_read_even_if_counters_cannot_be_flushed(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_accounts, "_REFRESH", tmp_path / "missing" / "stat_refresh")
    assert read_accounts("hold", {}, exact_pins=True).pins is not None


def test_migrated_pages_agree_with_vmstat():
    def counted():
        lines = Path("/proc/vmstat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("pgmigrate_success"))

    before = counted()
    assert before <= read_accounts("hold", {}).migrated <= counted()


def pinned_now(tries=20):
    """Pages pinned on the host, when no other program is pinning or unpinning."""
    seen = [read_accounts("hold", {}, exact_pins=True).pins]
    for _ in range(tries):
        seen.append(read_accounts("hold", {}, exact_pins=True).pins)
        if seen[-1] == seen[-2]:
            break
    return seen[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="vm.stat_refresh needs root")
def test_every_single_pinned_page_is_counted():
    """The counters are system-wide: other sessions may disturb some attempts, but not all."""
    seen = []
    for _ in range(5):
        fd = os.memfd_create("pins")
        os.ftruncate(fd, PIN_BYTES)
        try:
            before = pinned_now()
            with PinHolder(Path(f"/proc/{os.getpid()}/fd/{fd}"), PIN_BYTES) as holder:
                held = read_accounts("hold", {"holder": holder.pid}, exact_pins=True)
                assert held.processes["holder"]["VmPin"] == PIN_BYTES
                holder.release()
                after = read_accounts("end", {"holder": holder.pid}, exact_pins=True)
                assert after.processes["holder"]["VmPin"] == 0
        finally:
            os.close(fd)
        seen.append((held.pins - before, after.pins - held.pins))
        if seen[-1] == (12_345, -12_345):
            return
    pytest.fail(f"pinned and released 12345 pages, but the host counted {seen}")


def test_faults_of_a_thread_are_counted():
    """Each new page of a private mapping causes one fault."""
    pid = os.getpid()
    before = thread_faults(pid, pid)
    with mmap.mmap(-1, 512 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        for start in range(0, len(area), mmap.PAGESIZE):
            area[start] = 1
    found = thread_faults(pid, pid) - before
    assert 512 <= found < 512 + 100
    assert thread_faults(pid, 1 << 22) is None
