"""Which run or session a person means: `last`, `worst`, or the beginning of an id."""

from __future__ import annotations

from results.errors import UsageError
from results.records.scenario import Session
from results.store.store import Store

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
        if runs := list(store.columns(("id",), [session.id])):
            return str(runs[-1][0])
    raise UsageError(_nothing_measured(store, sessions))


def _worst_run(store: Store, session: str) -> str:
    rows = store.columns(("id", "blackout_ns", "outcome"), [session])
    valid = [(ns, run) for run, ns, outcome in rows if outcome == "completed" and ns is not None]
    if not valid:
        raise UsageError(f"session {session} in {store.path} has no completed run")
    return str(max(valid, key=lambda pair: pair[0])[1])


def _nothing_measured(store: Store, sessions: list[Session]) -> str:
    if not sessions:
        return f"the store in {store.path} is empty; run 'pausebench run' first"
    last = sessions[-1]
    return (
        f"nothing is measured in {store.path} yet; run 'pausebench run' first, or name a session: "
        f"{last.id} ({kind_of(last)})"
    )
