"""Reading what the store holds: sessions, runs, A/A comparisons and raw recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, desc, select

from results.errors import RecordInvalid, UsageError
from results.records.recording import Recording
from results.records.run import Outcome, Run
from results.records.scenario import Session
from results.store.tables.checksums import is_sound
from results.store.tables.damage import Damage, StoreDamaged
from results.store.tables.rows import AaEntry, SessionEnd
from results.store.tables.schema import AA, RECORDS, RUNS, SESSIONS
from results.store.tables.tallies import Tally

from .recordings import check_session_id, cut, decode, raw_path, read_recording, session_of
from .verified import Row, VerifiedDatabase, runs_of, unindexed


class StoreReader:
    """Sessions, runs and recordings of one directory.

    Every method raises UsageError when the file cannot be read now (locked, removed) and
    RecordInvalid when what it is asked for is damaged or malformed.
    """

    def __init__(self, path: Path, file: Path) -> None:
        self.path = path
        self.file = file
        self.database = VerifiedDatabase(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; the last one folds the write-ahead log into the file."""
        self.database.close()

    @property
    def damages(self) -> tuple[Damage, ...]:
        """What is damaged, as far as it was noticed; empty while all that was read is sound."""
        return self.database.damages

    # Sessions

    def session(self, session_id: str) -> Session:
        """One session. Raises UsageError when there is none."""
        return self._session(session_id, self._session_row(session_id)["record"])

    def sessions(self) -> list[Session]:
        """All sessions, oldest first."""
        rows = self.database.sound(self.database.session_rows)
        return [self._session(row["id"], row["record"]) for row in rows]

    def session_ids(self) -> list[str]:
        """The ids of all sessions, oldest first. Raises RecordInvalid for a malformed one."""
        rows = self.database.sound(self.database.session_rows)
        return [self._checked_id(row["id"]) for row in rows]

    def session_end(self, session_id: str) -> SessionEnd:
        """When and with which exit code a session ended. Raises UsageError when there is none."""
        row = self._session_row(session_id)
        return SessionEnd(row["ended_unix_ns"], row["exit_code"])

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
            .limit(1)
        )
        found = self.database.all(query)
        return self._checked_id(found[0].id) if found else None

    def _session_row(self, session_id: str) -> Row:
        def read() -> Row | None:
            found = list(self.database.rows(select(SESSIONS).where(SESSIONS.c.id == session_id)))
            if not found:
                if session_id in {row["id"] for row in self.database.session_rows()}:
                    raise StoreDamaged("the index of sessions is not as it was written")
                return None
            row: Row = found[0]._mapping
            if not is_sound(SESSIONS, row):
                raise StoreDamaged(f"the row of session {session_id}")
            return row

        row = self.database.sound(read)
        if row is None:
            raise self.missing(f"session {cut(session_id)}")
        return row

    def _session(self, session_id: str, record: str) -> Session:
        where = f"{self.file}: session {self._checked_id(session_id)}"
        session = decode(record, Session, where)
        if session.id != session_id:
            raise RecordInvalid(where, f"holds session {cut(session.id)}")
        return session

    def _checked_id(self, session_id: str) -> str:
        """Ids become parts of paths and pages, and a store from elsewhere may hold anything."""
        try:
            return check_session_id(session_id)
        except UsageError as error:
            raise RecordInvalid(str(self.file), str(error)) from error

    # A/A comparisons

    def aa(self, host: str, dimensions: str | None = None) -> list[AaEntry]:
        """A/A comparisons on `host`, oldest first; of one cell when `dimensions` is given."""
        where = [unindexed(AA.c.host) == host]
        if dimensions is not None:
            where.append(AA.c.dimensions == dimensions)
        return self._aa(*where)

    def aa_of(self, session: str) -> list[AaEntry]:
        """The A/A comparisons of one session."""
        return self._aa(AA.c.session == session)

    def aa_until(
        self, until_unix_ns: int, *, host: str, kernel: str, dimensions: str
    ) -> list[tuple[str, AaEntry]]:
        """A/A comparisons of one cell with their sessions, of one host and kernel, oldest first.

        Those of sessions that started by `until_unix_ns`; the kernel is that of their record.
        """
        rows = {row["id"]: row for row in self.database.sound(self.database.session_rows)}
        self.database.sound(self.database.verify_aa)
        where = (unindexed(AA.c.host) == host, unindexed(AA.c.dimensions) == dimensions)
        query = select(AA.c.session, *_AA_COLUMNS).where(*where).order_by(AA.c.seq)
        found = [(row[0], AaEntry(*row[1:])) for row in self.database.all(query)]
        names = {name for name, _ in found} & rows.keys()  # a session may be lost
        sessions = {name: self._session(name, rows[name]["record"]) for name in names}
        kept = [
            each
            for each in found
            if each[0] in names
            and sessions[each[0]].started_unix_ns <= until_unix_ns
            and sessions[each[0]].environment.get("kernel", "") == kernel
        ]
        return sorted(kept, key=lambda each: sessions[each[0]].started_unix_ns)

    def _aa(self, *where: ColumnElement[bool]) -> list[AaEntry]:
        self.database.sound(self.database.verify_aa)
        query = select(*_AA_COLUMNS).where(*where).order_by(AA.c.seq)
        return [AaEntry(*row) for row in self.database.all(query)]

    # Runs

    def iter_runs(
        self,
        session: str | None = None,
        scenario: str | None = None,
        outcome: Outcome | None = None,
    ) -> Iterator[Run]:
        """Runs in the order in which they were added, read as they are consumed.

        Runs whose records are damaged are left out; `damages` names them afterwards.
        """
        self.database.sound(lambda: self.database.verify_runs(session, scenario))
        query = _RUNS_WITH_RECORDS.where(*runs_of(session, scenario)).order_by(RUNS.c.seq)
        if outcome is not None:
            query = query.where(RUNS.c.outcome == outcome)
        last = 0
        try:
            for row in self.database.rows(query):
                run = self._run_of(row)
                last = row.seq
                if run is not None:
                    yield run
        except StoreDamaged:
            self.database.recover()
            for row in self.database.rows(query.where(RUNS.c.seq > last)):
                if (run := self._run_of(row)) is not None:
                    yield run

    def runs(
        self,
        session: str | None = None,
        scenario: str | None = None,
        outcome: Outcome | None = None,
    ) -> list[Run]:
        """Like `iter_runs`, all at once."""
        return list(self.iter_runs(session, scenario, outcome))

    def run_ids(self, session: str) -> list[str]:
        """The ids of the runs of a session, in the order in which they were added."""
        self.database.sound(lambda: self.database.verify_runs(session))
        query = select(RUNS.c.id).where(RUNS.c.session == session).order_by(RUNS.c.seq)
        return [str(run_id) for (run_id,) in self.database.all(query)]

    def run(self, run_id: str) -> Run:
        """One run by its full id. Raises UsageError when there is none."""
        session_of(run_id)

        def read() -> Run | None:
            found = list(self.database.rows(_RUNS_WITH_RECORDS.where(RUNS.c.id == run_id)))
            if not found:
                self.database.verify_absent(run_id)
                raise self.missing(f"run {run_id}")
            return self._run_of(found[0])

        return self._with_record(self.database.sound(read), f"run {run_id}")

    def run_by_seq(self, seq: int) -> Run:
        """One run by its number in the table of runs."""

        def read() -> Run | None:
            found = list(self.database.rows(_RUNS_WITH_RECORDS.where(RUNS.c.seq == seq)))
            if not found:
                raise StoreDamaged(f"there is no run number {seq}")
            return self._run_of(found[0])

        return self._with_record(self.database.sound(read), f"run number {seq}")

    def _with_record(self, run: Run | None, name: str) -> Run:
        if run is None:
            raise RecordInvalid(f"{self.file}: {name}", "its record is damaged")
        return run

    def _run_of(self, row: Any) -> Run | None:
        """The run of a row and its record; None where the recovered copy has no record.

        Raises StoreDamaged when the record is not sound.
        """
        record = {"seq": row.seq, "record": row.record, "checksum": row.checksum}
        if not is_sound(RECORDS, record):
            if self.database.recovered:
                return None
            raise StoreDamaged(f"the record of run {row.id}")
        where = f"{self.file}: run {cut(row.id)}"
        run = decode(row.record, Run, where)
        if run.id != row.id:
            raise RecordInvalid(where, f"holds run {cut(run.id)}")
        try:
            session = session_of(run.id)
        except UsageError as error:
            raise RecordInvalid(str(self.file), str(error)) from error
        if run.session != session:
            raise RecordInvalid(where, f"belongs to session {cut(run.session)}")
        return run

    def count_runs(self, sessions: Sequence[str], scenario: str | None = None) -> Tally:
        """How many runs the sessions have, and the lowest and highest `seq` of them."""
        tallies = self.database.sound(self.database.tallies)
        return sum((tallies.runs_of(session, scenario) for session in sessions), Tally())

    def scenarios(self) -> list[str]:
        """The scenarios that have runs, by name."""
        query = select(RUNS.c.scenario).distinct().order_by(RUNS.c.scenario)
        return [str(name) for (name,) in self.database.all(query)]

    def recording(self, run_id: str) -> Recording:
        """The raw evidence of one run; RecordInvalid names the file when it cannot be read."""
        return read_recording(self.path, run_id)

    def recording_path(self, run_id: str) -> Path:
        """The file of one run's raw evidence."""
        return raw_path(self.path, run_id)

    def missing(self, what: str) -> UsageError | RecordInvalid:
        """The error for something that is not in the store, or not any more."""
        if any(damage.lost for damage in self.damages):
            return RecordInvalid(str(self.file), f"is damaged; {what} is not in what is left of it")
        return UsageError(f"no {what} in {self.path}")


_AA_COLUMNS = [AA.c[field.name] for field in fields(AaEntry)]
_RUNS_WITH_RECORDS = select(RUNS.c.seq, RUNS.c.id, RECORDS.c.record, RECORDS.c.checksum).join_from(
    RUNS, RECORDS, RECORDS.c.seq == RUNS.c.seq, isouter=True
)
