"""A scenario over many sessions: one point per session and pair of builds, and where it changed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from results.records.scenario import Build, Session
from results.stats.announcements import Announcement
from results.stats.intervals import interval_over_boots, median_ns
from results.store.column_reader import read_columns
from results.store.store import Store
from results.store.tables.columns import Columns, median_of
from results.summary.cells import phase_medians
from results.summary.session_kind import SessionKind, kind_of

# Sessions that do not measure an update that anyone would make, or a build against itself.
_NOT_NIGHTS: frozenset[SessionKind] = frozenset({"calibration", "overhead", "claims", "self-check"})


@dataclass(frozen=True, slots=True)
class Point:
    """One cell of one session; times in ns, the median is over boots."""

    started_unix_ns: int
    median_ns: int
    low_ns: int | None
    high_ns: int | None
    max_ns: int
    boots: int
    valid: int
    failed: int
    qemu_median_ns: int | None
    handover_median_ns: int | None
    phases: dict[str, int]
    record: Session
    old: Build | None  # None where the session does not name it
    new: Build | None

    @property
    def session(self) -> str:
        return self.record.id

    @property
    def version(self) -> str:
        """Of the build under test."""
        return self.new.version if self.new else ""

    @property
    def build_id(self) -> str:
        return self.new.build_id if self.new else ""

    @property
    def identity(self) -> str:
        return self.new.identity if self.new else ""

    @property
    def kernel(self) -> str:
        return self.record.environment.get("kernel", "")


@dataclass(frozen=True, slots=True)
class LineKey:
    """What the nights of one line have in common.

    Builds are labels, so that a line goes on when a build is replaced; which build it was
    (`Build.identity`) belongs to each point and is named where the level changes.
    """

    scenario: str
    dimensions: str
    old_build: str
    new_build: str
    host: str
    tier: str  # the probes: further ones lengthen the blackout


@dataclass(frozen=True, slots=True)
class Level:
    """Nights `start` up to before `end`, from `first` to `last` ms: one level, or a drift."""

    start: int
    end: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Line:
    """All points of one key, oldest first, and what was announced of their level.

    `empty` are sessions in which every run failed: they have no median and are not points.
    """

    key: LineKey
    points: tuple[Point, ...]
    changes: tuple[Announcement, ...] = ()
    empty: tuple[Session, ...] = ()

    @property
    def builds(self) -> str:
        """`system`, or `10.0.2 → 11.1.3`."""
        if self.key.old_build == self.key.new_build:
            return self.key.old_build
        return f"{self.key.old_build} → {self.key.new_build}"

    @property
    def name(self) -> str:
        """`anon on system`."""
        return f"{self.key.scenario} on {self.builds}"

    @property
    def medians_ms(self) -> list[float]:
        return [point.median_ns / 1e6 for point in self.points]

    @property
    def confirmed(self) -> tuple[Announcement, ...]:
        """The changes that stand, oldest first."""
        standing = (change for change in self.changes if change.state == "confirmed")
        return tuple(sorted(standing, key=lambda change: (change.at, change.until)))

    def levels(self) -> tuple[Level, ...]:
        """The levels between the confirmed changes, and the drifts."""
        found = []
        start = 0
        for change in self.confirmed:
            found.append(self._level(start, change.at))
            start = max(start, change.at)
            if change.kind == "drift":
                found.append(Level(start, change.until + 1, change.before, change.after))
                start = change.until + 1
        found.append(self._level(start, len(self.points)))
        return tuple(level for level in found if level.start < level.end)

    def _level(self, start: int, end: int) -> Level:
        middle = (median_ns(point.median_ns for point in self.points[start:end]) or 0) / 1e6
        return Level(start, end, middle, middle)

    def since(self, unix_ns: int) -> Line:
        """The nights from `unix_ns` on, with the changes that lie in them."""
        first = bisect_left([point.started_unix_ns for point in self.points], unix_ns)
        return replace(
            self,
            points=self.points[first:],
            changes=tuple(_moved(each, first) for each in self.changes if each.until > first),
            empty=tuple(each for each in self.empty if each.started_unix_ns >= unix_ns),
        )


def _moved(change: Announcement, nights: int) -> Announcement:
    """A change as seen from the night number `nights`; a drift may have begun before that."""

    def moved(night: int | None) -> int | None:
        return None if night is None else max(0, night - nights)

    return replace(
        change,
        at=max(1, change.at - nights),
        until=change.until - nights,
        found_on=max(0, change.found_on - nights),
        confirmed_on=moved(change.confirmed_on),
        withdrawn_on=moved(change.withdrawn_on),
    )


def read_lines(
    store: Store, scenario: str | None = None, until_unix_ns: int | None = None
) -> tuple[Line, ...]:
    """Lines of the stored sessions that started until then, in first-seen order; no changes yet."""
    sessions = {
        session.id: session
        for session in store.sessions()
        if kind_of(session) not in _NOT_NIGHTS
        and (until_unix_ns is None or session.started_unix_ns <= until_unix_ns)
    }
    return lines_of(read_columns(store, list(sessions), scenario=scenario), sessions)


def lines_of(columns: Columns, sessions: Mapping[str, Session]) -> tuple[Line, ...]:
    """Lines from the runs of many sessions."""
    points: dict[LineKey, list[Point]] = {}
    empty: dict[LineKey, list[Session]] = {}
    for (scenario, dimensions, old, new), at in columns.cells():
        for name, runs in _by_session(columns.where(at)):
            session = sessions[name]
            host = session.environment.get("host", "")
            key = LineKey(scenario, dimensions, old, new, host, session.probe_tier)
            points.setdefault(key, [])
            if (point := _point(runs, session, old, new)) is None:
                empty.setdefault(key, []).append(session)
            else:
                points[key].append(point)
    return tuple(
        Line(key, _ordered(found), empty=tuple(empty.get(key, ()))) for key, found in points.items()
    )


def _ordered(points: Sequence[Point]) -> tuple[Point, ...]:
    return tuple(sorted(points, key=lambda point: point.started_unix_ns))


def _by_session(cell: Columns) -> Iterable[tuple[str, Columns]]:
    codes, words = cell.texts["session"]
    order = np.argsort(codes, kind="stable")
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    for part in np.split(order, cuts):
        yield words[int(codes[part[0]])], cell.where(part)


def _point(runs: Columns, session: Session, old: str, new: str) -> Point | None:
    _, medians = runs.boot_medians()
    median = median_of(medians)
    if median is None:
        return None
    bounds, _ = interval_over_boots(medians.tolist())
    builds = {build.label: build for build in session.builds}
    return Point(
        started_unix_ns=session.started_unix_ns,
        median_ns=median,
        low_ns=bounds[0] if bounds else None,
        high_ns=bounds[1] if bounds else None,
        max_ns=int(runs.known("blackout_ns").max()),
        boots=len(medians),
        valid=int(runs.completed.sum()),
        failed=int((~runs.completed).sum()),
        qemu_median_ns=median_of(runs.known("qemu_ns")),
        handover_median_ns=median_of(runs.known("handover_ns")),
        phases=phase_medians(runs),
        record=session,
        old=builds.get(old),
        new=builds.get(new),
    )
