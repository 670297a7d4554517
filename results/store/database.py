"""How the store's SQLite file is created, opened and rejected."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine, QueuePool, StaticPool, create_engine, event

from results.errors import RecordInvalid, UsageError
from results.store.tables.migration import create_tables, upgrade
from results.store.tables.schema import APPLICATION, VERSION

from .recordings import MAX_BYTES

_BUSY_TIMEOUT_S = 10.0


def prepare(path: Path) -> None:
    """Make `path` a store of this version, or leave it untouched and report why it is not one.

    Raises UsageError for a file of another program or one that cannot be written, RecordInvalid
    for a version that this pausebench does not read and for an older store that is damaged.
    """
    _check_file(path)
    database: sqlite3.Connection | None = None
    try:
        database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        if _is_empty(database):
            database.execute("PRAGMA journal_mode = WAL")
            # Two sessions may start at once: the second one finds the tables created.
            database.execute("BEGIN IMMEDIATE")
            if _is_empty(database):
                create_tables(database)
            database.execute("COMMIT")
        elif _is_older(database):
            database.execute("BEGIN IMMEDIATE")
            if _is_older(database):
                upgrade(database, path)
            database.execute("COMMIT")
        _check_version(database, path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    finally:
        if database is not None:
            database.close()


def check(path: Path) -> None:
    """Like `prepare`, for a store that is only read; an older one is upgraded if it is writable."""
    _check_file(path)
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is an empty file, not a store; name another one with --store")
    database: sqlite3.Connection | None = None
    try:
        database = sqlite3.connect(
            file_uri(path), uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
        )
        if is_writable(path) and _is_older(database):
            prepare(path)
        _check_version(database, path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    finally:
        if database is not None:
            database.close()


def is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=True)


def _check_file(path: Path) -> None:
    """SQLite takes any file shorter than its header for an empty database and overwrites it."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path} is not a regular file; name another directory with --store")
        with path.open("rb") as file:
            magic = file.read(16)
    except FileNotFoundError:
        if path.is_symlink():
            raise UsageError(f"{path} is a link to {path.readlink()}, which is missing") from None
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if magic not in (b"", b"SQLite format 3\0"):
        raise UsageError(f"{path} is not a database; name another directory with --store")


def _is_empty(database: sqlite3.Connection) -> bool:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    count = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return bool(version == 0 and count == 0)


def _is_older(database: sqlite3.Connection) -> bool:
    """Whether it is our store, of a version that can be upgraded."""
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    return bool(application == APPLICATION and 1 <= version < VERSION)


def _check_version(database: sqlite3.Connection, path: Path) -> None:
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise UsageError(
            f"{path} is a SQLite file of another program; name another directory with --store"
        )
    if version > VERSION:
        raise RecordInvalid(
            str(path), f"has store version {version}, newer than {VERSION}: upgrade pausebench"
        )
    if 1 <= version < VERSION:
        raise RecordInvalid(
            str(path),
            f"has store version {version} and cannot be written: its owner's next `pausebench "
            f"report` or `run` upgrades it to {VERSION}",
        )
    if version < VERSION:
        raise RecordInvalid(str(path), f"has the invalid store version {version}")


def _unusable(path: Path, error: sqlite3.Error) -> UsageError:
    return UsageError(
        f"{path} cannot be used as a store ({error}); name another directory with --store"
    )


def file_uri(path: Path) -> str:
    """URI of an existing store, which may be in a place that the reader cannot write to.

    SQLite needs to create the -shm file of a database in WAL mode unless the URI declares the file
    immutable, which it is while there is no -wal file.
    Source: https://www.sqlite.org/wal.html#readonly.
    """
    name = f"file:{quote(str(path.absolute()))}"
    if is_writable(path) and is_writable(path.parent):
        return f"{name}?mode=rw"
    wal = path.with_name(path.name + "-wal")
    return f"{name}?mode=ro" if wal.exists() else f"{name}?mode=ro&immutable=1"


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an existing store; it waits for a busy writer for a bounded time."""
    database = sqlite3.connect(
        file_uri(path), uri=True, timeout=_BUSY_TIMEOUT_S, check_same_thread=False
    )
    # A forged row cannot make the reader allocate more than a record may have.
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
    return database


def connect_engine(path: Path) -> Engine:
    """Engine over an existing store."""
    engine = create_engine("sqlite://", creator=lambda: connect(path), poolclass=QueuePool)

    def prepare_connection(database: sqlite3.Connection, _record: object) -> None:
        database.execute("PRAGMA foreign_keys = ON")
        # In WAL mode NORMAL survives a crash of the process; a power cut may lose the last runs.
        database.execute("PRAGMA synchronous = NORMAL")

    event.listen(engine, "connect", prepare_connection)
    return engine


def engine_over(database: sqlite3.Connection) -> Engine:
    """Engine that reads from one open connection."""
    return create_engine(
        "sqlite://", creator=lambda: database, poolclass=StaticPool, pool_reset_on_return=None
    )
