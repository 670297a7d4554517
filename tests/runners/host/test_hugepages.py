"""Huge pages: what is taken is given back, beside other sessions and after a crash."""

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
    give_back_of_the_dead,
    mounted_hugetlbfs,
    our_mounts,
    read_reservations,
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


# --- the pool of files, for what no healthy host shows ----------------------------------------


class FakePool:
    """A pool that grows to `limit` pages; `used` of them belong to others."""

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


def test_nothing_is_touched_where_nothing_is_needed(fake):
    made = fake(limit=0)
    with reserve(0):
        assert made.total == 0
    assert not hugepages.STATE.exists()


def test_free_pages_are_used_and_left_there(fake):
    made = fake(limit=100, total=8)
    with reserve(8 * PAGE_BYTES):
        assert made.total == 8
        assert claims()[0]["added"] == 0
    assert made.total == 8
    assert claims() == []


def test_the_shortfall_is_added_and_taken_out_again(fake):
    made = fake(limit=100, total=5, used=3)
    with reserve(7 * PAGE_BYTES + 1):  # a byte more is a page more
        assert made.total == 3 + 8
        assert free_pages() == 8
    assert made.total == 5


def test_two_sessions_do_not_count_on_the_same_pages(fake):
    made = fake(limit=100, total=4)
    with ExitStack() as first:
        first.enter_context(reserve(6 * PAGE_BYTES))
        with reserve(10 * PAGE_BYTES):
            assert free_pages() == 16
            first.close()
            assert free_pages() >= 10
    assert made.total == 4


def test_a_refusal_says_the_fix_and_leaves_the_pool_as_it_was(fake):
    made = fake(limit=10, total=4)
    with pytest.raises(HostUnfit, match=r"32 free huge pages .* only 10 can be had.*hugepages=32"):
        with reserve(32 * PAGE_BYTES):
            pass
    assert made.total == 4
    assert claims() == []


def test_a_refusal_names_the_other_session(fake):
    fake(limit=10)
    with reserve(6 * PAGE_BYTES):
        with pytest.raises(HostUnfit, match=r"only 4 can be had beside the 6 of another session"):
            with reserve(5 * PAGE_BYTES):
                pass
        assert free_pages() == 6


def test_an_error_inside_gives_back(fake):
    made = fake(limit=10)
    with pytest.raises(RuntimeError):
        with reserve(PAGE_BYTES):
            raise RuntimeError
    assert made.total == 0


def test_pages_in_use_become_surplus_and_go_later(fake):
    """A guest that is still ending holds its pages: the pool's size is right all the same."""
    made = fake(limit=20, total=2)
    with reserve(6 * PAGE_BYTES):
        made.used = 6
    assert made.total == 6
    assert hugepages._persistent() == 2
    with reserve(4 * PAGE_BYTES):
        assert free_pages() == 4


def test_what_a_dead_session_added_is_given_back_once(fake):
    made = fake(limit=100, total=12)
    dead = {"pid": 2**22 + 1, "started": 5, "pages": 9, "added": 8}
    boot = hugepages._BOOT.read_text().strip()
    hugepages.STATE.parent.mkdir()
    hugepages.STATE.write_text(json.dumps({"boot": boot, "claims": [dead]}))
    assert give_back_of_the_dead() == 8
    assert made.total == 4
    assert give_back_of_the_dead() == 0
    assert made.total == 4


def test_the_dead_are_settled_even_when_the_next_is_refused(fake):
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
def test_a_broken_state_file_claims_nothing(text):
    assert read_reservations(text, BOOT) == []


def test_claims_of_another_boot_do_not_count():
    entry = {"pid": 1, "started": 2, "pages": 3, "added": 4}
    text = json.dumps({"boot": BOOT, "claims": [entry]})
    assert read_reservations(text, BOOT) == [Reservation(1, 2, 3, 4)]
    assert read_reservations(text, "another") == []


def test_a_reused_pid_is_not_the_session():
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
def test_the_real_pool_grows_and_comes_back():
    before = pool()
    pages = before["free"] - before["resv"] + 4
    with reserve(pages * PAGE_BYTES):
        assert free_pages() >= pages
        assert pool()["nr"] == before["nr"] + 4
    assert pool() == before


@pytest.mark.hugepages
def test_a_real_refusal_leaves_the_pool():
    before = pool()
    with pytest.raises(HostUnfit, match="can be had"):
        with reserve(1 << 50):
            pass
    assert pool() == before


@pytest.mark.hugepages
def test_a_mount_is_private_and_goes_with_its_files(tmp_path):
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
def test_a_killed_session_leaves_pages_and_a_mount_until_the_next(tmp_path):
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
    assert give_back_of_the_dead() == 4
    assert not (tmp_path / "hugetlbfs").exists()
    assert pool() == before
