"""The ledger of huge pages that sessions added to the pool, so that none is lost or taken twice."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from results.errors import HostUnfit
from results.ownership import RUN
from runners.system.process_record import is_gone

STATE = RUN / "hugepage-ledger.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Reservation:
    """Huge pages that one session relies on, and how many of them it added to the pool."""

    owner: str  # name of its process's record
    number: int  # of the reservation in its process
    pages: int
    added: int

    def same(self, other: Reservation) -> bool:
        return (self.owner, self.number) == (other.owner, other.number)

    def abandoned(self) -> bool:
        return is_gone(self.owner)


@dataclass(slots=True)
class Ledger:
    """All reservations, and the size of the pool as pausebench left it.

    While pages are being added for the last reservation, or taken away, `base` is the size of the
    pool without them: a session that is killed meanwhile leaves anything from there to `base` plus
    what it was to add.
    """

    path: Path
    boot: str
    size: int = 0
    base: int | None = None
    reservations: list[Reservation] = field(default_factory=list)

    @property
    def debt(self) -> int:
        """Pages that killed sessions owe to the host, once the ledger is settled."""
        return sum(r.added for r in self.reservations if r.abandoned())

    def find(self, reservation: Reservation) -> Reservation | None:
        """`reservation` as it stands now; None if it was dropped."""
        return next((r for r in self.reservations if r.same(reservation)), None)

    def begin(self, base: int, reservation: Reservation) -> None:
        """Record, before the pool changes, that `reservation` is being added or taken away."""
        others = [r for r in self.reservations if not r.same(reservation)]
        self.reservations = [*others, reservation]
        self.base = base
        self.save()

    def end(self, size: int, reservation: Reservation | None) -> None:
        """Record the pool's new size; without a reservation its pages are gone again."""
        self.reservations[-1:] = [reservation] if reservation is not None else []
        self.size, self.base = size, None
        self.save()

    def settle(self, size: int) -> bool:
        """Compare the pool with what pausebench left; False if someone else changed its size.

        Whose pages are the missing ones, or the additional ones, cannot be told then: sessions no
        longer owe any.
        """
        if self.base is not None:
            last = self.reservations[-1]
            if self.base <= size <= self.base + last.added:
                self.reservations[-1] = replace(last, added=size - self.base)
                self.size = size
            self.base = None
        ours = size == self.size or not any(r.added for r in self.reservations)
        if not ours:
            self.reservations = [replace(r, added=0) for r in self.reservations]
        self.size = size
        return ours

    def save(self) -> None:
        # A rename: a session that is killed here leaves the old ledger or the new one.
        part = self.path.with_suffix(".new")
        document = {
            "boot": self.boot,
            "size": self.size,
            "base": self.base,
            "reservations": [asdict(r) for r in self.reservations],
        }
        part.write_text(json.dumps(document))
        part.replace(self.path)


@contextmanager
def open_ledger() -> Iterator[Ledger]:
    """The ledger, locked against other sessions. Raises HostUnfit without root."""
    try:
        STATE.parent.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(STATE.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostUnfit(f"{STATE} cannot be written ({error.strerror}): run as root") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield read_ledger(STATE, _BOOT.read_text().strip())
    finally:
        os.close(lock)


def read_ledger(path: Path, boot: str) -> Ledger:
    """The ledger in a file; an empty one when it is missing, malformed or of another boot."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        state = json.loads(path.read_text())
        if state["boot"] == boot:
            reservations = [Reservation(**entry) for entry in state["reservations"]]
            return Ledger(path, boot, state["size"], state["base"], reservations)
    return Ledger(path, boot)


def current_ledger() -> Ledger:
    """The ledger as it is, without the lock: to look at."""
    return read_ledger(STATE, _BOOT.read_text().strip())
