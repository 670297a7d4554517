"""Page frames: the choice of pages, and a real pagemap on real memory."""

import ctypes
import mmap
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from probes import pagemap
from probes.pagemap import (
    HUGE_PAGE_BYTES,
    PAGE_BYTES,
    SAMPLE_PAGES,
    choose_pages,
    populate,
    read_frames,
)
from runners.host.hugepages import reserve

ROOT = Path(__file__).resolve().parents[2]
PAGES = 96
UNITS = choose_pages(0, PAGES, PAGE_BYTES, 0)

sees_frames = pytest.mark.skipif(os.geteuid() != 0, reason="page frames are shown to root only")


# --- which pages ------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "end"), [(0, 1), (4096, 20_480), (7, 7 + SAMPLE_PAGES), (5, 5)])
def test_every_page_up_to_the_sample_size(first, end):
    assert choose_pages(first, end, PAGE_BYTES, 1).tolist() == list(range(first, end))


@pytest.mark.parametrize("more", [1, 63, 64, 1_000_000])
def test_beyond_it_a_sample_of_blocks(more):
    first, end = 4096, 4096 + SAMPLE_PAGES + more
    units = choose_pages(first, end, PAGE_BYTES, 1)
    assert len(units) == len(np.unique(units)) == SAMPLE_PAGES
    assert first <= units[0]
    assert units[-1] < end
    assert (np.diff(units) > 0).all(), "ascending"
    blocks = (units - first).reshape(-1, 64)
    assert (blocks[:, 0] % 64 == 0).all()
    assert (np.diff(blocks, axis=1) == 1).all(), "neighbours, for one read of pagemap"


def test_the_sample_covers_all_of_ram():
    units = choose_pages(0, 16 * SAMPLE_PAGES, PAGE_BYTES, 1)
    counts, _ = np.histogram(units, bins=16, range=(0, 16 * SAMPLE_PAGES))
    assert (abs(counts / (SAMPLE_PAGES / 16) - 1) < 0.5).all()


def test_the_sample_depends_on_the_seed_only():
    def sample(seed):
        return choose_pages(0, 4 * SAMPLE_PAGES, PAGE_BYTES, seed)

    assert (sample(1) == sample(1)).all()
    assert (sample(1) != sample(2)).any()


def test_a_huge_page_counts_once():
    assert choose_pages(4096, 4096 + 3 * 512, HUGE_PAGE_BYTES, 0).tolist() == [8, 9, 10]
    # A working set that ends inside a huge page has touched that page too.
    assert choose_pages(4096, 4096 + 513, HUGE_PAGE_BYTES, 0).tolist() == [8, 9]


# --- real memory ------------------------------------------------------------------------------


@contextmanager
def mapped(fd, length, flags=mmap.MAP_SHARED):
    """(mapping, address) of a file in this process."""
    area = mmap.mmap(fd, length, flags=flags)
    head = ctypes.c_char.from_buffer(area)
    try:
        yield area, ctypes.addressof(head)
    finally:
        del head  # a mapping with an exported pointer cannot be closed
        area.close()


@pytest.fixture
def memfd():
    fd = os.memfd_create("frames")
    os.ftruncate(fd, PAGES * PAGE_BYTES)
    yield fd
    os.close(fd)


@pytest.fixture
def ram(memfd):
    """Touched shared memory: (mapping, address)."""
    with mapped(memfd, PAGES * PAGE_BYTES) as (area, address):
        for start in range(0, len(area), PAGE_BYTES):
            area[start] = 1
        yield area, address


