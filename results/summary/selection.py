"""Which run or session a person means: `last`, `worst`, or the beginning of an id."""

from __future__ import annotations

from results.errors import UsageError
from results.records.scenario import Session
from results.store.column_reader import read_columns
from results.store.store import Store

from .cells import worst_and_median
from .session_kind import has_measured, kind_of

NAMED = ("last", "worst")


def resolve_session(store: Store, text: str) -> str:
    """Full id of the session that `text` means: a unique prefix, or `last`.

    `last` is the last session that measured updates; calibrations and the like are named by their
    id. Raises UsageError when it means none or several.
    """
    return latest_measured(store) if text == "last" else store.resolve_session(text)


def resolve_run(store: Store, text: str) -> str:
    """Full id of the run that `text` means: a unique prefix, `last` or `worst`.

    `last` is the run stored last of all sessions that measured updates, `worst` the one with the
    longest blackout of the last such session. Raises UsageError when it means none or several.
    """
    if text == "last":
        return _last_run(store)
    if text == "worst":
        return _worst_run(store, latest_measured(store))
    return store.resolve_run(text)


def latest_measured(store: Store) -> str:
    """The last session that measured updates. Raises UsageError, naming others, without any."""
    sessions = store.sessions()
    found = next((session for session in reversed(sessions) if has_measured(session)), None)
    if found is None:
        raise UsageError(_nothing_measured(store, sessions))
    return found.id


def _last_run(store: Store) -> str:
    sessions = store.sessions()
    for session in reversed([session for session in sessions if has_measured(session)]):
        numbers = read_columns(store, [session.id]).numbers["seq"]
        if len(numbers):
            return store.run_by_seq(int(numbers.max())).id
    raise UsageError(_nothing_measured(store, sessions))


def _worst_run(store: Store, session: str) -> str:
    columns = read_columns(store, [session])
    found = worst_and_median(columns)
    if found is None:
        raise UsageError(f"session {session} in {store.path} has no completed run")
    return store.run_by_seq(int(columns.numbers["seq"][found[0]])).id


def _nothing_measured(store: Store, sessions: list[Session]) -> str:
    if not sessions:
        return f"the store in {store.path} is empty; run 'pausebench run' first"
    last = sessions[-1]
    return (
        f"nothing is measured in {store.path} yet; run 'pausebench run' first, or name a session: "
        f"{last.id} ({kind_of(last)})"
    )
