"""The store's database as it is read: rows are verified, a damaged file is recovered.

What is read is verified: the rows of a session against their checksums and against the number of
runs that the session has, records one by one. Where something does not match, what is sound in the
file is copied, and that copy is read from then on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Column, ColumnElement, Engine, Executable, Table, select, text
from sqlalchemy.exc import SQLAlchemyError

from results.errors import RecordInvalid, UsageError
from results.store.tables.checksums import is_sound
from results.store.tables.columns import Integers
from results.store.tables.damage import Damage, StoreDamaged, is_damage
from results.store.tables.schema import AA, RUNS, SESSIONS, TALLIES
from results.store.tables.tallies import Tallies, Tally, check_tallies
from results.store.tables.verification import ROWS, sound_figures

from .database import connect_engine, engine_over
from .recovery import Recovered, recover

T = TypeVar("T")
Row = Mapping[str, Any]


class VerifiedDatabase:
    """Rows of one SQLite file. `engine` is for writing; it always means the file itself."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.engine = connect_engine(file)
        self._recovered: Recovered | None = None
        self._source: Engine = self.engine
        self._verified: set[tuple[str, ...]] = set()

    def close(self) -> None:
        self.engine.dispose()
        if self._recovered is not None:
            self._recovered.database.close()

    # Damage

    @property
    def damages(self) -> tuple[Damage, ...]:
        """What is damaged, as far as it was noticed; empty while all that was read is sound."""
        return self._recovered.damages if self._recovered is not None else ()

    @property
    def recovered(self) -> bool:
        """Whether a copy is read instead of the file."""
        return self._recovered is not None

    def recover(self) -> None:
        """Read from a copy of what is sound from now on. Raises RecordInvalid when nothing is."""
        if self._recovered is not None:
            raise RecordInvalid(str(self.file), "is damaged, and what was recovered is not valid")
        self._recovered = recover(self.file)
        self._source = engine_over(self._recovered.database)

    def sound(self, read: Callable[[], T]) -> T:
        """What `read` returns; when it raises StoreDamaged, what it returns of the copy."""
        try:
            return read()
        except StoreDamaged:
            self.recover()
        try:
            return read()
        except StoreDamaged as error:
            raise RecordInvalid(str(self.file), f"is not valid: {error}") from error

    # Rows

    def all(self, query: Executable) -> list[Any]:
        """All rows of a query, without verifying them."""
        return self.sound(lambda: list(self.rows(query)))

    def rows(self, query: Executable) -> Iterator[Any]:
        """Rows of a query as they are consumed. Raises StoreDamaged when they cannot be read."""
        with self.errors(), self._source.connect() as connection:
            yield from connection.execution_options(yield_per=500).execute(query)

    def columns(
        self,
        columns: Sequence[str],
        sessions: Sequence[str | None],
        scenario: str | None = None,
        within: tuple[int, int] = (0, 1 << 62),
    ) -> Iterator[Sequence[Any]]:
        """Rows of `columns` (SQL) of the runs of `sessions` (None: of all), as added.

        `within` are the lowest and highest `seq` wanted. Rows are not verified; raises StoreDamaged
        when they cannot be read.
        """
        with self.errors():
            # The driver's own cursor: SQLAlchemy's rows take three times as long.
            connection = self._source.raw_connection()
            try:
                # A query per session: its index has the rows in their order, and nothing is sorted.
                for session in sessions:
                    wanted = {"session": session, "scenario || ''": scenario}
                    given = {sql: value for sql, value in wanted.items() if value is not None}
                    only = "".join(f" AND {sql} = ?" for sql in given)
                    query = (
                        f"SELECT {', '.join(columns)} FROM runs "  # noqa: S608 - ours
                        f"WHERE seq BETWEEN ? AND ?{only} ORDER BY seq"
                    )
                    yield from connection.cursor().execute(query, (*within, *given.values()))
            finally:
                connection.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the database's errors into ours, and signs of damage into StoreDamaged."""
        try:
            yield
        except (sqlite3.Error, SQLAlchemyError) as error:
            cause = getattr(error, "orig", None) or error
            if is_damage(cause):
                raise StoreDamaged(str(cause)) from error
            raise UsageError(f"{self.file} cannot be used now: {cause}") from error

    # Verification: each raises StoreDamaged when a row is not sound or is missing.

    def tallies(self) -> Tallies:
        """How many rows there must be."""
        return check_tallies([row._mapping for row in self.rows(select(TALLIES))])

    def session_rows(self) -> list[Row]:
        """All rows of sessions, oldest first."""
        tally = self.tallies().totals["sessions"]
        query = select(SESSIONS).where(SESSIONS.c.seq <= tally.last).order_by(SESSIONS.c.seq)
        rows: list[Row] = [row._mapping for row in self.rows(query)]
        _verify(SESSIONS, rows, tally)
        return rows

    def verify_aa(self) -> None:
        """All A/A comparisons."""
        if self._is_new("aa"):
            tally = self.tallies().totals["aa"]
            query = select(AA).where(AA.c.seq <= tally.last).order_by(AA.c.seq)
            _verify(AA, (row._mapping for row in self.rows(query)), tally)
            self._verified.add(("aa",))

    def verify_runs(self, session: str | None = None, scenario: str | None = None) -> None:
        """The table of runs: all of it, of one session, or of one scenario."""
        key = ("runs", session or "", scenario or "")
        if self._is_new(*key):
            # Later runs have a higher number: another process may be adding them.
            tally = self.tallies().runs_of(session, scenario)
            rows = self.columns(ROWS, [session], scenario, (tally.first, tally.last))
            numbers = [figures.numbers["seq"] for figures in sound_figures(rows)]
            check_complete(numbers, tally)
            self._verified.add(key)

    def verify_absent(self, prefix: str) -> None:
        """That no run has an id with this prefix, which its index did not find."""
        self.verify_runs()
        if not prefix.isascii():  # no id has another character
            return
        scan = text(
            "SELECT seq FROM runs NOT INDEXED WHERE substr(id, 1, :length) = :prefix LIMIT 1"
        )
        if list(self.rows(scan.bindparams(length=len(prefix), prefix=prefix))):
            raise StoreDamaged("the index of runs is not as it was written")

    def _is_new(self, *key: str) -> bool:
        return self._recovered is None and key not in self._verified


