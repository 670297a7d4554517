"""A scenario over many sessions: one point per session and pair of builds, and where it changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from results.records.scenario import Session
from results.stats.change_points import Change, change_points
from results.stats.intervals import interval_over_boots
from results.store.column_reader import read_columns
from results.store.columns import Columns, median_of
from results.store.store import Store

from .cells import phase_medians


@dataclass(frozen=True, slots=True)
class Point:
    """One cell of one session; times in ns, the median is over boots."""

    session: str
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
    version: str  # of the build under test
    build_id: str
    kernel: str


@dataclass(frozen=True, slots=True)
class Line:
    """All points of one scenario, pair of builds and host, oldest first.

    `empty` are sessions in which every run failed: they have no median and are no points.
    """

    scenario: str
    old_build: str
    new_build: str
    dimensions: str
    host: str
    points: tuple[Point, ...]
    changes: tuple[Change, ...] = ()
    empty: tuple[str, ...] = field(default=())

    @property
    def builds(self) -> str:
        """`system`, or `10.0.2 → 11.1.3`."""
        if self.old_build == self.new_build:
            return self.old_build
        return f"{self.old_build} → {self.new_build}"

    @property
    def name(self) -> str:
        """`anon on system`."""
        return f"{self.scenario} on {self.builds}"

    def why(self, change: Change) -> tuple[str, ...]:
        """What differs between the night before a change and its first night."""
        before, after = self.points[change.at - 1], self.points[change.at]
        facts = (
            ("QEMU", before.version, after.version),
            ("build id", before.build_id[:12], after.build_id[:12]),
            ("kernel", before.kernel, after.kernel),
        )
        return tuple(f"{name} {old} → {new}" for name, old, new in facts if old != new)


def read_history(
    store: Store,
    scenario: str | None = None,
    since_unix_ns: int = 0,
    until_unix_ns: int | None = None,
) -> tuple[Line, ...]:
    """Lines of the stored sessions that started in the given time, in first-seen order."""
    sessions = {
        session.id: session
        for session in store.sessions()
        if session.started_unix_ns >= since_unix_ns
        and (until_unix_ns is None or session.started_unix_ns <= until_unix_ns)
    }
    columns = read_columns(store, list(sessions), scenario=scenario)
    return history(columns, sessions)


def history(columns: Columns, sessions: Mapping[str, Session]) -> tuple[Line, ...]:
    """Lines from the runs of many sessions."""
    points: dict[tuple[str, ...], list[Point]] = {}
    empty: dict[tuple[str, ...], list[str]] = {}
    for key, at in columns.cells():
        cell = columns.where(at)
        for session, runs in _by_session(cell):
            record = sessions[session]
            line = (*key, record.environment.get("host", ""))
            points.setdefault(line, [])
            if (point := _point(runs, record, key[3])) is None:
                empty.setdefault(line, []).append(session)
            else:
                points[line].append(point)
    return tuple(_line(key, found, empty.get(key, ())) for key, found in points.items())


def _by_session(cell: Columns) -> Iterable[tuple[str, Columns]]:
    codes, words = cell.texts["session"]
    order = np.argsort(codes, kind="stable")
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    for part in np.split(order, cuts):
        yield words[int(codes[part[0]])], cell.where(part)


def _point(runs: Columns, session: Session, build: str) -> Point | None:
    blackouts = runs.known("blackout_ns")
    _, medians = runs.boot_medians()
    median = median_of(medians)
    if median is None:
        return None
    bounds, _ = interval_over_boots(medians.tolist())
    found = next((b for b in session.builds if b.label == build), None)
    return Point(
        session=session.id,
        started_unix_ns=session.started_unix_ns,
        median_ns=median,
        low_ns=bounds[0] if bounds else None,
        high_ns=bounds[1] if bounds else None,
        max_ns=int(blackouts.max()),
        boots=len(medians),
        valid=int(runs.completed.sum()),
        failed=int((~runs.completed).sum()),
        qemu_median_ns=median_of(runs.known("qemu_ns")),
        handover_median_ns=median_of(runs.known("handover_ns")),
        phases=phase_medians(runs),
        version=found.version if found else "",
        build_id=found.build_id if found else "",
        kernel=session.environment.get("kernel", ""),
    )


def _line(key: tuple[str, ...], points: Sequence[Point], empty: Sequence[str]) -> Line:
    scenario, dimensions, old, new, host = key
    ordered = tuple(sorted(points, key=lambda point: point.started_unix_ns))
    changes = change_points([point.median_ns / 1e6 for point in ordered])
    return Line(scenario, old, new, dimensions, host, ordered, changes, tuple(empty))
