"""What is left of a damaged store: a sound copy of it, and a line for everything that is not in it.

A row is taken over when its checksum matches, wherever in the file it was found. Rows of the table
of runs are also rebuilt from their records. The copy is a temporary database that goes away with
its connection; the damaged file stays as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Table

from results.errors import RecordInvalid
from results.records.run import Run
from results.store.tables.checksums import is_sound, sealed
from results.store.tables.damage import Damage
from results.store.tables.migration import count_rows, create_tables
from results.store.tables.rows import row_of
from results.store.tables.schema import AA, RECORDS, RUNS, SESSIONS, TALLIES
from results.store.tables.tallies import sound_tallies

from .database import connect
from .losses import Found, Rows, losses
from .recordings import decode, is_run_id

_LEAST_ROW_BYTES = 32  # of any of our tables: ids alone are longer


@dataclass(frozen=True, slots=True)
class Recovered:
    """A sound copy, and what was damaged in the original."""

    database: sqlite3.Connection
    damages: tuple[Damage, ...]


def recover(file: Path) -> Recovered:
    """Copy what is sound in `file`. Raises RecordInvalid when nothing is."""
    try:
        with closing(connect(file)) as source:
            source.execute("BEGIN")  # one snapshot, should the store be written to meanwhile
            found = _find(source)
    except sqlite3.Error as error:
        raise RecordInvalid(str(file), f"is damaged: {error}") from error
    if not (found.sessions or found.runs or found.records):
        raise RecordInvalid(str(file), "is damaged, and nothing in it can be read")
    _rebuild_runs(found)
    lost = losses(found, file.parent)
    damages = [Damage(f"{file} is damaged: {line}", lost=True) for line in lost]
    if not damages:
        damages = [Damage(f"{file} is damaged, but everything in it was recovered", lost=False)]
    return Recovered(_copy(found), tuple(damages))


def _find(source: sqlite3.Connection) -> Found:
    tallies = sound_tallies(_sound_rows(source, TALLIES, 0).values())
    last = {kind: tally.last for kind, tally in tallies.totals.items()}
    return Found(
        tallies,
        _sound_rows(source, SESSIONS, last.get("sessions", 0)),
        _sound_rows(source, RUNS, last.get("runs", 0)),
        _sound_rows(source, RECORDS, last.get("runs", 0)),
        _sound_rows(source, AA, last.get("aa", 0)),
        frozenset(_indexed(source)),
    )


def _sound_rows(source: sqlite3.Connection, table: Table, last: int) -> Rows:
    """By a scan from either end, then by number: around pages that cannot be read.

    Rows on misplaced pages are found by a scan but not by their number.
    """
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    query = f"SELECT {columns} FROM {table.name} NOT INDEXED"  # noqa: S608 - our tables
    found: Rows = {}
    if not _take(source, table, f"{query} ORDER BY seq", (), found):
        _take(source, table, f"{query} ORDER BY seq DESC", (), found)
    # A file that was made to harm may give a row, or a tally, any number.
    for seq in range(1, min(max(last, max(found, default=0)), _most_rows(source)) + 1):
        if seq not in found:
            _take(source, table, f"{query} WHERE seq = ?", (seq,), found)
    return dict(sorted(found.items()))


def _most_rows(source: sqlite3.Connection) -> int:
    """More than a file of that size can hold."""
    try:
        (pages,), (size,) = (
            source.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
    except sqlite3.Error:
        return 0
    return int(pages) * int(size) // _LEAST_ROW_BYTES


def _take(
    source: sqlite3.Connection, table: Table, query: str, values: tuple[int, ...], found: Rows
) -> bool:
    """Add the sound rows of a query to `found`. Returns whether it got to its end."""
    names = [column.name for column in table.columns]
    try:
        for each in source.execute(query, values):
            row = dict(zip(names, each, strict=True))
            if is_sound(table, row):
                found[row["seq"]] = row
    except sqlite3.Error:
        return False
    return True


def _indexed(source: sqlite3.Connection) -> Iterator[str]:
    """Ids of runs that the unique index still knows, for the names of those that are lost."""
    with suppress(sqlite3.Error):
        for (run_id,) in source.execute("SELECT id FROM runs INDEXED BY sqlite_autoindex_runs_1"):
            if isinstance(run_id, str) and is_run_id(run_id):
                yield run_id


def _rebuild_runs(found: Found) -> None:
    """Add the rows of runs of which only the record is sound."""
    known = {row["id"] for row in found.runs.values()}
    for seq in found.records.keys() - found.runs.keys():
        with suppress(RecordInvalid):
            run = decode(found.records[seq]["record"], Run, "run")
            if run.id not in known:
                found.runs[seq] = sealed(RUNS, {**row_of(run), "seq": seq})


def _copy(found: Found) -> sqlite3.Connection:
    database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
    database.execute("BEGIN")
    create_tables(database)
    for table, rows in (
        (SESSIONS, found.sessions), (RUNS, found.runs), (RECORDS, found.records), (AA, found.aa)
    ):  # fmt: skip
        names = [column.name for column in table.columns]
        columns = ", ".join(f'"{name}"' for name in names)
        database.executemany(
            f"INSERT INTO {table.name} ({columns}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608 - our tables
            ([row[name] for name in names] for row in rows.values()),
        )
    count_rows(database)
    database.execute("COMMIT")
    return database
