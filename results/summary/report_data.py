"""All that a report shows, read from the store once; every format is a pure function of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np

from results.claims.catalogue import SET_ASIDE
from results.claims.document import ClaimsDocument, read_claims
from results.comparison.compare import Cell, Comparison, blocks_by_boot, compare
from results.comparison.host_noise import noise_floors
from results.comparison.plan import NIGHTLY_COMPARISONS
from results.comparison.verdict import Thresholds
from results.errors import UsageError
from results.instrument.certificates import Certificate, certificate_lines, known_so_far
from results.records.run import Run
from results.records.scenario import Session
from results.stats.slopes import Growth
from results.store.column_reader import read_columns
from results.store.store import SessionEnd, Store
from results.store.tables.columns import Columns, lean_runs
from results.summary.failures.rollbacks import Rollbacks, rollbacks
from results.summary.failures.unfinished import Unfinished, unfinished
from results.summary.failures.unproven import UnprovenGroup, unproven_groups

from .cells import FailureGroup, failure_groups
from .environment import environment_changes
from .matrix import MatrixCell, matrix_cells
from .redaction import redacted_claims, redacted_run, redacted_session, redacted_text
from .report_cells import Limit, ReportCell, read_records, report_cells
from .session_kind import SessionKind, has_measured, kind_of
from .sweep import growth_of

# A comparison weighs boots against boots; with more runs of a side it takes every k-th block.
MOST_COMPARED = 5_000
_MOST_ROLLBACKS = 10_000  # records of failed runs that are read for what they cost their guests


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """How a report is to judge: `limits` by scenario (`*` for all others), thresholds.

    With `redact` it is without what may be a secret, see results.summary.redaction.
    """

    limits: dict[str, Limit] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    strict: bool = False
    redact: bool = True

    def limit(self, scenario: str) -> Limit | None:
        """The budget of a scenario, None where it has none."""
        return self.limits.get(scenario, self.limits.get("*"))


@dataclass(frozen=True, slots=True)
class ReportData:
    """One session (or several that make up one night) as reports need it.

    `reference` is the session that the environment is compared with, `changed` what differs.
    `notes` name what was left out or thinned, and by which rule. What a session of one kind alone
    has is None or empty for the others: `claims`, `growth` of a sweep, `pairs` of a matrix, the
    `certificate` that a calibration or an overhead measurement wrote, and `anchors`, comparisons of
    a night with earlier ones (results.history.anchors).
    """

    sessions: tuple[Session, ...]
    end: SessionEnd
    columns: Columns
    cells: tuple[ReportCell, ...]
    comparisons: tuple[Comparison, ...]
    failures: tuple[tuple[FailureGroup, tuple[Run, ...]], ...]
    unproven: tuple[UnprovenGroup, ...] = ()
    reference: Session | None = None
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    claims: ClaimsDocument | None = None
    growth: Growth | None = None
    pairs: tuple[MatrixCell, ...] = ()
    certificate: Certificate | None = None
    anchors: tuple[Comparison, ...] = ()
    rollbacks: Rollbacks | None = None  # what failed updates cost their guests
    store: str = "out"

    @property
    def session(self) -> Session:
        """The latest of the sessions."""
        return self.sessions[-1]

    @property
    def kind(self) -> SessionKind:
        """What kind of session the latest one is."""
        return kind_of(self.session)

    @property
    def unfinished(self) -> Unfinished | None:
        """What was done of a session that ended early; None for one that is complete."""
        return unfinished(self.sessions, self.end, *total_runs(self))

    @property
    def worse_than_before(self) -> tuple[tuple[Comparison, Cell], ...]:
        """What is slower or fails more often than in an earlier night.

        Most other verdicts against earlier nights are undecided, as nights differ: no findings.
        """
        return tuple(
            (comparison, cell)
            for comparison in self.anchors
            for cell in comparison.cells
            if cell.verdict == "regressed" or cell.more_failures
        )

    def is_baseline(self, cell: ReportCell) -> bool:
        """Whether other builds are compared with the cell's: its budget is noted, not judged."""
        return _is_baseline(cell, self.comparisons)


def _is_baseline(cell: ReportCell, comparisons: Sequence[Comparison]) -> bool:
    return any(comparison.label_a == cell.builds for comparison in comparisons)


def read_report_data(
    store: Store, sessions: Sequence[str], options: ReportOptions | None = None
) -> ReportData:
    """Read what a report of `sessions` (full ids) takes. Raises UsageError without a run."""
    options = options or ReportOptions()
    records = tuple(store.session(session) for session in sessions)
    latest, kind = records[-1], kind_of(records[-1])
    columns = read_columns(store, sessions)
    if not len(columns):
        raise UsageError(f"session {latest.id} holds no run yet: nothing to report")
    claims = read_claims(store.path, latest.id)
    if claims is not None:
        columns = _statistical(columns)
    notes: list[str] = []
    # Claims are tested with few boots: enough for their verdicts, not to compare builds.
    comparisons = () if claims else _comparisons(store, records, columns, options, notes)
    cells, left_out = report_cells(store, columns, options.limit, _labels(records))
    failures = tuple((g, read_records(store, columns, g.first)) for g in failure_groups(columns))
    unproven = _unproven(store, columns)
    reference = _reference(store, records, columns)
    notes += _baselines_over_budget(cells, comparisons)
    notes += _failures_of_baselines(cells, comparisons)
    data = ReportData(
        sessions=records,
        end=store.session_end(latest.id),
        columns=columns,
        cells=cells,
        comparisons=comparisons,
        failures=failures,
        unproven=unproven,
        reference=reference,
        changed=environment_changes(reference, latest) if reference else (),
        notes=(*left_out, *notes, *(damage.text for damage in store.damages)),
        certificates=tuple(certificate_lines(store.path, latest, latest.builds)),
        claims=claims,
        growth=growth_of(lean_runs(columns)) if kind == "sweep" else None,
        pairs=matrix_cells(lean_runs(columns), _labels(records)) if kind == "matrix" else (),
        certificate=_certificate(store, latest),
        rollbacks=_rollbacks(store, sessions) if failures else None,
        store=str(store.path),
    )
    return _redacted(data) if options.redact else data


