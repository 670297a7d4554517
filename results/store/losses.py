"""What a damaged store has lost, in sentences: its tallies against the rows that were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.store.tables.tallies import Tallies, Tally

from .recordings import cut, is_session_id, raw_ids

Rows = dict[int, dict[str, Any]]  # by seq

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Found:
    """The sound rows of each table; `indexed` are the ids of runs in the index of their table."""

    tallies: Tallies
    sessions: Rows
    runs: Rows
    records: Rows
    aa: Rows
    indexed: frozenset[str]


def losses(found: Found, directory: Path) -> list[str]:
    """A sentence for each loss; the raw evidence below `directory` names runs that are gone."""
    return [
        *_sessions(found),
        *_runs(found, directory),
        *_records(found),
        *_uncounted("A/A comparison", found.tallies.totals.get("aa"), len(found.aa)),
    ]


def _sessions(found: Found) -> Iterator[str]:
    kept = {row["id"] for row in found.sessions.values()}
    runs = Counter(row["session"] for row in found.runs.values())
    lost = sorted((found.tallies.runs.keys() | runs.keys()) - kept)
    for session in lost:
        left = f"{_number(runs[session], 'run')} of it left"
        yield f"session {_name(session)} is lost, with {left}"
    yield from _uncounted("session", found.tallies.totals.get("sessions"), len(kept) + len(lost))


def _runs(found: Found, directory: Path) -> Iterator[str]:
    """A sentence for each session of which runs are lost."""
    total = found.tallies.totals.get("runs")
    kept = Counter(row["session"] for row in found.runs.values())
    expected = {session: found.tallies.runs_of(session).count for session in found.tallies.runs}
    lost = {session: count - kept[session] for session, count in expected.items()}
    short = sorted(session for session, count in lost.items() if count > 0)
    for session in short:
        of = f"{lost[session]} of {_number(expected[session], 'run')} of session {_name(session)}"
        yield f"lost {of}{_listed(_names(found, directory, session))}"
    # More are missing where tallies are lost too.
    others = sorted((kept.keys() | expected.keys()) - set(short))
    names = [name for session in others for name in _names(found, directory, session)]
    known = len(found.runs) + sum(lost[session] for session in short)
    for line in _uncounted("run", total, known):
        yield f"{line}{_listed(names)}"


def _names(found: Found, directory: Path, session: str) -> list[str]:
    """Ids of runs of a session that were not found, where something still tells them."""
    indexed = {name for name in found.indexed if name.startswith(f"{session}.")}
    return sorted(
        (indexed | raw_ids(directory, session)) - {row["id"] for row in found.runs.values()}
    )


def _records(found: Found) -> Iterator[str]:
    """A sentence for each session with runs of which the row is sound, but not the record."""
    lost: dict[str, list[str]] = {}
    for seq in sorted(found.runs.keys() - found.records.keys()):
        lost.setdefault(found.runs[seq]["session"], []).append(found.runs[seq]["id"])
    for session, ids in lost.items():
        of = f"{_number(len(ids), 'run')} of session {_name(session)}"
        yield f"lost all but the figures of {of}{_listed(ids)}"


def _uncounted(what: str, tally: Tally | None, known: int) -> Iterator[str]:
    if tally is None:
        yield f"the number of {what}s in it is unknown; found {known}"
    elif tally.count > known:
        yield f"lost {_number(tally.count - known, what)}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _name(session: str) -> str:
    return session if is_session_id(session) else cut(session)


def _listed(names: Sequence[str]) -> str:
    more = f", … ({len(names) - _MOST_NAMED} more)" if len(names) > _MOST_NAMED else ""
    return f": {', '.join(names[:_MOST_NAMED])}{more}" if names else ""