@contextmanager
def other_process(fd, length):
    """A process that maps a file without touching it: (pid, address)."""
    code = (
        "import ctypes, mmap, sys\n"
        f"area = mmap.mmap({fd}, {length})\n"
        "print(ctypes.addressof(ctypes.c_char.from_buffer(area)), flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        pass_fds=[fd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process.pid, int(process.stdout.readline())
        process.kill()


def here(address, units=UNITS, unit_bytes=PAGE_BYTES):
    return read_frames(os.getpid(), address, units, unit_bytes)


@sees_frames
def test_a_file_mapped_twice_has_the_same_frames(memfd, ram):
    _, address = ram
    with mapped(memfd, PAGES * PAGE_BYTES) as (area, other):
        for start in range(0, len(area), PAGE_BYTES):
            assert area[start] == 1
        assert other != address
        assert here(address).all()
        assert len(np.unique(here(address))) == PAGES
        assert (here(address) == here(other)).all()


@sees_frames
def test_a_private_copy_has_other_frames(memfd, ram):
    _, address = ram
    with mapped(memfd, PAGES * PAGE_BYTES, mmap.MAP_PRIVATE) as (area, copy):
        for start in range(0, len(area), PAGE_BYTES):
            area[start] = area[start]
        assert here(copy).all()
        assert not (here(address) == here(copy)).any()


@sees_frames
def test_a_single_replaced_page_is_found(memfd, ram):
    _, address = ram
    with mapped(memfd, PAGES * PAGE_BYTES, mmap.MAP_PRIVATE) as (area, copy):
        for start in range(0, len(area), PAGE_BYTES):
            assert area[start] == 1
        area[70 * PAGE_BYTES] = 1
        assert np.flatnonzero(here(address) != here(copy)).tolist() == [70]


@sees_frames
def test_frames_of_scattered_pages(ram):
    _, address = ram
    scattered = np.array([0, 1, 2, 9, 40, 41, PAGES - 1])
    assert here(address, scattered).tolist() == here(address)[scattered].tolist()
    assert here(address, scattered[:0]).tolist() == []


@sees_frames
def test_an_unmapped_page_has_no_frame(memfd):
    with mapped(memfd, PAGES * PAGE_BYTES) as (area, address):
        assert not here(address).any()
        area[5 * PAGE_BYTES] = 1
        assert np.flatnonzero(here(address)).tolist() == [5]


@sees_frames
@pytest.mark.parametrize("touched", [0, 1, 40])
def test_populate_fills_the_page_table_of_another_process(memfd, ram, touched):
    _, address = ram
    with other_process(memfd, PAGES * PAGE_BYTES) as (pid, theirs):
        populate(pid, theirs, UNITS[:touched], np.zeros(touched, dtype=np.int64), PAGE_BYTES)
        seen = read_frames(pid, theirs, UNITS, PAGE_BYTES)
        assert not seen.all(), "otherwise there is nothing to populate"
        populate(pid, theirs, UNITS, seen, PAGE_BYTES)
        assert (read_frames(pid, theirs, UNITS, PAGE_BYTES) == here(address)).all()


@sees_frames
def test_populate_does_not_rely_on_fault_around(memfd, ram, monkeypatch):
    _, address = ram
    # As on a kernel with fault_around_bytes=4096: assume more than any fault maps.
    monkeypatch.setattr(pagemap, "_AROUND_PAGES", PAGES)
    with other_process(memfd, PAGES * PAGE_BYTES) as (pid, theirs):
        populate(pid, theirs, UNITS, np.zeros(PAGES, dtype=np.int64), PAGE_BYTES)
        assert (read_frames(pid, theirs, UNITS, PAGE_BYTES) == here(address)).all()


@sees_frames
def test_populate_raises_without_a_mapping(memfd):
    with (
        other_process(memfd, PAGES * PAGE_BYTES) as (pid, _),
        pytest.raises(OSError, match="Input/output error"),
    ):
        populate(pid, 0x10000, UNITS, np.zeros(PAGES, dtype=np.int64), PAGE_BYTES)


@sees_frames
@pytest.mark.hugepages
def test_huge_pages_are_compared_by_their_head_pages():
    length = 3 * HUGE_PAGE_BYTES
    units = choose_pages(0, length // PAGE_BYTES, HUGE_PAGE_BYTES, 0)
    with reserve(length, print):
        fd = os.memfd_create("huge", os.MFD_CLOEXEC | os.MFD_HUGETLB | os.MFD_HUGE_2MB)
        os.ftruncate(fd, length)
        try:
            with mapped(fd, length) as (area, address):
                for start in range(0, length, HUGE_PAGE_BYTES):
                    area[start] = 1
                seen = here(address, units, HUGE_PAGE_BYTES)
                assert len(np.unique(seen)) == 3
                assert not (seen % 512).any(), "a head is aligned to its size"
                with other_process(fd, length) as (pid, theirs):
                    theirs_before = read_frames(pid, theirs, units, HUGE_PAGE_BYTES)
                    assert not theirs_before.any()
                    populate(pid, theirs, units, theirs_before, HUGE_PAGE_BYTES)
                    again = read_frames(pid, theirs, units, HUGE_PAGE_BYTES)
                    assert again.tolist() == seen.tolist()
                    assert read_frames(pid, theirs, units[1:2], HUGE_PAGE_BYTES) == seen[1]
        finally:
            os.close(fd)


# --- hosts and processes without access -------------------------------------------------------

READER = """
import sys
import numpy as np
from probes.pagemap import read_frames
pid, address = map(int, sys.argv[1:])
if pid == 0:
    import ctypes, mmap, os
    area = mmap.mmap(-1, 4096)
    area[0] = 1
    pid, address = os.getpid(), ctypes.addressof(ctypes.c_char.from_buffer(area))
try:
    print(read_frames(pid, address, np.array([0]), 4096))
except PermissionError as error:
    print("PermissionError:", error)
"""


def read_with(privileges, pid, address):
    done = subprocess.run(
        ["setpriv", *privileges, "--", sys.executable, "-c", READER, str(pid), str(address)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@sees_frames
def test_frames_are_hidden_without_the_capability():
    answer = read_with(["--bounding-set=-sys_admin"], 0, 0)
    assert answer == "PermissionError: the kernel hides page frames: CAP_SYS_ADMIN is needed"
    assert read_with([], 0, 0).startswith("["), "with the capability they are visible"


@sees_frames
def test_frames_of_a_process_with_more_privileges_are_refused(ram):
    _, address = ram
    answer = read_with(["--bounding-set=-all"], os.getpid(), address)
    assert answer.startswith("PermissionError: ")
    assert f"/proc/{os.getpid()}/pagemap" in answer


def test_a_process_that_has_exited_raises():
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(FileNotFoundError, match=str(process.pid)):
        read_frames(process.pid, 0x10000, UNITS, PAGE_BYTES)


@sees_frames
def test_a_zombie_raises():
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(OSError, match=r"short read of pagemap|No such process"):
            read_frames(process.pid, 0x10000, UNITS, PAGE_BYTES)
