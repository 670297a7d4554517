"""2 MiB huge pages: reserved when they are needed, given back after, also after a crash."""

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
# Who needs how many pages and who added how many, so that two sessions do not count on the same
# free pages, and the next one can give back what a killed one added.
STATE = Path("/run/pausebench/hugepages.json")
_COMPACT = Path("/proc/sys/vm/compact_memory")
_MOUNTS = Path("/proc/self/mounts")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Reservation:
    """Huge pages that one session counts on, and how many of them it added to the pool."""

    pid: int
    started: int
    pages: int
    added: int

    def alive(self) -> bool:
        return still_runs(self.pid, self.started)


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
    made = _grow(-(-bytes_needed // PAGE_BYTES))
    try:
        yield
    finally:
        with _ledger() as reservations:
            reservations.remove(made)
            _shrink(made.added)


def _grow(pages: int) -> Reservation:
    """Add what lacks to `pages` free ones, beside what other sessions count on."""
    if not POOL.is_dir():
        raise HostUnfit("no 2 MiB huge pages on this kernel: it needs CONFIG_HUGETLBFS")
    with _ledger() as reservations:
        _give_back(reservations)
        others = sum(made.pages for made in reservations)
        before = _persistent()
        try:
            had = _fill(pages + others)
            if had < pages + others:
                raise HostUnfit(_refusal(pages, max(0, had - others), others))
        except BaseException:
            _shrink(_persistent() - before)
            raise
        me, added = os.getpid(), _persistent() - before
        reservations.append(made := Reservation(me, start_time(me), pages, added))
        return made


def _fill(pages: int) -> int:
    """Try to have `pages` free; how many are free then."""
    for attempt in range(2):
        if (lacking := pages - free_pages()) <= 0:
            break
        if attempt:
            _compact()
        # Surplus pages (of a QEMU that is still ending) count in nr and not in the persistent
        # pool: from nr on, growth gives free pages rather than adopting those.
        _write(_read("nr_hugepages") + lacking)
    return free_pages()


def _refusal(pages: int, had: int, others: int) -> str:
    beside = f" beside the {others} of another session" if others else ""
    return (
        f"{pages} free huge pages of 2 MiB are needed and only {had} can be had{beside}: free "
        f"memory, choose less --ram, or reserve them at boot (hugepages={pages} on the kernel's "
        "command line)"
    )


def _shrink(pages: int) -> None:
    """Take pages out of the pool again.

    The kernel never takes one that is in use or reserved: it makes it surplus, to go when it is
    let go (set_max_huge_pages in Linux's mm/hugetlb.c).
    """
    if pages > 0:
        _write(max(0, _persistent() - pages))


def _persistent() -> int:
    """The pool's size as it was set; nr_hugepages counts surplus pages too."""
    return _read("nr_hugepages") - _read("surplus_hugepages")


def give_back_of_the_dead() -> int:
    """Return what killed sessions left: pages in the pool, and mounts. How many pages that was.

    Raises HostUnfit when that takes root.
    """
    for (pid, started), directory in our_mounts(_MOUNTS.read_text()):
        if not still_runs(pid, started):
            _unmount(directory)
    with suppress(PermissionError):  # the ledger says then what to do
        if not STATE.exists():
            return 0
    with _ledger() as reservations:
        return _give_back(reservations)


def _give_back(reservations: list[Reservation]) -> int:
    dead = [made for made in reservations if not made.alive()]
    for made in dead:
        _shrink(made.added)
        reservations.remove(made)
    return sum(made.added for made in dead)


@contextmanager
def _ledger() -> Iterator[list[Reservation]]:
    """The state file under a lock; written back whatever happens to its user."""
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
            json.dump({"boot": boot, "claims": [asdict(made) for made in reservations]}, handle)


def read_reservations(text: str, boot: str) -> list[Reservation]:
    """Those of a state file. One that is broken or of another boot tells nothing of this pool."""
    try:
        kept = json.loads(text)
        return [Reservation(**entry) for entry in kept["claims"]] if kept["boot"] == boot else []
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
    # A kernel without compaction gives what it has.
    with suppress(OSError):
        _COMPACT.write_text("1")


@contextmanager
def mounted_hugetlbfs(parent: Path) -> Iterator[Path]:
    """A private hugetlbfs of 2 MiB pages in `parent`, unmounted at the end.

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
    """Our hugetlbfs mounts in the text of /proc/self/mounts: ((pid, start time), directory)."""
    found = re.findall(r"^pausebench-(\d+)-(\d+) (\S+) hugetlbfs ", mounts, re.MULTILINE)
    return [((int(pid), int(start)), Path(_unescape(where))) for pid, start, where in found]


def _unescape(field: str) -> str:
    """Blanks and backslashes are octal in /proc/self/mounts."""
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), field)


def _unmount(directory: Path) -> None:
    with suppress(OSError):
        for entry in directory.iterdir():
            entry.unlink(missing_ok=True)  # a detached mount would keep a file's pages
    with suppress(OSError):
        unmount(directory, MNT_DETACH)  # a QEMU that is still ending must not keep the mount
    with suppress(OSError):
        directory.rmdir()
