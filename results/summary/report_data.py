"""All that a report shows, taken from the store once; every format is a pure function of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from results.claims.catalogue import SET_ASIDE
from results.claims.document import ClaimsDocument, read_claims
from results.comparison.compare import Comparison, blocks_by_boot, compare
from results.comparison.compatibility import doubts
from results.comparison.host_noise import noise_floors
from results.comparison.plan import NIGHTLY_COMPARISONS
from results.comparison.verdict import Thresholds
from results.errors import RecordInvalid, UsageError
from results.instrument.certificates import certificate_lines
from results.records.run import Run, Summary
from results.records.scenario import Session
from results.stats.proportions import Budget
from results.store.column_reader import read_columns
from results.store.columns import Columns, Integers, lean_runs
from results.store.store import SessionEnd, Store

from .caveats import Doubt, doubts_of
from .cells import (
    FailureGroup,
    Testimony,
    budget_of,
    failure_groups,
    hear_witnesses,
    summarise_cell,
    worst_and_median,
)

# A comparison weighs boots against boots; beyond so many runs of a side it takes every k-th block.
MOST_COMPARED = 5_000
# Doubts rest on whole records, which are read one by one.
MOST_DOUBTED = 3_000
# Cells whose worst and median run are taken out as full records.
MOST_PICKED = 24
_NOT_SETTINGS = frozenset({"seed", "order"})


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget: at least `share` of a scenario's runs are to stay under `limit_ns`."""

    limit_ns: int
    share: float = 0.95

    def kept(self, budget: Budget) -> bool:
        """Whether it was; failed runs did not keep it, and without any run it is not kept."""
        # 0.07 * 100 is more than 7 by its last bit.
        return budget.total > 0 and budget.within >= self.share * budget.total - 1e-9


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario on one pair of builds, with what belongs to it."""

    summary: Summary
    columns: Columns
    testimonies: tuple[Testimony, ...]
    budget: Budget | None = None
    limit: Limit | None = None
    worst: Run | None = None
    median: Run | None = None
    doubts: tuple[Doubt, ...] = ()

    @property
    def builds(self) -> str:
        """`system`, or `10.0.2 → 11.1.3`."""
        old, new = self.summary.old_build, self.summary.new_build
        return old if old == new else f"{old} → {new}"

    @property
    def over_budget(self) -> bool:
        """Whether a budget was asked for and not kept."""
        if self.budget is None or self.limit is None:
            return False
        return not self.limit.kept(self.budget)


@dataclass(frozen=True, slots=True)
class Asked:
    """How a report is to judge: `limits` by scenario (`*` for all others), thresholds."""

    limits: dict[str, Limit] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    strict: bool = False

    def limit(self, scenario: str) -> Limit | None:
        return self.limits.get(scenario, self.limits.get("*"))


@dataclass(frozen=True, slots=True)
class Material:
    """One session (or several that make up one night) as reports need it.

    `reference` is the session that the environment is compared with, `changed` what differs.
    `notes` say what was left out or thinned, and by which rule: nothing is dropped silently.
    """

    sessions: tuple[Session, ...]
    end: SessionEnd
    columns: Columns
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]
    failures: tuple[tuple[FailureGroup, tuple[Run, ...]], ...]
    reference: Session | None = None
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    claims: ClaimsDocument | None = None  # None where the session tried none
    store: str = "out"

    @property
    def session(self) -> Session:
        """The latest of the sessions."""
        return self.sessions[-1]

    def is_baseline(self, cell: Cell) -> bool:
        """Whether other builds are compared with the cell's: its budget is noted, not judged."""
        return _is_baseline(cell, self.comparisons)


def _is_baseline(cell: Cell, comparisons: Sequence[Comparison]) -> bool:
    return any(comparison.label_a == cell.builds for comparison in comparisons)


