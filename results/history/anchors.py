"""A night against earlier ones: a fixed night, and the last nights of a stable level.

What drifts by less each week than a comparison can find is found against a night that stays. Other
nights are compared where the host, its kernel and the probes are the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from results.comparison.compare import Comparison, compare
from results.comparison.compatibility import differences, doubts
from results.comparison.noise_floor import LEAST_NIGHTS, NoiseFloor, nights_floor
from results.comparison.plan import NIGHTLY_COMPARISONS, level
from results.comparison.verdict import Thresholds
from results.records.run import Run
from results.records.scenario import Session
from results.stats.intervals import median_ns
from results.store.column_reader import read_columns
from results.store.store import Store
from results.store.tables.columns import Columns, lean_runs
from results.summary.report_data import ReportData

from .lines import Level, Line, Point

ANCHOR_BOOTS = 6
STRETCH_NIGHTS = 3
# From fewer nights of one level it is not known how much nights differ.
KNOWN_NIGHTS = 2 * LEAST_NIGHTS


@dataclass(frozen=True, slots=True)
class _Earlier:
    """The nights of one cell that tonight is compared with, or why it is with none."""

    line: Line
    nights: tuple[Point, ...] = ()
    reason: str = ""


def with_anchors(
    store: Store, data: ReportData, lines: Sequence[Line], thresholds: Thresholds | None = None
) -> ReportData:
    """The report of a night with its builds under test compared with earlier nights.

    `lines` are those of the store up to that night; the fixed night is the session that the night
    recorded as its `anchor`, else the first with 6 boots. Other sessions are returned as they are.
    """
    if "night" not in data.session.environment:
        return data
    tonight = _tonight(data, lines)
    anchors: list[Comparison] = []
    notes: list[str] = []
    for name, choose in (("anchor", _anchor), ("last stable nights", _stretch)):
        earlier = [_with_floor(choose(line, data.session)) for line in tonight]
        found, of_these = _compared(store, data, name, earlier, thresholds)
        anchors += found
        notes += [*_left_out(name, earlier), *of_these]
        notes += _moved_baselines(name, found, data, lines, earlier)
    return replace(data, anchors=tuple(anchors), notes=(*data.notes, *notes))


def _tonight(data: ReportData, lines: Sequence[Line]) -> list[Line]:
    """The lines of the builds under test, up to the night before."""
    ids = {session.id for session in data.sessions}
    under_test = {comparison.label_b for comparison in data.comparisons}
    found = []
    for line in lines:
        before = [i for i, point in enumerate(line.points) if point.session in ids][:1]
        if before and line.key.old_build == line.key.new_build and line.key.new_build in under_test:
            found.append(replace(line, points=line.points[: before[0]]))
    return found


def _compared(
    store: Store,
    data: ReportData,
    name: str,
    earlier: Sequence[_Earlier],
    thresholds: Thresholds | None,
) -> tuple[list[Comparison], list[str]]:
    """One comparison for each build under test, and notes on what else has changed since."""
    comparisons = []
    notes = []
    usable = [each for each in earlier if not each.reason]
    for label in dict.fromkeys(each.line.key.new_build for each in usable):
        cells = [each for each in usable if each.line.key.new_build == label]
        confidence = 1.0 - level(len(cells), NIGHTLY_COMPARISONS)
        comparison = compare(
            _runs_of(store, cells),
            _runs_in(data.columns, [each.line for each in cells]),
            thresholds,
            noise=_floors(cells, confidence),
            comparisons=NIGHTLY_COMPARISONS,
        )
        nights = [point for each in cells for point in each.nights]
        comparisons.append(replace(comparison, label_a=f"the {name} of {_days(nights)}"))
        notes += _changed_settings(name, nights, data.session)
    return comparisons, notes


# -- which nights ---------------------------------------------------------------------------------


def _anchor(line: Line, tonight: Session) -> _Earlier:
    named = tonight.environment.get("anchor", "")
    if not named:
        enough = (
            point
            for point in line.points
            if point.boots >= ANCHOR_BOOTS and not _differences(point, tonight)
        )
        first = next(enough, None)
        missing = f"no earlier night with {ANCHOR_BOOTS} boots on this host and kernel"
        return _Earlier(line, (first,)) if first else _Earlier(line, reason=missing)
    found = next((point for point in line.points if point.session == named), None)
    if found is None:
        return _Earlier(line, reason=f"session {named} did not measure it")
    return _Earlier(line, (found,), "; ".join(_differences(found, tonight)))


def _stretch(line: Line, tonight: Session) -> _Earlier:
    for each in reversed(_stable(line)):
        stretch = line.points[each.start : each.end]
        nights = [point for point in stretch if not _differences(point, tonight)]
        if len(nights) >= STRETCH_NIGHTS:
            return _Earlier(line, tuple(nights[-STRETCH_NIGHTS:]))
    return _Earlier(
        line, reason=f"no {STRETCH_NIGHTS} earlier nights of one level on this host and kernel"
    )


def _differences(point: Point, tonight: Session) -> tuple[str, ...]:
    return differences(point.record, tonight, (), ())


def _stable(line: Line) -> list[Level]:
    """The stretches of one level; what a provisional change may have moved is not stable."""
    doubtful = [change.at for change in line.changes if change.state == "provisional"]
    end = min([*doubtful, len(line.points)])
    found = [
        replace(each, end=min(each.end, end)) for each in line.levels() if each.first == each.last
    ]
    return [each for each in found if each.start < each.end]


# -- how much nights differ -----------------------------------------------------------------------


def _with_floor(earlier: _Earlier) -> _Earlier:
    if earlier.reason or _known_nights(earlier.line):
        return earlier
    most = max((each.end - each.start for each in _stable(earlier.line)), default=0)
    return replace(
        earlier,
        reason=f"it takes {KNOWN_NIGHTS} nights of one level to know how much nights differ, and "
        f"there are {most}",
    )


def _known_nights(line: Line) -> list[int]:
    """Medians of the last stretch that has enough nights."""
    for each in reversed(_stable(line)):
        if each.end - each.start >= KNOWN_NIGHTS:
            return [point.median_ns for point in line.points[each.start : each.end]]
    return []


def _floors(cells: Sequence[_Earlier], confidence: float) -> Mapping[str, NoiseFloor]:
    found = {
        each.line.key.scenario: nights_floor(_known_nights(each.line), confidence) for each in cells
    }
    return {scenario: floor for scenario, floor in found.items() if floor is not None}


# -- their runs, and what is said of them ---------------------------------------------------------


def _runs_of(store: Store, cells: Sequence[_Earlier]) -> list[Run]:
    """Each cell's runs in the nights that were chosen for it."""
    runs = []
    for each in cells:
        sessions = [point.session for point in each.nights]
        columns = read_columns(store, sessions, scenario=each.line.key.scenario)
        runs += _runs_in(columns, [each.line])
    return runs


