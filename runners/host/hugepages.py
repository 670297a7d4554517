"""2 MiB huge pages: reserved for a session and returned after it, even after a crash."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from results.errors import HostUnfit
from runners.system.child import owner_name, start_time, still_runs
from runners.system.syscalls import MNT_DETACH, mount, unmount

PAGE_BYTES = 2 << 20
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
# How many pages each session needs and added to the pool, so that two sessions do not rely on the
# same free pages, and the next session can return what a killed one added.
STATE = Path("/run/pausebench/hugepages.json")
_COMPACT = Path("/proc/sys/vm/compact_memory")
_MOUNTS = Path("/proc/self/mounts")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Reservation:
    """Huge pages that one session relies on, and how many of them it added to the pool."""

    pid: int
    started: int
    pages: int
    added: int

    def alive(self) -> bool:
        return still_runs(self.pid, self.started)


def free_pages() -> int:
    """Huge pages that are neither in use nor reserved. 0 when the host has no pool."""
    return max(0, _read("free_hugepages") - _read("resv_hugepages"))


@contextmanager
def reserve(bytes_needed: int) -> Iterator[None]:
    """Provide `bytes_needed` of free huge pages inside the block, growing the pool if needed.

    Raises HostUnfit with the fix when there is not enough memory.
    """
    if bytes_needed <= 0:
        yield
        return
    reservation = _grow(-(-bytes_needed // PAGE_BYTES))
    try:
        yield
    finally:
        with _ledger() as reservations:
            reservations.remove(reservation)
            _shrink(reservation.added)


def _grow(pages: int) -> Reservation:
    """Grow the pool until `pages` are free in addition to those that other sessions rely on."""
    if not POOL.is_dir():
        raise HostUnfit(
            "this kernel has no 2 MiB huge pages: boot a kernel built with CONFIG_HUGETLBFS"
        )
    with _ledger() as reservations:
        _reclaim(reservations)
        others = sum(reservation.pages for reservation in reservations)
        before = _persistent()
        try:
            free = _fill(pages + others)
            if free < pages + others:
                raise HostUnfit(_shortage(pages, max(0, free - others), others))
        except BaseException:
            _shrink(_persistent() - before)
            raise
        me, added = os.getpid(), _persistent() - before
        reservations.append(reservation := Reservation(me, start_time(me), pages, added))
        return reservation


def _fill(pages: int) -> int:
    """Try to get `pages` free pages; returns how many are free afterwards."""
    for attempt in range(2):
        if (lacking := pages - free_pages()) <= 0:
            break
        if attempt:
            _compact()
        # Surplus pages (of a QEMU that is still exiting) count in nr_hugepages but not in the
        # persistent pool: growth from nr_hugepages on adds free pages instead of adopting those.
        _write(_read("nr_hugepages") + lacking)
    return free_pages()


def _shortage(pages: int, available: int, others: int) -> str:
    besides = f" besides the {others} of another session" if others else ""
    return (
        f"{pages} free huge pages of 2 MiB are needed, only {available} are available{besides}: "
        f"free memory, use less --ram, or reserve them at boot (hugepages={pages} on the kernel "
        "command line)"
    )


def _shrink(pages: int) -> None:
    """Remove pages from the pool.

    The kernel never removes a page that is in use or reserved: it turns it into a surplus page,
    which is freed on release (set_max_huge_pages in Linux's mm/hugetlb.c).
    """
    if pages > 0:
        _write(max(0, _persistent() - pages))


def _persistent() -> int:
    """The configured size of the pool; nr_hugepages also counts surplus pages."""
    return _read("nr_hugepages") - _read("surplus_hugepages")


def reclaim_from_dead_sessions() -> int:
    """Return pages that killed sessions added to the pool, and remove their mounts.

    Returns the number of pages. Raises HostUnfit without root.
    """
    for (pid, started), directory in our_mounts(_MOUNTS.read_text()):
        if not still_runs(pid, started):
            _unmount(directory)
    with suppress(PermissionError):  # _ledger raises with the fix
        if not STATE.exists():
            return 0
    with _ledger() as reservations:
        return _reclaim(reservations)


def _reclaim(reservations: list[Reservation]) -> int:
    dead = [reservation for reservation in reservations if not reservation.alive()]
    for reservation in dead:
        _shrink(reservation.added)
        reservations.remove(reservation)
    return sum(reservation.added for reservation in dead)


@contextmanager
def _ledger() -> Iterator[list[Reservation]]:
    """The reservations in the state file, under a lock; always written back."""
    try:
        STATE.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.fdopen(os.open(STATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
    except OSError as error:
        raise HostUnfit(f"{STATE} cannot be written ({error.strerror}): run as root") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        boot = _BOOT.read_text().strip()
        reservations = read_reservations(handle.read(), boot)
        try:
            yield reservations
        finally:
            handle.seek(0)
            handle.truncate()
            json.dump({"boot": boot, "claims": [asdict(r) for r in reservations]}, handle)


def read_reservations(text: str, boot: str) -> list[Reservation]:
    """Reservations in a state file; none when it is malformed or from another boot."""
    try:
        state = json.loads(text)
        return [Reservation(**entry) for entry in state["claims"]] if state["boot"] == boot else []
    except (ValueError, TypeError, KeyError):
        return []


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
    # A kernel without compaction lacks this file.
    with suppress(OSError):
        _COMPACT.write_text("1")


@contextmanager
def mounted_hugetlbfs(parent: Path) -> Iterator[Path]:
    """Mount a private hugetlbfs of 2 MiB pages in `parent`, and unmount it afterwards.

    Raises HostUnfit when it cannot be mounted.
    """
    directory = parent / "hugetlbfs"
    directory.mkdir(mode=0o700)
    try:
        mount(owner_name(), directory, "hugetlbfs", "pagesize=2M,mode=0700")
    except OSError as error:
        directory.rmdir()
        raise HostUnfit(f"hugetlbfs cannot be mounted ({error.strerror}): run as root") from error
    try:
        yield directory
    finally:
        _unmount(directory)


def our_mounts(mounts: str) -> list[tuple[tuple[int, int], Path]]:
    """Our hugetlbfs mounts in /proc/self/mounts, as ((pid, start time), directory)."""
    found = re.findall(r"^pausebench-(\d+)-(\d+) (\S+) hugetlbfs ", mounts, re.MULTILINE)
    return [((int(pid), int(start)), Path(_unescape(where))) for pid, start, where in found]


def _unescape(field: str) -> str:
    """/proc/self/mounts escapes white space and backslashes in octal."""
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), field)


def _unmount(directory: Path) -> None:
    with suppress(OSError):
        for entry in directory.iterdir():
            entry.unlink(missing_ok=True)  # files keep their pages in a detached mount
    with suppress(OSError):
        unmount(directory, MNT_DETACH)  # a QEMU that is still exiting must not block it
    with suppress(OSError):
        directory.rmdir()