def unindexed(column: Column[Any]) -> ColumnElement[Any]:
    """A column of texts in a condition for which no index is used: it may be damaged unnoticed."""
    return column.concat("")


def runs_of(session: str | None, scenario: str | None) -> list[ColumnElement[bool]]:
    """Conditions by which the same rows are read as were verified: by one index at most."""
    found = []
    if session is not None:
        found.append(RUNS.c.session == session)
    if scenario is not None:
        found.append(unindexed(RUNS.c.scenario) == scenario)
    return found


def check_complete(numbers: Sequence[Integers], tally: Tally) -> None:
    """Raises StoreDamaged unless these are the `seq` of all runs that are counted, in order.

    Rows on a misplaced page come out of order, and cannot be looked up.
    """
    seq = np.concatenate(numbers) if numbers else np.empty(0, dtype=np.int64)
    if len(seq) != tally.count or not np.all(np.diff(seq) > 0):
        raise StoreDamaged(f"{len(seq)} of {tally.count} runs are there, or not in order")


def _verify(table: Table, rows: Iterable[Row], tally: Tally) -> None:
    """As `check_complete`, for rows of other tables."""
    count = last = 0
    for row in rows:
        if not is_sound(table, row) or row["seq"] <= last:
            raise StoreDamaged(f"row {count + 1} of {table.name} is not as it was written")
        count, last = count + 1, row["seq"]
    if count != tally.count:
        raise StoreDamaged(f"{count} of {tally.count} rows of {table.name} are there")
