"""What is damaged in a store, and which of SQLite's errors are a sign of it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


class StoreDamaged(Exception):
    """The file does not hold what was written to it. The store recovers; no user sees this."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One line for the user; `lost` where something stored is not there any more."""

    text: str
    lost: bool


# The store is there and sound, but cannot be used now: busy, read-only, full, out of reach.
_NOT_NOW = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_ABORT,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_AUTH,
    }
)


def is_damage(error: BaseException | None) -> bool:
    """Whether an error of the sqlite3 module means that the file is damaged.

    Text that is not UTF-8 is an error without a code of SQLite.
    """
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in _NOT_NOW
