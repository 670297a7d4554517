"""Tables of the store's SQLite file and how it is opened, created and refused."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    QueuePool,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from results.errors import RecordInvalid, UsageError

from .recordings import MAX_BYTES

# Version of the tables, kept in PRAGMA user_version.
#   1  first version
#   2  columns of runs that reports read instead of a million records: all witnesses, blackouts per
#      vCPU, shares of all phases (0 too), the proof's verdict
#   3  the brownout
#   4  the device that the payload drives: operations, troubles, longest gap
VERSION = 4
# PRAGMA application_id: tells the store from any other program's SQLite file ("pbst").
APPLICATION = 0x70627374

_BUSY_TIMEOUT_S = 10.0

METADATA = MetaData()

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("started_unix_ns", BigInteger, nullable=False),
    Column("ended_unix_ns", BigInteger),
    Column("exit_code", Integer),
    Column("probe_tier", Text, nullable=False),
    Column("record", Text, nullable=False),  # JSON of results.records.run.Session
)

# What is searched, sorted and counted. The complete Run lies in RECORDS, so that a scan over many
# runs reads some hundred bytes each instead of some thousand.
RUNS = Table(
    "runs",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("session", Text, ForeignKey("sessions.id"), nullable=False),
    Column("scenario", Text, nullable=False),
    Column("dimensions", Text, nullable=False),
    Column("boot", Integer, nullable=False),
    Column("update", Integer, nullable=False),
    Column("started_unix_ns", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("old_build", Text, nullable=False),
    Column("new_build", Text, nullable=False),
    Column("old_pid", Integer, nullable=False),
    Column("new_pid", Integer, nullable=False),
    Column("blackout_ns", BigInteger),
    Column("first_progress_ns", BigInteger),
    Column("guest_gap_ns", BigInteger),
    Column("guest_clock", Text, nullable=False),
    Column("clock_step_ns", BigInteger),
    Column("skew_ns", BigInteger),
    Column("dark_ns", BigInteger),
    Column("handover_ns", BigInteger),
    Column("residual_ns", BigInteger),
    Column("qemu_ns", BigInteger),  # Run.witnesses.qemu
    Column("phases", Text, nullable=False),  # JSON of Run.phases: name → ns
    # Since version 2; without NOT NULL, which SQLite cannot add to a table that has rows.
    Column("kvm_entry_ns", BigInteger),  # the other fields of Run.witnesses
    Column("uprobe_ns", BigInteger),
    Column("qmp_ns", BigInteger),
    Column("guest_ns", BigInteger),
    Column("vcpu_blackouts", Text),  # JSON of Run.vcpu_blackouts_ns
    Column("shares", Text),  # JSON: phase → share of the blackout, ns; all phases that were seen
    Column("proof", Text),  # verdict of Run.proof
    # Since version 3.
    Column("brownout_ns", BigInteger),
    Column("brownout_watched_ns", BigInteger),
    # Since version 4: of Run.device, NULL where the payload drives none.
    Column("device_operations", BigInteger),
    Column("device_troubles", Integer),  # how many are named
    Column("device_gap_ns", BigInteger),  # longest_gap_ns
    Index("runs_by_scenario", "scenario", "new_build", "started_unix_ns"),
    Index("runs_by_session", "session"),
)

# How each version takes its new columns from the records of those before it.
ADDED = {
    2: {
        "kvm_entry_ns": "json_extract(record, '$.witnesses.kvm_entry')",
        "uprobe_ns": "json_extract(record, '$.witnesses.uprobe')",
        "qmp_ns": "json_extract(record, '$.witnesses.qmp')",
        "guest_ns": "json_extract(record, '$.witnesses.guest')",
        "vcpu_blackouts": "json_extract(record, '$.vcpu_blackouts_ns')",
        "shares": "(SELECT json_group_object(json_extract(value, '$.name'), "
        "json_extract(value, '$.blackout_ns')) FROM json_each(record, '$.spans'))",
        "proof": "json_extract(record, '$.proof.verdict')",
    },
    3: {
        "brownout_ns": "json_extract(record, '$.brownout_ns')",
        "brownout_watched_ns": "json_extract(record, '$.brownout_watched_ns')",
    },
    4: {
        "device_operations": "json_extract(record, '$.device.operations')",
        "device_troubles": "json_array_length(record, '$.device.troubles')",
        "device_gap_ns": "json_extract(record, '$.device.longest_gap_ns')",
    },
}

RECORDS = Table(
    "records",
    METADATA,
    Column("seq", Integer, ForeignKey("runs.seq"), primary_key=True),
    Column("record", Text, nullable=False),  # JSON of results.records.run.Run
)


# Stands between texts that are read as one; no id, build or reason that we write holds it.
UNIT_SEPARATOR = "\x1f"


def number_column(name: str, missing: int) -> str:
    """SQL of a number of RUNS; `missing` stands for NULL."""
    return f'coalesce("{RUNS.c[name].name}", {missing})'


def text_columns(names: Sequence[str]) -> str:
    """SQL of several texts of RUNS as one, with UNIT_SEPARATOR between them; NULL is empty.

    Runs share nearly all of their texts: one string a row instead of nine takes a third of the
    time.
    """
    return " || char(31) || ".join(f"coalesce(\"{RUNS.c[name].name}\", '')" for name in names)


# Comparisons of a build with itself: what the noise floor of a host's cell is taken from.
AA = Table(
    "aa",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("session", Text, ForeignKey("sessions.id"), nullable=False),
    Column("host", Text, nullable=False),
    Column("dimensions", Text, nullable=False),
    Column("boots", Integer, nullable=False),  # of each side
    Column("shift_ns", BigInteger, nullable=False),
    Column("verdict", Text, nullable=False),
    Index("aa_by_cell", "host", "dimensions", "boots"),
)


def prepare(path: Path) -> None:
    """Make `path` a store of this version, or leave it untouched and say why it is none.

    Raises UsageError for a file of another program or one that cannot be written, RecordInvalid
    for a version that this pausebench does not read.
    """
    _check_magic(path)
    database: sqlite3.Connection | None = None
    try:
        database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        if _is_empty(database):
            database.execute("PRAGMA journal_mode = WAL")
            # Two sessions may start at once: whoever comes second finds the tables made.
            database.execute("BEGIN IMMEDIATE")
            if _is_empty(database):
                _create(database)
            database.execute("COMMIT")
        elif _is_older(database):
            database.execute("BEGIN IMMEDIATE")
            if _is_older(database):
                _upgrade(database)
            database.execute("COMMIT")
        _check(database, path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    finally:
        if database is not None:
            database.close()


def check(path: Path) -> None:
    """As `prepare`, for a store that is only read; an older one is upgraded where it may be."""
    _check_magic(path)
    database: sqlite3.Connection | None = None
    try:
        database = sqlite3.connect(
            _uri(path), uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
        )
        if os.access(path, os.W_OK, effective_ids=True) and _is_older(database):
            prepare(path)
        _check(database, path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    finally:
        if database is not None:
            database.close()


def _check_magic(path: Path) -> None:
    """SQLite takes any file shorter than its header for an empty database and overwrites it."""
    try:
        with path.open("rb") as file:
            magic = file.read(16)
    except FileNotFoundError:
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


def _upgrade(database: sqlite3.Connection) -> None:
    """Add the columns of later versions and fill them, inside the caller's transaction."""
    dialect = sqlite_dialect()
    version = database.execute("PRAGMA user_version").fetchone()[0]
    for later in range(version + 1, VERSION + 1):
        for name in ADDED[later]:
            kind = RUNS.c[name].type.compile(dialect)
            database.execute(f"ALTER TABLE runs ADD COLUMN {name} {kind}")
        filled = ", ".join(f"{name} = {source}" for name, source in ADDED[later].items())
        database.execute(f"UPDATE runs SET {filled} FROM records WHERE records.seq = runs.seq")  # noqa: S608 - constants
    database.execute(f"PRAGMA user_version = {VERSION}")


