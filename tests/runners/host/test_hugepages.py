"""Huge pages: reserved and returned, with concurrent sessions and after crashes."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from results.errors import HostUnfit
from runners.host import hugepages
from runners.host.hugepages import (
    PAGE_BYTES,
    Reservation,
    free_pages,
    mounted_hugetlbfs,
    our_mounts,
    read_reservations,
    reclaim_from_dead_sessions,
    reserve,
)
from runners.system.child import start_time

ROOT = Path(__file__).resolve().parents[3]
BOOT = "0b00t"

SESSION = """
import sys
from pathlib import Path
from runners.host.hugepages import mounted_hugetlbfs, reserve
with reserve(int(sys.argv[1])), mounted_hugetlbfs(Path(sys.argv[2])) as mounted:
    (mounted / "guest-ram").write_bytes(b"")
    print("ready", flush=True)
    sys.stdin.read()
"""


def pool():
    return {
        name: int((hugepages.POOL / f"{name}_hugepages").read_text())
        for name in ("nr", "free", "resv", "surplus")
    }


# --- a fake pool, for states that a healthy host does not have --------------------------------


class FakePool:
    """A pool that grows up to `limit` pages; `used` of them belong to other programs."""

    def __init__(self, directory, limit, total=0, used=0):
        self.directory, self.limit, self.used = directory, limit, used
        self.set(total)

    def set(self, pages):
        self.total = min(max(pages, self.used), self.limit)
        persistent = min(pages, self.total)
        for name, value in (
            ("nr", self.total),
            ("free", self.total - self.used),
            ("resv", 0),
            ("surplus", self.total - persistent),
        ):
            (self.directory / f"{name}_hugepages").write_text(str(value))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    def make(**kwargs):
        directory = tmp_path / "pool"
        directory.mkdir()
        made = FakePool(directory, **kwargs)
        monkeypatch.setattr(hugepages, "POOL", directory)
        monkeypatch.setattr(hugepages, "STATE", tmp_path / "state" / "hugepages.json")
        monkeypatch.setattr(hugepages, "_compact", lambda: None)
        monkeypatch.setattr(hugepages, "_write", made.set)
        return made

    return make


def claims():
    return json.loads(hugepages.STATE.read_text())["claims"]


def test_nothing_changes_when_no_pages_are_needed(fake):
    made = fake(limit=0)
    with reserve(0):
        assert made.total == 0
    assert not hugepages.STATE.exists()


def test_free_pages_are_used_without_growing_the_pool(fake):
    made = fake(limit=100, total=8)
    with reserve(8 * PAGE_BYTES):
        assert made.total == 8
        assert claims()[0]["added"] == 0
    assert made.total == 8
    assert claims() == []


def test_missing_pages_are_added_and_removed_again(fake):
    made = fake(limit=100, total=5, used=3)
    with reserve(7 * PAGE_BYTES + 1):  # rounded up to 8 pages
        assert made.total == 3 + 8
        assert free_pages() == 8
    assert made.total == 5


def test_two_sessions_do_not_rely_on_the_same_pages(fake):
    made = fake(limit=100, total=4)
    with ExitStack() as first:
        first.enter_context(reserve(6 * PAGE_BYTES))
        with reserve(10 * PAGE_BYTES):
            assert free_pages() == 16
            first.close()
            assert free_pages() >= 10
    assert made.total == 4


def test_a_shortage_is_reported_with_the_fix_and_leaves_the_pool_unchanged(fake):
    made = fake(limit=10, total=4)
    with pytest.raises(HostUnfit, match=r"32 free huge pages .* only 10 are avail.*hugepages=32"):
        with reserve(32 * PAGE_BYTES):
            pass
    assert made.total == 4
    assert claims() == []


def test_a_shortage_mentions_the_other_session(fake):
    fake(limit=10)
    with reserve(6 * PAGE_BYTES):
        with pytest.raises(HostUnfit, match=r"only 4 are available besides the 6 of another ses"):
            with reserve(5 * PAGE_BYTES):
                pass
        assert free_pages() == 6


def test_an_error_inside_the_block_returns_the_pages(fake):
    made = fake(limit=10)
    with pytest.raises(RuntimeError):
        with reserve(PAGE_BYTES):
            raise RuntimeError
    assert made.total == 0


def test_pages_in_use_become_surplus_and_are_freed_later(fake):
    """A QEMU that is still exiting holds its pages: the pool's size is correct nevertheless."""
    made = fake(limit=20, total=2)
    with reserve(6 * PAGE_BYTES):
        made.used = 6
    assert made.total == 6
    assert hugepages._persistent() == 2
    with reserve(4 * PAGE_BYTES):
        assert free_pages() == 4


