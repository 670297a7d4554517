"""2 MiB huge pages: reserved when they are needed, given back after, also after a crash."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results.errors import HostUnfit

PAGE_BYTES = 2 << 20
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
# What was added to the pool, by process: what a dead one added is given back by the next.
STATE = Path("/run/pausebench/hugepages.json")
_COMPACT = Path("/proc/sys/vm/compact_memory")


def free_pages() -> int:
    """Huge pages that nobody holds and nobody has reserved. 0 where the host has no pool."""
    return max(0, _read("free_hugepages") - _read("resv_hugepages"))


@contextmanager
def reserve(bytes_needed: int) -> Iterator[None]:
    """Have `bytes_needed` free in huge pages inside the block; add to the pool only what lacks.

    Raises HostUnfit with the fix when the host cannot give them.
    """
    if bytes_needed <= 0:
        yield
        return
    added = _grow(-(-bytes_needed // PAGE_BYTES))
    try:
        yield
    finally:
        if added:
            with _ledger() as entries:
                entries.pop(str(os.getpid()), None)
                _shrink(added)


def _grow(pages: int) -> int:
    """Add what lacks to `pages` free ones; returns how many were added."""
    if not POOL.is_dir():
        raise HostUnfit("no 2 MiB huge pages on this kernel (CONFIG_HUGETLBFS)")
    with _ledger() as entries:
        _give_back_of_the_dead(entries)
        lacking = pages - free_pages()
        if lacking <= 0:
            return 0
        before = _read("nr_hugepages")
        for attempt in range(2):
            _write(before + lacking)
            if free_pages() >= pages:
                break
            if attempt == 0:
                _compact()
        added = _read("nr_hugepages") - before
        if (had := free_pages()) < pages:
            _write(before)
            raise HostUnfit(
                f"{pages} free huge pages are needed and only {had} could be had: free memory, "
                f"choose less --ram, or reserve them at boot (hugepages={pages} on the kernel's "
                "command line)"
            )
        entries[str(os.getpid())] = {"pages": added, "started": _start_time(os.getpid())}
        return added


def _shrink(pages: int) -> None:
    """Take pages out of the pool again, but never below what others use."""
    used = _read("nr_hugepages") - free_pages()
    _write(max(used, _read("nr_hugepages") - pages))


def give_back_of_the_dead() -> int:
    """Return what a killed pausebench left in the pool; how many pages that was."""
    if not STATE.exists():
        return 0
    with _ledger() as entries:
        return _give_back_of_the_dead(entries)


def _give_back_of_the_dead(entries: dict[str, dict[str, int]]) -> int:
    returned = 0
    for pid, entry in list(entries.items()):
        if _start_time(int(pid)) != entry["started"]:  # also when the pid was taken by another
            del entries[pid]
            _shrink(entry["pages"])
            returned += entry["pages"]
    return returned


def _start_time(pid: int) -> int:
    """Start of a process in clock ticks since boot; -1 when it is gone."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return -1
    return int(after_name.split()[19])


@contextmanager
def _ledger() -> Iterator[dict[str, dict[str, int]]]:
    """The state file under a lock; written back when it changed."""
    try:
        STATE.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.fdopen(os.open(STATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
    except OSError as error:
        raise HostUnfit(f"{STATE} cannot be written ({error.strerror}): run as root") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        text = handle.read()
        try:
            entries = json.loads(text or "{}")
        except json.JSONDecodeError:
            entries = {}  # a half-written ledger tells nothing: the pool is left as it is
        yield entries
        handle.seek(0)
        handle.truncate()
        json.dump(entries, handle)


def _read(name: str) -> int:
    try:
        return int((POOL / name).read_text())
    except (OSError, ValueError):
        return 0


def _write(pages: int) -> None:
    try:
        (POOL / "nr_hugepages").write_text(str(pages))
    except OSError as error:
        raise HostUnfit(f"huge pages cannot be reserved ({error.strerror}): run as root") from error


def _compact() -> None:
    try:
        _COMPACT.write_text("1")
    except OSError:
        return  # a kernel without compaction gives what it has


@contextmanager
def mounted_hugetlbfs(parent: Path) -> Iterator[Path]:
    """A private hugetlbfs of 2 MiB pages in `parent`, unmounted at the end.

    Raises HostUnfit when it cannot be mounted.
    """
    directory = parent / "hugetlbfs"
    directory.mkdir(mode=0o700)
    libc = ctypes.CDLL(None, use_errno=True)
    options = b"pagesize=2M,mode=0700"
    if libc.mount(b"pausebench", str(directory).encode(), b"hugetlbfs", 0, options) != 0:
        code = ctypes.get_errno()
        directory.rmdir()
        raise HostUnfit(f"hugetlbfs cannot be mounted ({os.strerror(code)}): run as root")
    try:
        yield directory
    finally:
        for entry in directory.iterdir():
            entry.unlink(missing_ok=True)  # an unmount alone would keep a file's pages until then
        detach = 2  # MNT_DETACH: a QEMU that is still ending must not keep the mount
        libc.umount2(str(directory).encode(), detach)
        directory.rmdir()
