"""Creating the tables of the store, and upgrading those of earlier versions."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from results.errors import RecordInvalid

from .checksums import checksums
from .schema import (
    AA,
    APPLICATION,
    CHECKED,
    CHECKSUMS,
    METADATA,
    RECORDS,
    RUNS,
    SESSIONS,
    STAGED,
    TALLIES,
    VERSION,
)

# Columns of RUNS that each version added, with how they are taken from the records.
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

# Rows whose record is not theirs get no checksum, which marks them as damaged.
_SOUND = {
    SESSIONS: "json_valid(record) AND json_extract(record, '$.id') = id",
    RUNS: "EXISTS (SELECT 1 FROM records WHERE records.seq = runs.seq "
    "AND json_valid(record) AND json_extract(record, '$.id') = runs.id)",
    RECORDS: "json_valid(record)",
    AA: "TRUE",
    TALLIES: "TRUE",
}


def create_tables(database: sqlite3.Connection) -> None:
    """All tables, inside the caller's transaction."""
    for table in METADATA.sorted_tables:
        _create(database, table)
    count_rows(database)
    database.execute(f"PRAGMA application_id = {APPLICATION}")
    database.execute(f"PRAGMA user_version = {VERSION}")


def upgrade(database: sqlite3.Connection, path: Path) -> None:
    """Bring the tables to the current version, inside the caller's transaction.

    Raises RecordInvalid when the file is damaged: checksums would declare sound what is left of it.
    """
    found = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise RecordInvalid(str(path), f"is damaged ({found}): restore it from a backup")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    for later in range(version + 1, VERSION + 1):
        if later in ADDED:
            _add_columns(database, ADDED[later])
        else:
            _add_checksums(database)
    database.execute(f"PRAGMA user_version = {VERSION}")


def _add_columns(database: sqlite3.Connection, columns: dict[str, str]) -> None:
    for name in columns:
        _add_column(database, RUNS, name)
    filled = ", ".join(f"{name} = {source}" for name, source in columns.items())
    database.execute(
        f"UPDATE runs SET {filled} FROM records "  # noqa: S608 - constants
        "WHERE records.seq = runs.seq AND json_valid(record)"
    )


def _add_checksums(database: sqlite3.Connection) -> None:
    """Version 5. Rows are counted whether they are sound or not: a damaged one is missed later."""
    for table in (TALLIES, STAGED):
        _create(database, table)
    for table in CHECKED:
        if table is not TALLIES:
            for name in _checksums_of(table):
                _add_column(database, table, name)
            _fill_checksums(database, table)
    count_rows(database)


def count_rows(database: sqlite3.Connection) -> None:
    """Make the tallies those of the rows that are there."""
    database.execute("DELETE FROM tallies")
    counted = "count(*), coalesce(min(seq), 0), coalesce(max(seq), 0)"
    into = "INSERT INTO tallies (kind, session, scenario, count, first, last)"
    for table in (SESSIONS, RUNS, AA):
        database.execute(f"{into} SELECT '{table.name}', '', '', {counted} FROM {table.name}")  # noqa: S608 - constants
    database.execute(
        f"{into} SELECT 'runs', session, scenario, {counted} FROM runs GROUP BY session, scenario"  # noqa: S608 - constants
    )
    _fill_checksums(database, TALLIES)


def _fill_checksums(database: sqlite3.Connection, table: Table) -> None:
    names = [column.name for column in table.columns if column.name not in CHECKSUMS]

    @lru_cache(maxsize=1)  # asked for each checksum of a row in turn
    def of_values(*values: Any) -> dict[str, int]:
        try:
            return checksums(table, dict(zip(names, values, strict=True)))
        except TypeError:
            return {}

    def of_row(which: str, *values: Any) -> int | None:
        return of_values(*values).get(which)

    database.create_function("row_checksum", len(names) + 1, of_row, deterministic=True)
    columns = ", ".join(f'"{name}"' for name in names)
    filled = ", ".join(
        f"{name} = row_checksum('{name}', {columns})" for name in _checksums_of(table)
    )
    database.execute(f"UPDATE {table.name} SET {filled} WHERE {_SOUND[table]}")  # noqa: S608 - constants


def _checksums_of(table: Table) -> list[str]:
    return [name for name in CHECKSUMS if name in table.c]


def _create(database: sqlite3.Connection, table: Table) -> None:
    dialect = sqlite_dialect()
    database.execute(str(CreateTable(table).compile(dialect=dialect)))
    for index in sorted(table.indexes, key=lambda i: str(i.name)):
        database.execute(str(CreateIndex(index).compile(dialect=dialect)))


def _add_column(database: sqlite3.Connection, table: Table, name: str) -> None:
    kind = table.c[name].type.compile(sqlite_dialect())
    database.execute(f"ALTER TABLE {table.name} ADD COLUMN {name} {kind}")
