"""What was announced of a line's level, kept in the store: one JSON file per line.

A night looks at what is new alone, so that what earlier nights announced stays as it was, even
where the rules have changed since. Nights are kept by when they started, as others may be merged
in between. Files that are read back are untrusted: one that is not exactly of this kind is refused
with its name.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from results.errors import RecordInvalid
from results.stats.announcements import Announcement, announcements
from results.stats.change_points import Kind
from results.store.documents import Documents, read_document, write_document
from results.store.store import Store

from .lines import Line, LineKey, read_lines

# Schema of a file.
#   1  first version
SCHEMA = 1
DIRECTORY = "history"
_MAX_BYTES = 1 << 20
_WHAT = "history of a line"


@dataclass(frozen=True, slots=True)
class KeptChange:
    """An announcement whose nights are the times at which they started, Unix ns; levels in ms."""

    kind: Kind
    at: int
    until: int
    before: float
    after: float
    found_on: int
    confirmed_on: int | None = None
    withdrawn_on: int | None = None
    found: int = 1
    missed: int = 0
    became: Kind | None = None


@dataclass(frozen=True, slots=True)
class KeptLine:
    """What was announced of a line until the night that started at `seen_unix_ns`."""

    schema: int
    key: LineKey
    seen_unix_ns: int
    changes: tuple[KeptChange, ...] = ()


def read_history(
    store: Store, scenario: str | None = None, until_unix_ns: int | None = None
) -> tuple[Line, ...]:
    """Lines of the stored sessions that started until then, with what is announced of each.

    Raises RecordInvalid when what was kept cannot be read.
    """
    lines = read_lines(store, scenario, until_unix_ns)
    return tuple(with_changes(store.path, line) for line in lines)


def with_changes(directory: Path, line: Line) -> Line:
    """The line with what is announced of it after its last night."""
    kept = read_kept(directory, line.key)
    if kept is None:
        return replace(line, changes=announcements(line.medians_ms))
    starts = _starts(line)
    known = [_positioned(each, starts) for each in _as_of(kept.changes, starts)]
    seen = bisect_right(starts, kept.seen_unix_ns)
    return replace(line, changes=announcements(line.medians_ms, known, seen))


def keep_history(store: Store, lines: Iterable[Line]) -> None:
    """Keep what is announced of complete lines (`read_history`), for good.

    Not what is announced of the remains of a damaged store. Raises RecordInvalid when what was kept
    cannot be read, UsageError when nothing can be written.
    """
    if store.damages:
        return
    for line in lines:
        starts = _starts(line)
        kept = read_kept(store.path, line.key)
        if starts and (kept is None or kept.seen_unix_ns < starts[-1]):
            changes = tuple(_kept(each, starts) for each in line.changes)
            write_kept(store.path, KeptLine(SCHEMA, line.key, starts[-1], changes))


def history_path(directory: Path, key: LineKey) -> Path:
    """Where a line's announcements lie below the store's directory."""
    name = hashlib.sha256("\0".join(astuple(key)).encode()).hexdigest()[:20]
    return directory / DIRECTORY / f"{name}.json"


def write_kept(directory: Path, kept: KeptLine) -> Path:
    """Raises UsageError when it cannot be written."""
    return write_document(history_path(directory, kept.key), kept)


def read_kept(directory: Path, key: LineKey) -> KeptLine | None:
    """What was kept of a line; None if nothing was. Raises RecordInvalid."""
    return _read(history_path(directory, key))


def _read(path: Path) -> KeptLine | None:
    found = read_document(path, KeptLine, _WHAT, _MAX_BYTES)
    if found is None:
        return None
    if found.schema != SCHEMA:
        raise RecordInvalid(str(path), f"has schema {found.schema}; this pausebench reads {SCHEMA}")
    if path != history_path(path.parent.parent, found.key):
        raise RecordInvalid(str(path), "belongs to another line")
    if not all(change.before > 0 and change.after > 0 for change in found.changes):
        raise RecordInvalid(str(path), "has a level that is not positive")
    return found


def merged(one: KeptLine, other: KeptLine) -> KeptLine:
    """Both stores' announcements of one line: of the same change, what is known latest of it."""
    later, earlier = (one, other) if one.seen_unix_ns >= other.seen_unix_ns else (other, one)
    known = {(change.kind, change.found_on) for change in later.changes}
    more = (each for each in earlier.changes if (each.kind, each.found_on) not in known)
    changes = sorted((*later.changes, *more), key=lambda change: change.found_on)
    return replace(later, changes=tuple(changes))


DOCUMENTS = Documents(DIRECTORY, _read, merged)


# -- nights by number and by time -----------------------------------------------------------------


def _starts(line: Line) -> list[int]:
    return [point.started_unix_ns for point in line.points]


def _as_of(changes: Sequence[KeptChange], starts: Sequence[int]) -> list[KeptChange]:
    """What was known of the changes in the last of these nights, where later ones are kept too."""
    last = starts[-1] if starts else 0

    def by_then(night: int | None) -> int | None:
        return night if night is None or night <= last else None

    return [
        replace(
            change,
            until=max(change.at, min(change.until, last)),
            confirmed_on=by_then(change.confirmed_on),
            withdrawn_on=by_then(change.withdrawn_on),
            became=change.became if by_then(change.withdrawn_on) else None,
        )
        for change in changes
        if change.found_on <= last and starts and change.at > starts[0]
    ]


def _positioned(change: KeptChange, starts: Sequence[int]) -> Announcement:
    """The announcement by the numbers of its nights; one that is gone is the next one."""

    def number(unix_ns: int) -> int:
        return min(bisect_left(starts, unix_ns), len(starts) - 1)

    def number_if(unix_ns: int | None) -> int | None:
        return None if unix_ns is None else number(unix_ns)

    return Announcement(
        kind=change.kind,
        at=max(1, number(change.at)),
        until=max(1, number(change.until)),
        before=change.before,
        after=change.after,
        found_on=number(change.found_on),
        confirmed_on=number_if(change.confirmed_on),
        withdrawn_on=number_if(change.withdrawn_on),
        found=change.found,
        missed=change.missed,
        became=change.became,
    )


def _kept(change: Announcement, starts: Sequence[int]) -> KeptChange:
    return KeptChange(
        kind=change.kind,
        at=starts[change.at],
        until=starts[change.until],
        before=change.before,
        after=change.after,
        found_on=starts[change.found_on],
        confirmed_on=None if change.confirmed_on is None else starts[change.confirmed_on],
        withdrawn_on=None if change.withdrawn_on is None else starts[change.withdrawn_on],
        found=change.found,
        missed=change.missed,
        became=change.became,
    )