def _redacted(data: ReportData) -> ReportData:
    """Of all that it quotes: command lines, the kernel's parameters, QEMU's messages."""
    reference = data.reference and redacted_session(data.reference)
    sessions = tuple(map(redacted_session, data.sessions))
    return replace(
        data,
        sessions=sessions,
        reference=reference,
        columns=_redacted_reasons(data.columns),
        changed=environment_changes(reference, sessions[-1]) if reference else (),
        failures=tuple(
            (replace(group, reason=redacted_text(group.reason)), tuple(map(redacted_run, runs)))
            for group, runs in data.failures
        ),
        unproven=tuple(replace(g, reason=redacted_text(g.reason)) for g in data.unproven),
        claims=data.claims and redacted_claims(data.claims),
    )


def _redacted_reasons(columns: Columns) -> Columns:
    codes, words = columns.texts["reason"]
    return replace(
        columns, texts=columns.texts | {"reason": (codes, tuple(map(redacted_text, words)))}
    )


def _rollbacks(store: Store, sessions: Sequence[str]) -> Rollbacks | None:
    failed = chain.from_iterable(store.iter_runs(session=s, outcome="failed") for s in sessions)
    counted = (run for run in failed if not run.scenario.startswith(SET_ASIDE))
    return rollbacks(islice(counted, _MOST_ROLLBACKS))


def _unproven(store: Store, columns: Columns) -> tuple[UnprovenGroup, ...]:
    at = np.flatnonzero(columns.is_text("proof", "unproven"))
    return unproven_groups(read_records(store, columns, at.tolist()))


def _certificate(store: Store, session: Session) -> Certificate | None:
    """The certificate that this session wrote; None where another session has replaced it."""
    for build in session.builds:
        found = known_so_far(store.path, session, build)
        if session.id in (found.session, found.watched_session):
            return found
    return None


def _baselines_over_budget(
    cells: Sequence[ReportCell], comparisons: Sequence[Comparison]
) -> list[str]:
    return [
        f"{cell.summary.scenario} on {cell.builds} missed its budget, {cell.budget.within} of "
        f"{cell.budget.total} under {cell.budget.limit_ns / 1e6:g} ms: noted only, as other builds "
        "are compared with it"
        for cell in cells
        if cell.over_budget and cell.budget is not None and _is_baseline(cell, comparisons)
    ]


def _failures_of_baselines(
    cells: Sequence[ReportCell], comparisons: Sequence[Comparison]
) -> list[str]:
    """What a baseline alone did to its guests is noted; damage is a finding on either side."""
    return [
        f"{cell.summary.scenario} on {cell.builds}: {cell.summary.failed} of "
        f"{cell.summary.failed + cell.summary.valid} runs failed, the guest was lost in {lost} of "
        f"{cell.summary.boots} boots: noted only, as other builds are compared with it"
        for cell in cells
        if cell.summary.failed and _is_baseline(cell, comparisons)
        for lost in [cell.summary.harmed_boots.get("loss", 0)]
    ]


def _statistical(columns: Columns) -> Columns:
    """The runs without those that were tried to see them refused or go wrong."""
    codes, words = columns.texts["scenario"]
    aside = [code for code, word in enumerate(words) if word.startswith(SET_ASIDE)]
    return columns.where(~np.isin(codes, aside))


def _labels(sessions: Sequence[Session]) -> list[str]:
    """The builds in the order in which the sessions name them: the first is the baseline."""
    return list(dict.fromkeys(build.label for session in sessions for build in session.builds))


def _comparisons(
    store: Store,
    sessions: Sequence[Session],
    columns: Columns,
    options: ReportOptions,
    notes: list[str],
) -> tuple[Comparison, ...]:
    """Updates to the first build itself against those to every other one, as they were measured."""
    labels = _labels(sessions)
    in_blocks = sessions[-1].environment.get("order", "").startswith("blocks")
    sides = {label: _side(columns, label) for label in labels}
    present = [label for label in labels if len(sides[label])]
    # A night also compares each cell with its anchors: these count among its comparisons.
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
                options.thresholds,
                block_of=blocks_by_boot() if in_blocks else None,
                noise=noise_floors(store, sessions[-1], runs_a),
                comparisons=NIGHTLY_COMPARISONS if at_night else 1,
                strict=options.strict,
            )
        )
    return tuple(found)


def _side(columns: Columns, label: str) -> Columns:
    return columns.where(columns.is_text("old_build", label) & columns.is_text("new_build", label))


def _thinned(side: Columns, label: str, notes: list[str]) -> Columns:
    """Every k-th block of two boots, chosen by their numbers and never by their values."""
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
    """The latest earlier session that measured one of these cells, but no self-check of a night."""
    _, dimensions = columns.texts["dimensions"]
    before = min(session.started_unix_ns for session in sessions)
    while (earlier := store.session_before(before, dimensions)) is not None:
        session = store.session(earlier)
        if has_measured(session):
            return session
        before = session.started_unix_ns
    return None


def total_runs(material: ReportData) -> tuple[int, int]:
    """Valid and failed runs."""
    valid = int(np.count_nonzero(material.columns.completed))
    return valid, len(material.columns) - valid