def gather(store: Store, sessions: Sequence[str], asked: Asked | None = None) -> Material:
    """Read what a report of `sessions` (full ids) takes. Raises UsageError without a run."""
    asked = asked or Asked()
    records = tuple(store.session(session) for session in sessions)
    columns = read_columns(store, sessions)
    if not len(columns):
        raise UsageError(f"session {sessions[-1]} holds no run yet: nothing to report")
    notes: list[str] = []
    claims = read_claims(store.path, sessions[-1])
    if claims is not None:
        columns = _statistical(columns)
    failures = [(g, tuple(_records(store, columns, g.first))) for g in failure_groups(columns)]
    reference = _reference(store, records, columns)
    cells = _cells(store, columns, asked, _labels(records), notes)
    # Claims are tried with few boots: enough for their verdicts, not to compare builds.
    comparisons = () if claims is not None else _comparisons(store, records, columns, asked, notes)
    notes += _baselines_over_budget(cells, comparisons)
    return Material(
        sessions=records,
        end=store.session_end(sessions[-1]),
        columns=columns,
        cells=cells,
        comparisons=comparisons,
        failures=tuple(failures),
        reference=reference,
        changed=environment_changes(reference, records[-1]) if reference else (),
        notes=(*notes, *(damage.text for damage in store.damages)),
        certificates=tuple(certificate_lines(store.path, records[-1], records[-1].builds)),
        claims=claims,
        store=str(store.path),
    )


def _baselines_over_budget(cells: Sequence[Cell], comparisons: Sequence[Comparison]) -> list[str]:
    return [
        f"{cell.summary.scenario} on {cell.builds} missed its budget, {cell.budget.within} of "
        f"{cell.budget.total} under {cell.budget.limit_ns / 1e6:g} ms: noted only, as other builds "
        "are compared with it"
        for cell in cells
        if cell.over_budget and cell.budget is not None and _is_baseline(cell, comparisons)
    ]


def _statistical(columns: Columns) -> Columns:
    """The runs without those that were tried to see them refused or go wrong."""
    codes, words = columns.texts["scenario"]
    aside = [code for code, word in enumerate(words) if word.startswith(SET_ASIDE)]
    return columns.where(~np.isin(codes, aside))


def _labels(sessions: Sequence[Session]) -> list[str]:
    """The builds in the order in which the sessions name them: the first is what others meet."""
    return list(dict.fromkeys(build.label for session in sessions for build in session.builds))


def _cells(
    store: Store, columns: Columns, asked: Asked, labels: Sequence[str], notes: list[str]
) -> tuple[Cell, ...]:
    positions = _ordered(columns, labels)
    cells = []
    for number, (key, at) in enumerate(positions):
        cell = columns.where(at)
        limit = asked.limit(key[0])
        picked = worst_and_median(cell) if number < MOST_PICKED else None
        worst, median = (_record(store, cell, i) for i in picked) if picked else (None, None)
        cells.append(
            Cell(
                summarise_cell(key, cell),
                cell,
                hear_witnesses(cell),
                budget_of(cell, limit.limit_ns) if limit else None,
                limit,
                worst=worst,
                median=median,
                doubts=doubts_of(_records(store, cell, range(len(cell))))
                if len(columns) <= MOST_DOUBTED
                else (),
            )
        )
    if len(columns) > MOST_DOUBTED:
        notes.append(
            f"doubts are looked for in at most {MOST_DOUBTED} runs, not in these {len(columns)}"
        )
    if len(positions) > MOST_PICKED:
        notes.append(
            f"single handovers are shown of the first {MOST_PICKED} of {len(positions)} cells"
        )
    return tuple(cells)


def _ordered(
    columns: Columns, labels: Sequence[str]
) -> list[tuple[tuple[str, str, str, str], Integers]]:
    """Cells of one scenario together, a build handed to itself before upgrades."""
    cells = columns.cells()
    scenarios = list(dict.fromkeys((key[0], key[1]) for key, _ in cells))
    builds = list(dict.fromkeys([*labels, *columns.texts["old_build"][1]]))
    return sorted(
        cells,
        key=lambda cell: (
            scenarios.index(cell[0][:2]),
            cell[0][2] != cell[0][3],
            builds.index(cell[0][2]),
        ),
    )


