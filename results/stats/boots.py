"""Runs as a comparison takes them: one value per guest boot, in the blocks they were measured in.

A boot is one number within one session, as in results.stats.intervals. Failed runs are counted
and have no value. All values are integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from results.records.run import Run

from .intervals import median_ns
from .proportions import Failures
from .shift import Stratum

BootKey = tuple[str, int]
# The block in which a run's boot was measured, or None where nothing was interleaved.
BlockOf = Callable[[Run], Hashable | None]

RESIDUAL = "residual"
_FIELDS = {
    "blackout": "blackout_ns",
    "guest_gap": "guest_gap_ns",
    "first_progress": "first_progress_ns",
    "dark": "dark_ns",
    "handover": "handover_ns",
    RESIDUAL: "residual_ns",
}


def measure(run: Run, metric: str) -> int | None:
    """A valid run's `metric`: blackout, guest_gap, … or a phase's share of the blackout, ns.

    None for a failed run, and for a phase without a span: a phase that was not seen is not known
    to be 0.
    """
    if run.outcome != "completed":
        return None
    if metric in _FIELDS:
        value: int | None = getattr(run, _FIELDS[metric])
        return value
    return next((span.blackout_ns for span in run.spans if span.name == metric), None)


def boot_values(runs: Iterable[Run], metric: str) -> dict[BootKey, list[int]]:
    """Every boot with a valid run in first-seen order, and the values of its valid runs."""
    boots: dict[BootKey, list[int]] = {}
    for run in runs:
        if (value := measure(run, metric)) is not None:
            boots.setdefault((run.session, run.boot), []).append(value)
    return boots


def values_or_failures(runs: Iterable[Run], metric: str) -> dict[BootKey, list[int | None]]:
    """As `boot_values`, with None for every failed run; boots that only failed are there too."""
    boots: dict[BootKey, list[int | None]] = {}
    for run in runs:
        value = measure(run, metric)
        if value is not None or run.outcome != "completed":
            boots.setdefault((run.session, run.boot), []).append(value)
    return boots


def medians(boots: dict[BootKey, list[int]]) -> list[int]:
    """The one value that each boot counts with."""
    return [m for values in boots.values() if (m := median_ns(values)) is not None]


def blocks_by_boot(boots_per_side: int = 2) -> BlockOf:
    """Blocks of a session that numbers each side's boots from 1: A B B A has 2 of each side."""
    return lambda run: (run.session, (run.boot - 1) // boots_per_side)


def strata(
    runs_a: Sequence[Run], runs_b: Sequence[Run], metric: str, block_of: BlockOf
) -> list[Stratum]:
    """Boots by block, A's and B's; boots outside any block are left out."""
    found: dict[Hashable, tuple[list[int], list[int]]] = {}
    for side, runs in enumerate((runs_a, runs_b)):
        blocks = {(run.session, run.boot): block_of(run) for run in runs}
        for boot, values in boot_values(runs, metric).items():
            block, middle = blocks[boot], median_ns(values)
            if block is not None and middle is not None:
                found.setdefault(block, ([], []))[side].append(middle)
    return [(a, b) for a, b in found.values() if a and b]


def count_failures(runs: Iterable[Run]) -> Failures:
    """Failed and all runs, failing and all boots."""
    outcomes: dict[BootKey, list[bool]] = {}
    for run in runs:
        outcomes.setdefault((run.session, run.boot), []).append(run.outcome == "failed")
    return Failures(
        runs=sum(map(sum, outcomes.values())),
        total_runs=sum(map(len, outcomes.values())),
        boots=sum(map(any, outcomes.values())),
        total_boots=len(outcomes),
    )


def phase_names(runs: Iterable[Run]) -> tuple[str, ...]:
    """Phases with a share of the blackout in any valid run, then what no phase explains."""
    valid = [run for run in runs if run.outcome == "completed"]
    names = dict.fromkeys(name for run in valid for name in run.phases)
    if any(run.residual_ns is not None for run in valid):
        names[RESIDUAL] = None
    return tuple(names)


def measured_apart(runs_a: Sequence[Run], runs_b: Sequence[Run]) -> bool:
    """Whether one side was over before the other began: a drifting host then looks like a shift."""
    if not runs_a or not runs_b:
        return False
    spans = [
        (min(r.started_unix_ns for r in runs), max(r.started_unix_ns for r in runs))
        for runs in (runs_a, runs_b)
    ]
    (start_a, end_a), (start_b, end_b) = spans
    return end_a < start_b or end_b < start_a
