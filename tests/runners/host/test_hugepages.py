"""Huge pages: reserved and returned, with concurrent sessions and after crashes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from results.errors import HostUnfit
from results.ownership import pid_namespace
from runners.host import hugepage_ledger, hugepages
from runners.host.hugepage_ledger import Reservation
from runners.host.hugepages import (
    PAGE_BYTES,
    free_pages,
    owed_pages,
    reclaim_from_dead_sessions,
)
from runners.host.hugepages import reserve as reserve_noting
from runners.host.hugetlbfs import mounted_hugetlbfs, remove_abandoned_mounts
from runners.system.process_record import own_record

ROOT = Path(__file__).resolve().parents[3]
DEAD = f"pausebench-{2**22 + 1}-5-{pid_namespace():x}-x1"

SESSION = """
import sys
from pathlib import Path
from runners.host.hugepages import reserve
from runners.host.hugetlbfs import mounted_hugetlbfs
with reserve(int(sys.argv[1]), print), mounted_hugetlbfs(Path(sys.argv[2])) as mounted:
    (mounted / "guest-ram").write_bytes(b"")
    print("ready", flush=True)
    sys.stdin.read()
"""


notes = []


def reserve(size):
    notes.clear()
    return reserve_noting(size, notes.append)


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
        monkeypatch.setattr(hugepage_ledger, "STATE", tmp_path / "state" / "ledger.json")
        monkeypatch.setattr(hugepages, "_compact", lambda: None)
        monkeypatch.setattr(hugepages, "_write", made.set)
        return made

    return make


def reservations():
    return json.loads(hugepage_ledger.STATE.read_text())["reservations"]


def write_ledger(size, *entries, base=None):
    """A ledger as another session left it; entries are (owner, pages, added)."""
    ledger = hugepage_ledger.Ledger(
        hugepage_ledger.STATE, hugepage_ledger._BOOT.read_text().strip()
    )
    ledger.path.parent.mkdir()
    ledger.size, ledger.base = size, base
    ledger.reservations = [Reservation(owner, 0, *counts) for owner, *counts in entries]
    ledger.save()


def test_nothing_changes_when_no_pages_are_needed(fake):
    made = fake(limit=0)
    with reserve(0):
        assert made.total == 0
    assert not hugepage_ledger.STATE.exists()


def test_free_pages_are_used_without_growing_the_pool(fake):
    made = fake(limit=100, total=8)
    with reserve(8 * PAGE_BYTES):
        assert made.total == 8
        assert reservations()[0]["added"] == 0
    assert made.total == 8
    assert reservations() == []


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
    assert reservations() == []


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
    write_ledger(12, (DEAD, 9, 8))
    assert owed_pages() == 8
    assert reclaim_from_dead_sessions(notes.append) == 8
    assert made.total == 4
    assert reclaim_from_dead_sessions(notes.append) == 0
    assert made.total == 4


def test_dead_sessions_are_reclaimed_even_before_a_refusal(fake):
    made = fake(limit=10, total=6)
    write_ledger(6, (DEAD, 2, 2))
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


# --- sessions that are killed while the pool changes -----------------------------------------


@pytest.mark.parametrize("size", [5, 6, 12, 13])
def test_a_session_killed_while_pages_are_added_owes_those_that_came(fake, size):
    """It was to add 8 pages to a pool of 5; the kernel stops adding when the writer is killed."""
    made = fake(limit=100, total=size)
    write_ledger(4, (DEAD, 9, 8), base=5)
    assert owed_pages() == size - 5
    assert made.total == size
    assert reclaim_from_dead_sessions(notes.append) == size - 5
    assert made.total == 5
    assert reservations() == []


@pytest.mark.parametrize("killed_after", [0, 3, 8])
def test_the_ledger_has_the_intent_before_the_pool_grows(fake, monkeypatch, killed_after):
    made = fake(limit=100, total=5, used=5)
    seen = []

    class Killed(BaseException):
        pass

    def killed(pages):
        seen.append(pages)
        made.set(5 + killed_after)
        raise Killed

    monkeypatch.setattr(hugepages, "_write", killed)
    monkeypatch.setattr(hugepages, "_shrink", lambda pages: killed(0))  # no clean-up after SIGKILL
    with pytest.raises(Killed), reserve(8 * PAGE_BYTES):
        pass
    assert seen == [13, 0]
    monkeypatch.undo()
    state = hugepage_ledger.read_ledger(
        made.directory.parent / "state/ledger.json", hugepage_ledger._BOOT.read_text().strip()
    )
    assert (state.base, state.reservations[0].added) == (5, 8)
    assert state.reservations[0].owner == own_record().name
    assert state.settle(5 + killed_after)
    assert state.reservations[0].added == killed_after


@pytest.mark.parametrize("size", [5, 9, 13])
def test_a_session_killed_while_pages_are_returned_owes_the_rest(fake, size):
    made = fake(limit=100, total=size)
    write_ledger(13, (DEAD, 9, 8), base=5)
    assert reclaim_from_dead_sessions(notes.append) == size - 5
    assert made.total == 5


# --- a pool that someone else changes --------------------------------------------------------


@pytest.mark.parametrize("size", [300, 6, 3])
def test_a_pool_that_the_operator_set_is_left_alone(fake, size):
    made = fake(limit=500, total=2)
    with reserve(8 * PAGE_BYTES):
        made.set(size)
    assert made.total == size
    assert notes == [
        f"the pool of huge pages was set to {size} pages by someone else (it had 8): it stays as "
        "it is, nothing is taken away"
    ]
    assert reservations() == []


def test_it_is_reported_once_and_later_sessions_return_their_own(fake):
    made = fake(limit=500)
    with reserve(8 * PAGE_BYTES):
        made.used = 100
        made.set(100)
        with reserve(20 * PAGE_BYTES):
            assert len(notes) == 1
            assert made.total == 128
        assert made.total == 100
    assert made.total == 100
    assert len(notes) == 1


def test_a_pool_that_was_set_while_nothing_was_owed_is_no_matter(fake):
    made = fake(limit=500, total=50)
    with reserve(8 * PAGE_BYTES):
        made.set(60)
    assert made.total == 60
    assert notes == []


def test_pages_of_a_dead_session_are_left_where_the_operator_set_the_pool(fake):
    made = fake(limit=500, total=300)
    write_ledger(12, (DEAD, 9, 8))
    assert owed_pages() == 0
    assert reclaim_from_dead_sessions(notes.append) == 0
    assert made.total == 300


# --- the file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', '{"boot": "B"}', '{"boot": "B", "reservations": [{"owner": "x"}]}'],
)
def test_a_malformed_ledger_is_empty(text, tmp_path):
    path = tmp_path / "ledger"
    path.write_text(text)
    assert hugepage_ledger.read_ledger(path, "B").reservations == []


def test_a_ledger_of_another_boot_is_empty(tmp_path):
    path = tmp_path / "ledger"
    hugepage_ledger.Ledger(path, "B", 7, None, [Reservation("x", 1, 2, 3)]).save()
    assert hugepage_ledger.read_ledger(path, "B").reservations == [Reservation("x", 1, 2, 3)]
    assert hugepage_ledger.read_ledger(path, "another").reservations == []


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
    assert owed_pages() == 4
    assert reclaim_from_dead_sessions(notes.append) == 4
    remove_abandoned_mounts()
    assert not (tmp_path / "hugetlbfs").exists()
    assert pool() == before


@pytest.mark.hugepages
def test_pages_of_a_session_killed_while_the_real_pool_grows_are_reclaimed(tmp_path):
    """Killed in the middle of the kernel's loop, again and again, at different moments."""
    before = pool()
    size = psutil.virtual_memory().available // 4
    left = []
    for attempt in range(8):
        argv = [sys.executable, "-c", SESSION, str(size), str(tmp_path)]
        with subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as s:
            end = time.monotonic() + 10
            while pool()["nr"] == before["nr"] and s.poll() is None and time.monotonic() < end:
                pass
            time.sleep(attempt * 0.005)
            s.send_signal(signal.SIGKILL)
        left.append(pool()["nr"] - before["nr"])
        assert owed_pages() == left[-1]
        assert reclaim_from_dead_sessions(notes.append) == left[-1]
        remove_abandoned_mounts()
        assert pool() == before
    assert any(left)