def _records(store: Store, columns: Columns, at: Iterable[int]) -> Iterator[Run]:
    """Without those whose records are damaged."""
    found = (_record(store, columns, i) for i in at)
    return (run for run in found if run is not None)


def _record(store: Store, columns: Columns, at: int) -> Run | None:
    """None where the record is damaged; the store names it."""
    try:
        return store.run_by_seq(int(columns.numbers["seq"][at]))
    except RecordInvalid:
        if not store.damages:
            raise
        return None


def _comparisons(
    store: Store,
    sessions: Sequence[Session],
    columns: Columns,
    asked: Asked,
    notes: list[str],
) -> tuple[Comparison, ...]:
    """The first build handed to itself against every other one, as the session measured them."""
    labels = _labels(sessions)
    in_blocks = sessions[-1].environment.get("order", "").startswith("blocks")
    sides = {label: _side(columns, label) for label in labels}
    present = [label for label in labels if len(sides[label])]
    # What a night says of a cell against its anchors counts among the night's comparisons.
    at_night = "night" in sessions[-1].environment
    found = []
    for label in present[1:]:
        runs_a, runs_b = (
            lean_runs(_thinned(sides[name], name, notes)) for name in (present[0], label)
        )
        found.append(
            compare(
                runs_a,
                runs_b,
                asked.thresholds,
                block_of=blocks_by_boot() if in_blocks else None,
                noise=noise_floors(store, sessions[-1], runs_a),
                comparisons=NIGHTLY_COMPARISONS if at_night else 1,
                strict=asked.strict,
            )
        )
    return tuple(found)


def _side(columns: Columns, label: str) -> Columns:
    return columns.where(columns.is_text("old_build", label) & columns.is_text("new_build", label))


def _thinned(side: Columns, label: str, notes: list[str]) -> Columns:
    """Every k-th block of two boots, by the boots' numbers alone: their values have no say."""
    if len(side) <= MOST_COMPARED:
        return side
    step = -(-len(side) // MOST_COMPARED)
    kept = side.where(((side.numbers["boot"] - 1) // 2) % step == 0)
    note = (
        f"verdicts weigh every {step}th block of two boots of {label}: {len(kept)} of its "
        f"{len(side)} runs; all other numbers are of all runs"
    )
    if note not in notes:
        notes.append(note)
    return kept


def _reference(store: Store, sessions: Sequence[Session], columns: Columns) -> Session | None:
    """The latest earlier session that measured one of these cells."""
    _, dimensions = columns.texts["dimensions"]
    before = min(session.started_unix_ns for session in sessions)
    earlier = store.session_before(before, dimensions)
    return store.session(earlier) if earlier else None


def environment_changes(before: Session, after: Session) -> tuple[str, ...]:
    """`kernel: 6.1 → 6.12` for every fact that differs, the known movers of pauses first."""
    first = [text.partition(":")[0] for text in doubts(before, after)]
    keys = [*first, *sorted({*before.environment, *after.environment} - set(first))]
    old, new = before.environment, after.environment
    found = [
        f"{key}: {old.get(key, 'not recorded')} → {new.get(key, 'not recorded')}"
        for key in keys
        if old.get(key) != new.get(key) and key not in _NOT_SETTINGS
    ]
    versions = ({b.label: b.version for b in s.builds} for s in (before, after))
    was, now = versions
    return (
        *found,
        *(f"QEMU {k}: {was[k]} → {now[k]}" for k in now if k in was and was[k] != now[k]),
    )


def total_runs(material: Material) -> tuple[int, int]:
    """Valid and failed runs."""
    valid = int(np.count_nonzero(material.columns.completed))
    return valid, len(material.columns) - valid