def _create(database: sqlite3.Connection) -> None:
    """All tables, inside the caller's transaction."""
    dialect = sqlite_dialect()
    for table in METADATA.sorted_tables:
        database.execute(str(CreateTable(table).compile(dialect=dialect)))
        for index in sorted(table.indexes, key=lambda i: str(i.name)):
            database.execute(str(CreateIndex(index).compile(dialect=dialect)))
    database.execute(f"PRAGMA application_id = {APPLICATION}")
    database.execute(f"PRAGMA user_version = {VERSION}")


def _check(database: sqlite3.Connection, path: Path) -> None:
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
            f"report` or `run` brings it to {VERSION}",
        )
    if version < VERSION:
        raise RecordInvalid(str(path), f"has store version {version}, which nothing ever wrote")


def _unusable(path: Path, error: sqlite3.Error) -> UsageError:
    return UsageError(
        f"{path} cannot be used as a store ({error}); name another directory with --store"
    )


def _uri(path: Path) -> str:
    """URI of an existing store, which may lie where the reader cannot write (made by root).

    SQLite needs to create the -shm file of a database in WAL mode unless it is told that nobody
    writes; without a -wal file nobody does. Source: https://www.sqlite.org/wal.html#readonly.
    """
    name = f"file:{quote(str(path.absolute()))}"
    if all(os.access(p, os.W_OK, effective_ids=True) for p in (path, path.parent)):
        return f"{name}?mode=rw"
    wal = path.with_name(path.name + "-wal")
    return f"{name}?mode=ro" if wal.exists() else f"{name}?mode=ro&immutable=1"


def connect_engine(path: Path) -> Engine:
    """Engine over an existing store; every connection is bounded and waits for a busy writer."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            _uri(path), uri=True, timeout=_BUSY_TIMEOUT_S, check_same_thread=False
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    def prepare_connection(database: sqlite3.Connection, _record: object) -> None:
        # A forged row cannot make the reader hold more than a record may have.
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
        database.execute("PRAGMA foreign_keys = ON")
        # In WAL mode NORMAL survives a crash of the process; a power cut may lose the last runs.
        database.execute("PRAGMA synchronous = NORMAL")

    event.listen(engine, "connect", prepare_connection)
    return engine
