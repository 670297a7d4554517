"""What remains to be said of a session that Ctrl-C, a signal or a full disk ended."""

from __future__ import annotations

import argparse
import json
import os
import sys

from reports.formats.session_json import document
from reports.terminal.session import session_page
from reports.terminal.style import look_for, write
from results.errors import Interrupted, PausebenchError, SessionNotKept
from results.printable import one_line
from results.records.run import Run
from results.records.scenario import Session
from results.store.store import open_store
from results.store.tables.columns import columns_of
from results.summary.cells import summarise
from results.summary.failures.unfinished import updates_text
from results.summary.redaction import redacted_run, redacted_session

# Runs of the other commands are evidence for a result of their own, which is not there yet.
_TABLES = ("run", "compare", "matrix", "sweep", "nightly")


def show_unfinished(
    error: Interrupted | SessionNotKept, status: int, args: argparse.Namespace
) -> int:
    """Print the runs that are stored, and in one line what ended the session. Returns `status`."""
    why = str(error) if isinstance(error, SessionNotKept) else "interrupted"
    try:
        with open_store(error.store, create=False) as store:
            session = store.session(error.session)
            runs = store.runs(session=error.session)
    except PausebenchError as unreadable:  # the disk is full, or the store has gone
        _say(f"{why}; session {error.session}: {unreadable}")
        return status
    if args.command in _TABLES and not getattr(args, "quiet", False):
        _show(error, session, runs, status, as_json=getattr(args, "json", False))
    done = updates_text(len(runs), session.planned_updates)
    _say(f"{why}: {done}, kept as session {session.id} in {error.store}")
    return status


def _show(
    error: Interrupted | SessionNotKept,
    session: Session,
    runs: list[Run],
    status: int,
    *,
    as_json: bool,
) -> None:
    summaries = summarise(columns_of(runs)) if runs else []
    if as_json:
        session, runs = redacted_session(session), list(map(redacted_run, runs))
        ended = {"updates": len(runs), "planned_updates": session.planned_updates}
        print(json.dumps(document(session, runs, summaries) | ended | {"exit_code": status}))
        return
    look = look_for(sys.stdout, os.environ)
    write(session_page(summaries, runs, error.store, session.id, look), sys.stdout, look)


def _say(text: str) -> None:
    print(f"pausebench: {one_line(text)}", file=sys.stderr)