def test_pages_of_a_dead_session_are_reclaimed_once(fake):
    made = fake(limit=100, total=12)
    dead = {"pid": 2**22 + 1, "started": 5, "pages": 9, "added": 8}
    boot = hugepages._BOOT.read_text().strip()
    hugepages.STATE.parent.mkdir()
    hugepages.STATE.write_text(json.dumps({"boot": boot, "claims": [dead]}))
    assert reclaim_from_dead_sessions() == 8
    assert made.total == 4
    assert reclaim_from_dead_sessions() == 0
    assert made.total == 4


def test_dead_sessions_are_reclaimed_even_before_a_refusal(fake):
    made = fake(limit=10, total=6)
    dead = {"pid": 2**22 + 1, "started": 5, "pages": 2, "added": 2}
    boot = hugepages._BOOT.read_text().strip()
    hugepages.STATE.parent.mkdir()
    hugepages.STATE.write_text(json.dumps({"boot": boot, "claims": [dead]}))
    for _ in range(2):
        with pytest.raises(HostUnfit):
            with reserve(50 * PAGE_BYTES):
                pass
        assert made.total == 4


def test_a_host_without_a_pool_is_unfit(tmp_path, monkeypatch):
    monkeypatch.setattr(hugepages, "POOL", tmp_path / "none")
    with pytest.raises(HostUnfit, match="CONFIG_HUGETLBFS"):
        with reserve(PAGE_BYTES):
            pass


# --- parsers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', '{"boot": "0b00t"}', '{"boot": "0b00t", "claims": [{"pid": 1}]}'],
)
def test_a_malformed_state_file_has_no_reservations(text):
    assert read_reservations(text, BOOT) == []


def test_reservations_of_another_boot_do_not_count():
    entry = {"pid": 1, "started": 2, "pages": 3, "added": 4}
    text = json.dumps({"boot": BOOT, "claims": [entry]})
    assert read_reservations(text, BOOT) == [Reservation(1, 2, 3, 4)]
    assert read_reservations(text, "another") == []


def test_a_reused_pid_is_another_process():
    assert Reservation(os.getpid(), start_time(os.getpid()), 1, 1).alive()
    assert not Reservation(os.getpid(), start_time(os.getpid()) - 1, 1, 1).alive()


def test_only_our_mounts_are_found():
    mounts = (
        "hugetlbfs /dev/hugepages hugetlbfs rw 0 0\n"
        "pausebench-12-345 /tmp/a\\040b/hugetlbfs hugetlbfs rw,pagesize=2M 0 0\n"
        "pausebench-x /tmp/c hugetlbfs rw 0 0\n"
        "pausebench-1-2 /tmp/d tmpfs rw 0 0\n"
    )
    assert our_mounts(mounts) == [((12, 345), Path("/tmp/a b/hugetlbfs"))]


# --- the real pool ----------------------------------------------------------------------------


@pytest.mark.hugepages
def test_the_real_pool_grows_and_shrinks_again():
    before = pool()
    pages = before["free"] - before["resv"] + 4
    with reserve(pages * PAGE_BYTES):
        assert free_pages() >= pages
        assert pool()["nr"] == before["nr"] + 4
    assert pool() == before


@pytest.mark.hugepages
def test_a_real_shortage_leaves_the_pool_unchanged():
    before = pool()
    with pytest.raises(HostUnfit, match="are available"):
        with reserve(1 << 50):
            pass
    assert pool() == before


@pytest.mark.hugepages
def test_a_mount_is_private_and_removed_with_its_files(tmp_path):
    before = pool()
    with reserve(2 * PAGE_BYTES), mounted_hugetlbfs(tmp_path) as mounted:
        assert mounted.is_mount()
        assert mounted.stat().st_mode & 0o777 == 0o700
        with (mounted / "guest-ram").open("wb") as file:
            file.truncate(2 * PAGE_BYTES)
            os.posix_fallocate(file.fileno(), 0, 2 * PAGE_BYTES)
            assert free_pages() == before["free"] - before["resv"]
    assert not (tmp_path / "hugetlbfs").exists()
    assert pool() == before


@pytest.mark.hugepages
def test_pages_and_mount_of_a_killed_session_are_reclaimed(tmp_path):
    before = pool()
    pages = before["free"] - before["resv"] + 4
    argv = [sys.executable, "-c", SESSION, str(pages * PAGE_BYTES), str(tmp_path)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout.readline() == "ready\n"
        session.send_signal(signal.SIGKILL)
    assert pool()["nr"] == before["nr"] + 4
    assert (tmp_path / "hugetlbfs").is_mount()
    assert reclaim_from_dead_sessions() == 4
    assert not (tmp_path / "hugetlbfs").exists()
    assert pool() == before
