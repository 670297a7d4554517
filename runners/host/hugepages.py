"""2 MiB huge pages: reserved for a session and returned after it, even after a crash."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from results.errors import HostUnfit
from runners.system.process_record import own_record

from .hugepage_ledger import Ledger, Reservation, current_ledger, open_ledger

PAGE_BYTES = 2 << 20
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
_COMPACT = Path("/proc/sys/vm/compact_memory")
_NUMBERS = itertools.count()

Note = Callable[[str], object]


def free_pages() -> int:
    """Huge pages that are neither in use nor reserved. 0 when the host has no pool."""
    return max(0, _read("free_hugepages") - _read("resv_hugepages"))


@contextmanager
def reserve(bytes_needed: int, note: Note) -> Iterator[None]:
    """Provide `bytes_needed` of free huge pages inside the block, growing the pool if needed.

    `note` is told when pages cannot be returned. Raises HostUnfit with the fix when there is not
    enough memory.
    """
    if bytes_needed <= 0:
        yield
        return
    reservation = _grow(-(-bytes_needed // PAGE_BYTES), note)
    try:
        yield
    finally:
        with open_ledger() as ledger:
            _settle(ledger, note)
            if (mine := ledger.find(reservation)) is not None:
                _give_back(ledger, mine)


def _grow(pages: int, note: Note) -> Reservation:
    """Grow the pool until `pages` are free in addition to those that other sessions rely on."""
    if not POOL.is_dir():
        raise HostUnfit(
            "this kernel has no 2 MiB huge pages: boot a kernel built with CONFIG_HUGETLBFS"
        )
    with open_ledger() as ledger:
        _reclaim(ledger, note)
        others = sum(reservation.pages for reservation in ledger.reservations)
        before = _persistent()
        lacking = max(0, pages + others - free_pages())
        target = _read("nr_hugepages") + lacking if lacking else before
        # Recorded first: a session that is killed while the kernel adds pages leaves them behind.
        wanted = Reservation(own_record().name, next(_NUMBERS), pages, target - before)
        ledger.begin(before, wanted)
        try:
            free = _fill(pages + others, target)
            if free < pages + others:
                raise HostUnfit(_shortage(pages, max(0, free - others), others))
        except BaseException:
            _shrink(_persistent() - before)
            ledger.end(_persistent(), None)
            raise
        size = _persistent()
        ledger.end(size, reservation := replace(wanted, added=size - before))
        return reservation


def _fill(pages: int, target: int) -> int:
    """Grow the pool to `target` to get `pages` free pages; returns how many are free afterwards."""
    for attempt in range(2):
        if free_pages() >= pages:
            break
        if attempt:
            _compact()
        # Surplus pages (of a QEMU that is still exiting) count in nr_hugepages but not in the
        # persistent pool: growth from nr_hugepages on adds free pages instead of adopting those.
        _write(target)
    return free_pages()


def _shortage(pages: int, available: int, others: int) -> str:
    besides = f" besides the {others} of another session" if others else ""
    return (
        f"{pages} free huge pages of 2 MiB are needed, only {available} are available{besides}: "
        f"free memory, use less --ram, or reserve them at boot (hugepages={pages} on the kernel "
        "command line)"
    )


def _give_back(ledger: Ledger, reservation: Reservation) -> None:
    """Return the pages of a reservation and drop it."""
    ledger.begin(ledger.size - reservation.added, reservation)
    _shrink(reservation.added)
    ledger.end(_persistent(), None)


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


def owed_pages() -> int:
    """Pages that killed sessions added to the pool and that no session has returned yet."""
    ledger = current_ledger()
    ledger.settle(_persistent())
    return ledger.debt


def reclaim_from_dead_sessions(note: Note) -> int:
    """Return pages that killed sessions added to the pool; returns how many.

    Raises HostUnfit without root.
    """
    with suppress(PermissionError):  # open_ledger raises with the fix
        if not current_ledger().reservations:
            return 0
    with open_ledger() as ledger:
        return _reclaim(ledger, note)


def _settle(ledger: Ledger, note: Note) -> None:
    was = ledger.size
    if not ledger.settle(size := _persistent()):
        note(
            f"the pool of huge pages was set to {size} pages by someone else (it had {was}): it "
            "stays as it is, nothing is taken away"
        )
    ledger.save()


def _reclaim(ledger: Ledger, note: Note) -> int:
    _settle(ledger, note)
    dead = [reservation for reservation in ledger.reservations if reservation.abandoned()]
    for reservation in dead:
        _give_back(ledger, reservation)
    return sum(reservation.added for reservation in dead)


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