def _runs_in(columns: Columns, lines: Sequence[Line]) -> list[Run]:
    runs = []
    for line in lines:
        key = line.key
        chosen = columns.is_text("scenario", key.scenario)
        chosen &= columns.is_text("dimensions", key.dimensions)
        chosen &= columns.is_text("old_build", key.old_build)
        chosen &= columns.is_text("new_build", key.new_build)
        runs += lean_runs(columns.where(chosen))
    return runs


def _left_out(name: str, cells: Sequence[_Earlier]) -> list[str]:
    """One note for each reason, with the cells that it is given for."""
    reasons: dict[str, list[str]] = {}
    for each in cells:
        if each.reason:
            reasons.setdefault(each.reason, []).append(each.line.name)
    return [
        f"not compared with the {name}: {reason} ({', '.join(names)})"
        for reason, names in reasons.items()
    ]


def _changed_settings(name: str, nights: Sequence[Point], tonight: Session) -> list[str]:
    settings = [text for point in nights for text in doubts(point.record, tonight)]
    return [
        f"the host changed since the {name} (A), which may be what moved: {text}"
        for text in dict.fromkeys(settings)
    ]


def _moved_baselines(
    name: str,
    found: Sequence[Comparison],
    data: ReportData,
    lines: Sequence[Line],
    earlier: Sequence[_Earlier],
) -> list[str]:
    """Where a build is slower than before: how the baseline moved meanwhile, if it was there too.

    What both builds did is the host's doing, or that of what they share.
    """
    slower = {cell.scenario for each in found for cell in each.cells if cell.verdict == "regressed"}
    baseline = data.comparisons[0].label_a if data.comparisons else ""
    ids = {session.id for session in data.sessions}
    notes = []
    for each in earlier:
        key = replace(each.line.key, old_build=baseline, new_build=baseline)
        line = next((line for line in lines if line.key == key), None)
        if line is None or each.reason or key.scenario not in slower:
            continue
        nights = {point.session for point in each.nights}
        before, now = (
            median_ns(point.median_ns for point in line.points if point.session in sessions)
            for sessions in (nights, ids)
        )
        if before and now:
            notes.append(
                f"{line.name} moved by {(now / before - 1.0) * 100.0:+.1f} % since the {name} "
                f"({before / 1e6:.3g} → {now / 1e6:.3g} ms): what both builds did comes from the "
                "host or from what they share"
            )
    return notes


def _days(nights: Sequence[Point]) -> str:
    days = sorted(
        time.strftime("%Y-%m-%d", time.gmtime(point.started_unix_ns // 10**9)) for point in nights
    )
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
