"""Taking the sessions of one store over into another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from results.errors import UsageError
from results.records.run import Run
from results.records.scenario import Session

from .recordings import read_recording
from .store import Store


def merge(
    source: Store, target: Store, command: Sequence[str] = ()
) -> list[tuple[Session, list[Run]]]:
    """Copy every session of `source` with its runs and their raw evidence into `target`.

    Every record is decoded on the way, so that what cannot be understood is not taken over: raises
    RecordInvalid. `command`, when given, is the command that is kept with the sessions. A session
    that is there already raises UsageError; nothing of it is changed.
    """
    taken = []
    for session in source.sessions():
        runs = source.runs(session=session.id)
        recordings = [read_recording(source.path, run.id) for run in runs]
        end = source.session_end(session.id)
        if command:
            session = replace(session, command=tuple(command))
        target.add_session(session)
        for run, recording in zip(runs, recordings, strict=True):
            target.add_run(run, recording)
        if end.ended_unix_ns is not None and end.exit_code is not None:
            target.finish_session(session.id, end.ended_unix_ns, end.exit_code)
        taken.append((session, runs))
    if not taken:
        raise UsageError(f"there is no session in {source.path}")
    return taken
