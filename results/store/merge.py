"""Merging one store into another: completely or not at all, and as often as one likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from results.errors import RecordInvalid, UsageError
from results.records.recording import Recording
from results.store.tables.rows import SessionEnd

from . import writing
from .documents import Documents
from .recordings import raw_name
from .staging import StagedFiles, staged_files
from .store import Store


def merge(
    source: Store, target: Store, documents: Sequence[Documents[Any]], command: Sequence[str] = ()
) -> list[str]:
    """Copy the sessions of `source` to `target`; returns the ids of those sessions.

    Copied are their runs, records, raw evidence and A/A comparisons, and the `documents` next to
    the database. `command`, when given, replaces the command of the sessions. What `target` already
    has is skipped; what it has with other content raises UsageError. RecordInvalid is raised for
    anything in `source` that cannot be read. In either case `target` stays as it was, also when the
    process is killed.
    """
    sessions = source.session_ids()
    if not sessions:
        raise UsageError(f"no session in {source.path}")
    with staged_files(target.path) as files:
        for session in sessions:
            _stage_recordings(source, target, session, files)
        for kind in documents:
            kind.stage(source.path, target.path, files)
        with target.transaction() as connection:
            known = set(target.session_ids())
            for session in sessions:
                _add_session(source, target, connection, session, command, known=session in known)
                _add_runs(source, target, connection, session)
                _add_aa(source, target, connection, session)
            for damage in (*source.damages, *target.damages):
                raise RecordInvalid("cannot merge", damage.text)
            files.commit(connection)
        target.sync()
        files.move(target.path, target.transaction)
    return sessions


def _stage_recordings(source: Store, target: Store, session: str, files: StagedFiles) -> None:
    """Raw evidence that the target lacks; it may be gone for a whole session (retention)."""
    known = set(target.run_ids(session))
    if not (source.path / "raw" / session).is_dir():
        return
    for run_id in source.run_ids(session):
        recording = source.recording(run_id)
        if run_id in known and (mine := _readable(target, run_id)) is not None:
            if mine != recording:
                raise _conflict(source, target, f"the recordings of run {run_id}")
            continue
        files.add(raw_name(run_id), source.recording_path(run_id).read_bytes())


def _readable(store: Store, run_id: str) -> Recording | None:
    try:
        return store.recording(run_id)
    except RecordInvalid:
        return None


def _add_session(
    source: Store,
    target: Store,
    connection: Connection,
    session: str,
    command: Sequence[str],
    *,
    known: bool,
) -> None:
    record, end = source.session(session), source.session_end(session)
    if command:
        record = replace(record, command=tuple(command))
    mine = target.session_end(session) if known else SessionEnd(None, None)
    if not known:
        writing.insert_session(connection, record)
    elif target.session(session) != record:
        raise _conflict(source, target, f"the records of session {session}")
    if end == mine or end.ended_unix_ns is None:
        return
    if mine.ended_unix_ns is not None:
        raise _conflict(source, target, f"the ends of session {session}")
    writing.update_end(connection, session, end)


def _add_runs(source: Store, target: Store, connection: Connection, session: str) -> None:
    known = set(target.run_ids(session))
    for run in source.iter_runs(session):
        if run.id not in known:
            writing.insert_run(connection, run)
        elif target.run(run.id) != run:
            raise _conflict(source, target, f"the records of run {run.id}")


def _add_aa(source: Store, target: Store, connection: Connection, session: str) -> None:
    """A/A comparisons have no id: those are added that the target does not have as often."""
    missing = Counter(source.aa_of(session)) - Counter(target.aa_of(session))
    for entry in missing.elements():
        writing.insert_aa(connection, session, entry)


def _conflict(source: Store, target: Store, what: str) -> UsageError:
    return UsageError(f"cannot merge {source.path} into {target.path}: {what} differ")
