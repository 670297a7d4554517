"""The cells of a report: one scenario on one pair of builds each, with all that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from results.errors import RecordInvalid
from results.records.harm import HARMS
from results.records.run import Run, Summary
from results.records.sentences.kind import Harm
from results.stats.proportions import Budget
from results.store.store import Store
from results.store.tables.columns import Columns, Integers

from .caveats import Doubt, doubts_of
from .cells import Testimony, budget_of, hear_witnesses, summarise_cell, worst_and_median
from .sweep import swept_guest

# Doubts are found in complete records, which are read one by one.
MOST_DOUBTED = 3_000
# Cells of which the worst and a median run are read as complete records.
MOST_PICKED = 24

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget: at least `share` of a scenario's runs are to stay under `limit_ns`."""

    limit_ns: int
    share: float = 0.95

    def kept(self, budget: Budget) -> bool:
        """Whether it was kept; failed runs did not keep it, and without any run it is not kept."""
        # 0.07 * 100 is more than 7 by its last bit.
        return budget.total > 0 and budget.within >= self.share * budget.total - 1e-9


@dataclass(frozen=True, slots=True)
class ReportCell:
    """One scenario on one pair of builds; `worst` and `median` are runs of it."""

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
    def is_upgrade(self) -> bool:
        """Whether old and new QEMU are of different builds."""
        return self.summary.old_build != self.summary.new_build

    @property
    def harms(self) -> tuple[Harm, ...]:
        """What its failed runs did to their guests, the worst first."""
        return tuple(harm for harm in HARMS if harm in self.summary.harmed_runs)

    @property
    def over_budget(self) -> bool:
        """Whether a budget was given and not kept."""
        if self.budget is None or self.limit is None:
            return False
        return not self.limit.kept(self.budget)


def report_cells(
    store: Store,
    columns: Columns,
    limit_of: Callable[[str], Limit | None],
    labels: Sequence[str],
) -> tuple[tuple[ReportCell, ...], tuple[str, ...]]:
    """The cells in the order in which they are shown, and notes on what was left out.

    `limit_of` gives a scenario's budget; `labels` are the builds in the session's order.
    """
    ordered = _ordered(columns, labels)
    doubted = len(columns) <= MOST_DOUBTED
    cells = tuple(
        _cell(
            store,
            key,
            columns.where(at),
            limit_of(key[0]),
            picked=number < MOST_PICKED,
            doubted=doubted,
        )
        for number, (key, at) in enumerate(ordered)
    )
    notes = []
    if not doubted:
        notes.append(f"no doubts are listed: they take {MOST_DOUBTED} runs or fewer")
    if len(ordered) > MOST_PICKED:
        notes.append(f"single updates are shown for the first {MOST_PICKED} of {len(ordered)} rows")
    return cells, tuple(notes)


def _cell(
    store: Store, key: _Key, cell: Columns, limit: Limit | None, *, picked: bool, doubted: bool
) -> ReportCell:
    found = worst_and_median(cell) if picked else None
    worst, median = (_read_record(store, cell, i) for i in found) if found else (None, None)
    return ReportCell(
        summarise_cell(key, cell),
        cell,
        hear_witnesses(cell),
        budget_of(cell, limit.limit_ns) if limit else None,
        limit,
        worst=worst,
        median=median,
        doubts=doubts_of(read_records(store, cell, range(len(cell)))) if doubted else (),
    )


def read_records(store: Store, columns: Columns, at: Iterable[int]) -> tuple[Run, ...]:
    """The complete records of the runs at these positions, without those that are damaged."""
    found = (_read_record(store, columns, i) for i in at)
    return tuple(run for run in found if run is not None)


def _read_record(store: Store, columns: Columns, at: int) -> Run | None:
    """The complete record of the run at this position; None where it is damaged.

    The store's `damages` name it. Raises RecordInvalid for one that is malformed.
    """
    try:
        return store.run_by_seq(int(columns.numbers["seq"][at]))
    except RecordInvalid:
        if not store.damages:
            raise
        return None


def _ordered(columns: Columns, labels: Sequence[str]) -> list[tuple[_Key, Integers]]:
    """Cells of one scenario together, updates to the same build before upgrades.

    Scenarios in first-seen order; those of a sweep, which are shuffled, by size.
    """
    cells = columns.cells()
    scenarios = sorted(dict.fromkeys((key[0], key[1]) for key, _ in cells), key=_by_size)
    builds = list(dict.fromkeys([*labels, *columns.texts["old_build"][1]]))
    return sorted(
        cells,
        key=lambda cell: (
            scenarios.index(cell[0][:2]),
            cell[0][2] != cell[0][3],
            builds.index(cell[0][2]),
        ),
    )


def _by_size(scenario: tuple[str, str]) -> tuple[str, str, float]:
    guest = swept_guest(scenario[0])
    return ("", "", 0.0) if guest is None else (guest.scenario, guest.mode, guest.value)
