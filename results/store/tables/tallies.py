"""How many rows of each kind there must be, known independently of those rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .checksums import is_sound
from .damage import StoreDamaged
from .schema import TALLIES

KINDS = {"sessions", "runs", "aa"}


@dataclass(frozen=True, slots=True)
class Tally:
    """Number of rows and their lowest and highest `seq`; zeros where there are none."""

    count: int = 0
    first: int = 0
    last: int = 0

    def __add__(self, other: Tally) -> Tally:
        if not self.count or not other.count:
            return other if other.count else self
        first, last = min(self.first, other.first), max(self.last, other.last)
        return Tally(self.count + other.count, first, last)


@dataclass(frozen=True, slots=True)
class Tallies:
    """`totals` by kind of row; `runs` by session, then by scenario."""

    totals: dict[str, Tally]
    runs: dict[str, dict[str, Tally]]

    def runs_of(self, session: str | None = None, scenario: str | None = None) -> Tally:
        """Of one session or all, of one scenario or all."""
        sessions = self.runs.values() if session is None else [self.runs.get(session, {})]
        if scenario is None:
            return sum((tally for mine in sessions for tally in mine.values()), Tally())
        return sum((mine.get(scenario, Tally()) for mine in sessions), Tally())


def sound_tallies(rows: Iterable[Mapping[str, Any]]) -> Tallies:
    """Of those rows of the table that are sound."""
    found = Tallies({}, {})
    for row in rows:
        tally = Tally(row["count"], row["first"], row["last"])
        if not is_sound(TALLIES, row):
            continue
        if row["session"]:
            found.runs.setdefault(row["session"], {})[row["scenario"]] = tally
        else:
            found.totals[row["kind"]] = tally
    return found


def check_tallies(rows: Collection[Mapping[str, Any]]) -> Tallies:
    """All rows of the table. Raises StoreDamaged when one of them is not sound or is missing."""
    found = sound_tallies(rows)
    of_runs = [tally for mine in found.runs.values() for tally in mine.values()]
    if found.totals.keys() != KINDS or len(rows) != len(found.totals) + len(of_runs):
        raise StoreDamaged("a tally is not as it was written")
    if sum(tally.count for tally in of_runs) != found.totals["runs"].count:
        raise StoreDamaged("a tally is missing")
    return found
