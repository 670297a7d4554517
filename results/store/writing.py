"""Adding rows to the store inside a transaction: their checksums, and the tallies of them.

Raises StoreDamaged where a row that has to be changed is not sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, func, insert, select, update

from results.errors import UsageError
from results.records.run import Run
from results.records.scenario import Session
from results.store.tables.checksums import is_sound, sealed
from results.store.tables.damage import StoreDamaged
from results.store.tables.rows import AaEntry, SessionEnd, aa_row, row_of
from results.store.tables.schema import AA, RECORDS, RUNS, SESSIONS, TALLIES

from .recordings import check_session_id, encode


def insert_session(connection: Connection, session: Session) -> None:
    """Raises UsageError when its id is taken or malformed."""
    check_session_id(session.id)
    if _has_session(connection, session.id):
        raise UsageError(f"session {session.id} is already stored")
    row = {
        "id": session.id,
        "started_unix_ns": session.started_unix_ns,
        "ended_unix_ns": None,
        "exit_code": None,
        "probe_tier": session.probe_tier,
        "record": encode(session, f"session {session.id}").decode(),
    }
    _count(connection, "sessions", _insert(connection, SESSIONS, row))


def update_end(connection: Connection, session: str, end: SessionEnd) -> None:
    """Raises UsageError when there is no such session."""
    found = _row(connection, SESSIONS, SESSIONS.c.id == session)
    if found is None:
        raise UsageError(f"no session {session!r} to end")
    if not is_sound(SESSIONS, found):
        raise StoreDamaged(f"the row of session {session} is not as it was written")
    ended = {"ended_unix_ns": end.ended_unix_ns, "exit_code": end.exit_code}
    row = sealed(SESSIONS, {**found, **ended})
    connection.execute(update(SESSIONS).where(SESSIONS.c.seq == found["seq"]).values(row))


def insert_run(connection: Connection, run: Run) -> None:
    """Raises UsageError without its session, RecordInvalid when it could not be read back."""
    _need_session(connection, run.session, f"run {run.id}")
    record = encode(run, f"run {run.id}").decode()
    seq = _insert(connection, RUNS, row_of(run))
    connection.execute(insert(RECORDS), sealed(RECORDS, {"seq": seq, "record": record}))
    _count(connection, "runs", seq)
    _count(connection, "runs", seq, run.session, run.scenario)


def insert_aa(connection: Connection, session: str, entry: AaEntry) -> None:
    """Raises UsageError without its session."""
    _need_session(connection, session, "an A/A comparison")
    _count(connection, "aa", _insert(connection, AA, aa_row(session, entry)))


def _row(connection: Connection, table: Table, where: ColumnElement[bool]) -> dict[str, Any] | None:
    row = connection.execute(select(table).where(where)).first()
    return None if row is None else dict(row._mapping)


def _has_session(connection: Connection, session: str) -> bool:
    found = connection.execute(select(SESSIONS.c.seq).where(SESSIONS.c.id == session)).first()
    return found is not None


def _need_session(connection: Connection, session: str, what: str) -> None:
    if not _has_session(connection, session):
        raise UsageError(f"{what} needs its session {session}, which is not stored")


def _insert(connection: Connection, table: Table, row: Mapping[str, Any]) -> int:
    """Append a row; returns its `seq`, which the caller's write lock keeps free."""
    last = connection.execute(select(func.max(table.c.seq))).scalar() or 0
    connection.execute(insert(table), sealed(table, {**row, "seq": last + 1}))
    return last + 1


def _count(
    connection: Connection, kind: str, seq: int, session: str = "", scenario: str = ""
) -> None:
    """Add one row to its tally."""
    key = {"kind": kind, "session": session, "scenario": scenario}
    here = and_(*(TALLIES.c[name] == value for name, value in key.items()))
    found = _row(connection, TALLIES, here)
    if found is None:
        _insert(connection, TALLIES, {**key, "count": 1, "first": seq, "last": seq})
        return
    if not is_sound(TALLIES, found):
        raise StoreDamaged(f"the number of {kind} stored so far is not known")
    more = {"count": found["count"] + 1, "first": found["first"] or seq, "last": seq}
    row = sealed(TALLIES, {**found, **more})
    connection.execute(update(TALLIES).where(TALLIES.c.seq == found["seq"]).values(row))
