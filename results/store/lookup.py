"""The run or session that a prefix of its id means."""

from __future__ import annotations

import difflib
from typing import Any

from sqlalchemy import Select, and_, desc, or_, select

from results.errors import UsageError
from results.store.tables.schema import RUNS

from .reader import StoreReader
from .recordings import cut

_MOST_FOUND = 100
_MOST_COMPARED = 1000


def resolve_run(store: StoreReader, text: str) -> str:
    """Full id of the run that starts with `text`.

    Raises UsageError, naming close candidates, when none does or several do; RecordInvalid when
    none does and runs are lost.
    """
    found = store.database.sound(lambda: _with_prefix(store, text))
    if text in found:
        return text
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{cut(text)} means more than one run: {_listed(found)}")
    raise UsageError(f"{store.missing(f'run {cut(text)}')}{_close_runs(store, text)}")


def resolve_session(store: StoreReader, text: str) -> str:
    """Full id of the session that starts with `text`. Raises as `resolve_run` does."""
    found = [session for session in store.session_ids() if session.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{cut(text)} means more than one session: {_listed(found)}")
    raise store.missing(f"session {cut(text)}")


def _with_prefix(store: StoreReader, text: str) -> list[str]:
    """A range instead of LIKE: it uses the index, and no character of `text` is a wildcard."""
    found = []
    if text.isascii():  # no id has another character, and SQLite rejects lone surrogates
        here = or_(RUNS.c.id == text, and_(RUNS.c.id >= text, RUNS.c.id < text + "\U0010ffff"))
        found = _ids(store, select(RUNS.c.id).where(here).order_by(RUNS.c.seq).limit(_MOST_FOUND))
    if not found:
        store.database.verify_absent(text)
    return found


def _close_runs(store: StoreReader, text: str) -> str:
    """`; close: …` with the newest runs that contain `text`, or those spelled like it."""
    query = select(RUNS.c.id).order_by(desc(RUNS.c.seq)).limit(_MOST_COMPARED)
    ids = [str(run_id) for (run_id,) in store.database.all(query)]
    close = [i for i in ids if text and text in i] or difflib.get_close_matches(text, ids)
    return f"; close: {_listed(close)}" if close else ""


def _ids(store: StoreReader, query: Select[Any]) -> list[str]:
    return [str(run_id) for (run_id,) in store.database.rows(query)]


def _listed(ids: list[str], most: int = 5) -> str:
    more = f", … ({len(ids) - most} more)" if len(ids) > most else ""
    return ", ".join(cut(i) if not i.isprintable() else i for i in ids[:most]) + more
