"""The store: one SQLite file of sessions and judged runs, the raw recordings beside it.

    DIR/pausebench.sqlite                   what is searched and shown (results/store/schema.py)
    DIR/raw/SESSION/RUN.json.gz             what can be judged again (results/store/recordings.py)

A run's raw evidence is written before its row, so a row always has evidence. A stored run is
never overwritten. What is written survives a crash of this program at once, and a power cut once
`Store.sync` has returned.
"""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Select, and_, desc, false, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, SQLAlchemyError

from results.errors import RecordInvalid, UsageError
from results.records.recording import Recording
from results.records.run import Outcome, Run
from results.records.scenario import Session

from . import recordings as raw
from . import schema as tables
from .recordings import (
    check_session_id,
    decode,
    encode,
    new_run_id,
    new_session_id,
    raw_path,
    read_recording,
    session_of,
    write_recording,
)
from .rows import row_of
from .schema import AA, RECORDS, RUNS, SESSIONS

__all__ = ["FILE_NAME", "Store", "new_run_id", "new_session_id", "open_store"]

FILE_NAME = "pausebench.sqlite"
DEFAULT_DIRECTORY = Path("out")


def open_store(path: Path = DEFAULT_DIRECTORY, *, create: bool = True) -> Store:
    """Open the store in the directory `path`, made when it is missing and `create` is true.

    With `create=False` the store must exist and may lie where the caller cannot write. Raises
    UsageError for a path that is no directory, cannot be written or holds something else,
    RecordInvalid for a store of another version.
    """
    file = path / FILE_NAME
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is no directory; name the store's directory with --store")
    if create:
        try:
            (path / "raw").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make a store in {path} ({error.strerror}); "
                "name a writable directory with --store"
            ) from error
        tables.prepare(file)
    elif not file.is_file():
        raise UsageError(
            f"no store in {path}; run 'pausebench run' first or name its directory with --store"
        )
    else:
        tables.check(file)
    return Store(path)


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a session ended; both None while it runs or when it was killed."""

    ended_unix_ns: int | None
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class AaEntry:
    """One cell of one A/A comparison: `boots` of each side, shift in ns, the verdict given."""

    host: str
    dimensions: str
    boots: int
    shift_ns: int
    verdict: str


class Store:
    """Sessions, runs and recordings in one directory; made by `open_store`.

    Every method raises UsageError when the file cannot be read or written now (full, locked) and
    RecordInvalid when what it holds cannot be understood.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / FILE_NAME
        self._engine = tables.connect_engine(self.file)
        self._unsynced: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; the last one folds the write-ahead log into the file."""
        self._engine.dispose()

    # Writing

    def add_session(self, session: Session) -> None:
        """Store a session as it starts. Raises UsageError when its id is taken or malformed."""
        row = {
            "id": check_session_id(session.id),
            "started_unix_ns": session.started_unix_ns,
            "probe_tier": session.probe_tier,
            "record": encode(session, f"session {session.id}").decode(),
        }
        with self._named(f"session {session.id}"), self._engine.begin() as connection:
            connection.execute(insert(SESSIONS), row)

    def finish_session(self, session_id: str, ended_unix_ns: int, exit_code: int) -> None:
        """Note how a session ended, for good. Raises UsageError when there is no such session."""
        change = (
            update(SESSIONS)
            .where(SESSIONS.c.id == session_id)
            .values(ended_unix_ns=ended_unix_ns, exit_code=exit_code)
        )
        with self._named(f"session {session_id}"), self._engine.begin() as connection:
            found = connection.execute(change).rowcount
        if not found:
            raise UsageError(f"no session {session_id!r} in {self.path}")
        self.sync()

    def add_aa(self, session: str, entry: AaEntry) -> None:
        """Keep what a comparison of a build with itself said of one cell."""
        with self._named(f"A/A of session {session}"), self._engine.begin() as connection:
            connection.execute(insert(AA), {"session": session, **asdict(entry)})

    def aa(self, host: str, dimensions: str | None = None) -> list[AaEntry]:
        """A/A comparisons on `host`, oldest first; of one cell when `dimensions` is given."""
        columns = [AA.c[field.name] for field in fields(AaEntry)]
        query = select(*columns).where(AA.c.host == host).order_by(AA.c.seq)
        if dimensions is not None:
            query = query.where(AA.c.dimensions == dimensions)
        return [AaEntry(*row) for row in self._rows(query)]

    def aa_until(
        self, until_unix_ns: int, *, host: str, kernel: str, dimensions: str
    ) -> list[tuple[str, AaEntry]]:
        """A/A comparisons of one cell with their sessions, of one host and kernel, oldest first.

        Of the sessions that started by `until_unix_ns`; the kernel is what their record says.
        """
        columns = [AA.c[field.name] for field in fields(AaEntry)]
        query = (
            select(SESSIONS.c.id, SESSIONS.c.record, *columns)
            .select_from(AA)
            .join(SESSIONS, SESSIONS.c.id == AA.c.session)
            .where(AA.c.host == host, AA.c.dimensions == dimensions)
            .where(SESSIONS.c.started_unix_ns <= until_unix_ns)
            .order_by(SESSIONS.c.started_unix_ns, AA.c.seq)
        )
        return [
            (session, AaEntry(*row))
            for session, record, *row in self._rows(query)
            if self._session(session, record).environment.get("kernel", "") == kernel
        ]

    def aa_of(self, session: str) -> list[AaEntry]:
        """What comparisons of a build with itself are kept of one session."""
        columns = [AA.c[field.name] for field in fields(AaEntry)]
        return [
            AaEntry(*row) for row in self._rows(select(*columns).where(AA.c.session == session))
        ]

    def add_run(self, run: Run, recording: Recording) -> None:
        """Store a judged run: the raw recording first, then the row.

        Raises UsageError when the run is already stored, its session is not, or the two records
        belong to different runs.
        """
        if (run.id, run.session) != (recording.id, recording.session):
            raise UsageError(f"run {run.id!r} does not belong to recording {recording.id!r}")
        if session_of(run.id) != run.session:
            raise UsageError(f"run {run.id!r} does not belong to session {run.session!r}")
        record = encode(run, f"run {run.id}").decode()
        with self._named(f"run {run.id}"), self._engine.begin() as connection:
            if connection.execute(select(RUNS.c.seq).where(RUNS.c.id == run.id)).first():
                raise UsageError(f"run {run.id} is already stored; a run is never overwritten")
            self._unsynced.append(write_recording(self.path, recording))
            seq = connection.execute(insert(RUNS), row_of(run)).inserted_primary_key
            connection.execute(insert(RECORDS), {"seq": seq[0] if seq else None, "record": record})

    def sync(self) -> None:
        """Bring all that was added to the disk.

        Not after each run: that took 6 ms of an update's 95 on a virtual disk.
        """
        written, self._unsynced = self._unsynced, []
        for path in written:
            raw.sync(path)
        for directory in {path.parent for path in written}:
            raw.sync(directory)
        with self._named("the store"), self._engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))

    # Reading

    def session(self, session_id: str) -> Session:
        """One session. Raises UsageError when there is none."""
        row = self._first(select(SESSIONS.c.record).where(SESSIONS.c.id == session_id))
        if row is None:
            raise UsageError(f"no session {session_id!r} in {self.path}")
        return self._session(session_id, row[0])

    def sessions(self) -> list[Session]:
        """All sessions, oldest first."""
        query = select(SESSIONS.c.id, SESSIONS.c.record).order_by(SESSIONS.c.seq)
        return [self._session(i, record) for i, record in self._rows(query)]

    def session_end(self, session_id: str) -> SessionEnd:
        """When and with which exit code a session ended. Raises UsageError when there is none."""
        columns = (SESSIONS.c.ended_unix_ns, SESSIONS.c.exit_code)
        row = self._first(select(*columns).where(SESSIONS.c.id == session_id))
        if row is None:
            raise UsageError(f"no session {session_id!r} in {self.path}")
        return SessionEnd(*row)

    def latest_session_id(self) -> str:
        """The session that was added last. Raises UsageError when the store is empty."""
        row = self._first(select(SESSIONS.c.id).order_by(desc(SESSIONS.c.seq)).limit(1))
        if row is None:
            raise UsageError(f"the store in {self.path} is empty; run 'pausebench run' first")
        return str(row[0])

    def iter_runs(
        self,
        session: str | None = None,
        scenario: str | None = None,
        outcome: Outcome | None = None,
    ) -> Iterator[Run]:
        """Runs in the order in which they were added, read as they are consumed."""
        query = (
            select(RUNS.c.id, RECORDS.c.record)
            .join(RECORDS, RECORDS.c.seq == RUNS.c.seq)
            .order_by(RUNS.c.seq)
        )
        wanted = {"session": session, "scenario": scenario, "outcome": outcome}
        for column, value in wanted.items():
            if value is not None:
                query = query.where(RUNS.c[column] == value)
        for run_id, record in self._rows(query):
            yield self._run(run_id, record)

    def runs(
        self,
        session: str | None = None,
        scenario: str | None = None,
        outcome: Outcome | None = None,
    ) -> list[Run]:
        """As `iter_runs`, all at once."""
        return list(self.iter_runs(session, scenario, outcome))

    def columns(
        self,
        columns: Sequence[str],
        sessions: Sequence[str],
        scenario: str | None = None,
        within: tuple[int, int] | None = None,
    ) -> Iterator[Sequence[Any]]:
        """Rows of `columns` (SQL by results.store.schema) of the runs of `sessions`, as added.

        `within` are the first and last number of a run that is wanted. No record is read.
        """
        # A query per session: its index has the rows in their order, and nothing is sorted.
        only = "session = ?" + (" AND scenario = ?" if scenario is not None else "")
        only += " AND seq BETWEEN ? AND ?"
        query = f"SELECT {', '.join(columns)} FROM runs WHERE {only} ORDER BY seq"  # noqa: S608 - ours
        further = (*(() if scenario is None else (scenario,)), *(within or (0, 1 << 62)))
        with self._named(str(self.file)):
            # The driver's own cursor: rows as SQLAlchemy has them take three times as long.
            connection = self._engine.raw_connection()
            try:
                for session in sessions:
                    yield from connection.cursor().execute(query, (session, *further))
            finally:
                connection.close()

    def scenarios(self) -> list[str]:
        """The scenarios that have runs, by name."""
        query = select(RUNS.c.scenario).distinct().order_by(RUNS.c.scenario)
        return [str(name) for (name,) in self._rows(query)]

    def count_runs(self, sessions: Sequence[str]) -> tuple[int, int, int]:
        """How many runs the sessions have, and the first and last of their numbers; zeros."""
        total, first, last = 0, 0, 0
        for count, low, high in self.columns(("count(*)", "min(seq)", "max(seq)"), sessions):
            if count:
                first = low if not total else min(first, low)
                total, last = total + count, max(last, high)
        return total, first, last

    def run(self, run_id: str) -> Run:
        """One run by its full id. Raises UsageError when there is none."""
        session_of(run_id)
        query = (
            select(RECORDS.c.record)
            .join(RUNS, RECORDS.c.seq == RUNS.c.seq)
            .where(RUNS.c.id == run_id)
        )
        row = self._first(query)
        if row is None:
            raise UsageError(f"no run {run_id!r} in {self.path}{self._close_runs(run_id)}")
        return self._run(run_id, row[0])

    def run_by_seq(self, seq: int) -> Run:
        """One run by its number in the table of runs."""
        query = select(RUNS.c.id, RECORDS.c.record).join(RECORDS, RECORDS.c.seq == RUNS.c.seq)
        row = self._first(query.where(RUNS.c.seq == seq))
        if row is None:
            raise RecordInvalid(str(self.file), f"run {seq} of the table has no record")
        return self._run(*row)

    def session_before(self, unix_ns: int, dimensions: Sequence[str]) -> str | None:
        """The latest session started before `unix_ns` with a run of any of these dimensions."""
        has_run = (
            select(RUNS.c.seq)
            .where(RUNS.c.session == SESSIONS.c.id, RUNS.c.dimensions.in_(list(dimensions)))
            .exists()
        )
        query = (
            select(SESSIONS.c.id)
            .where(SESSIONS.c.started_unix_ns < unix_ns, has_run)
            .order_by(desc(SESSIONS.c.started_unix_ns))
        )
        row = self._first(query)
        return str(row[0]) if row else None

    def recording(self, run_id: str) -> Recording:
        """The raw evidence of one run; RecordInvalid names the file when it cannot be read."""
        return read_recording(self.path, run_id)

    def recording_path(self, run_id: str) -> Path:
        """The file of one run's raw evidence."""
        return raw_path(self.path, run_id)

    # What a person types

    def resolve_run(self, text: str) -> str:
        """Full id of the run that `text` means: a unique prefix, `last` or `worst`.

        `last` is the run that was added last, `worst` the one with the longest blackout of the
        last session. Raises UsageError, naming close candidates, when it means none or several.
        """
        named = text in ("last", "worst")
        if text == "last":
            query = select(RUNS.c.id).order_by(desc(RUNS.c.seq))
        elif text == "worst":
            query = self._worst(self.latest_session_id())
        else:
            query = select(RUNS.c.id).where(_has_prefix(RUNS.c.id, text)).order_by(RUNS.c.seq)
        found = [str(run_id) for (run_id,) in self._rows(query.limit(1 if named else 100))]
        if text in found:
            return text
        if len(found) == 1:
            return found[0]
        if named:
            what = "run" if text == "last" else "completed run of the last session"
            raise UsageError(f"no {what} is stored in {self.path} yet")
        if found:
            raise UsageError(f"{text!r} means more than one run: {_listed(found)}")
        raise UsageError(f"no run {text!r} in {self.path}{self._close_runs(text)}")

    def resolve_session(self, text: str) -> str:
        """Full id of the session that `text` means: a unique prefix or `last`."""
        if text == "last":
            return self.latest_session_id()
        query = select(SESSIONS.c.id).where(_has_prefix(SESSIONS.c.id, text))
        found = [str(i) for (i,) in self._rows(query.order_by(SESSIONS.c.seq))]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{text!r} means more than one session: {_listed(found)}")
        raise UsageError(f"no session {text!r} in {self.path}")

    @staticmethod
    def _worst(session: str) -> Select[Any]:
        return (
            select(RUNS.c.id)
            .where(RUNS.c.session == session, RUNS.c.outcome == "completed")
            .where(RUNS.c.blackout_ns.is_not(None))
            .order_by(desc(RUNS.c.blackout_ns), RUNS.c.seq)
        )

    def _close_runs(self, text: str) -> str:
        """`; close: …` with the newest runs that contain `text`, or those spelled like it."""
        query = select(RUNS.c.id).order_by(desc(RUNS.c.seq)).limit(1000)
        ids = [str(run_id) for (run_id,) in self._rows(query)]
        close = [i for i in ids if text and text in i] or difflib.get_close_matches(text, ids)
        return f"; close: {_listed(close)}" if close else ""

    # Rows

    def _rows(self, query: Select[Any]) -> Iterator[Any]:
        with self._named(str(self.file)), self._engine.connect() as connection:
            yield from connection.execution_options(yield_per=500).execute(query)

    def _first(self, query: Select[Any]) -> Any:
        return next(iter(list(self._rows(query.limit(1)))), None)

    def _run(self, run_id: str, record: str) -> Run:
        run = decode(record, Run, f"{self.file}: run {run_id}")
        if run.id != run_id:
            raise RecordInvalid(f"{self.file}: run {run_id}", f"holds run {run.id[:120]!r}")
        return run

    def _session(self, session_id: str, record: str) -> Session:
        session = decode(record, Session, f"{self.file}: session {session_id}")
        if session.id != session_id:
            where = f"{self.file}: session {session_id}"
            raise RecordInvalid(where, f"holds session {session.id[:120]!r}")
        return session

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Turn the database's errors into ours."""
        try:
            yield
        except IntegrityError as error:
            raise UsageError(
                f"{what} cannot be added to {self.path}: {error.orig} "
                "(ids are unique, and a run needs its session)"
            ) from error
        except (OperationalError, InterfaceError) as error:
            raise UsageError(f"{self.file} cannot be used now: {error.orig}") from error
        except sqlite3.Error as error:
            raise RecordInvalid(str(self.file), str(error)) from error
        except SQLAlchemyError as error:
            raise RecordInvalid(str(self.file), str(getattr(error, "orig", error))) from error


def _has_prefix(column: Any, text: str) -> Any:
    """A range instead of LIKE: it uses the index and no character of `text` is a wildcard."""
    if not text.isascii():  # no id has such a character, and SQLite refuses lone surrogates
        return false()
    return or_(column == text, and_(column >= text, column < text + "\U0010ffff"))


def _listed(ids: list[str], most: int = 5) -> str:
    more = f", … ({len(ids) - most} more)" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more
