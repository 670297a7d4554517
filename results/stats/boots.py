"""Runs as a comparison takes them: one value per guest boot, in the blocks they were measured in.

A boot is one number within one session, as in results.stats.intervals. Failed runs are counted
and have no value. All values are integer nanoseconds.

A stratum is what is compared with itself only: some consecutive A B B A blocks. Blocks of 2 and 2
boots alone waste a fifth of the boots, as they say nothing of how blocks lie to one another, and
three of them cannot give a p below 0.009; all boots as one stratum see every drift of the host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from results.records.harm import harm_of, worst
from results.records.run import Run
from results.records.sentences.kind import Harm

from .intervals import median_ns
from .proportions import Failures
from .shift import Stratum

BootKey = tuple[str, int]
# The session and the number of the block in which a run's boot was measured, or None where nothing
# was interleaved.
Block = tuple[str, int]
BlockOf = Callable[[Run], Block | None]
# Boots of each side that a stratum has at least, where there are so many. Simulated with 2, 4, 8,
# 16 and all (docs/rates.md): 8 lose nothing that can be seen to all on a host that drifts by 4 %.
BOOTS_PER_STRATUM = 8

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

    None for a failed run, and for a phase without a span.
    """
    if run.outcome != "completed":
        return None
    if metric in _FIELDS:
        value: int | None = getattr(run, _FIELDS[metric])
        return value
    return next((span.blackout_ns for span in run.spans if span.name == metric), None)


def boot_values(runs: Iterable[Run], metric: str) -> dict[BootKey, list[int]]:
    """Every boot with a valid run in first-seen order, and the values of its valid runs.

    A phase that others of the runs have counts as 0 in a run whose phases are known. One that none
    of them has may have no probe in that build: it has no values at all.
    """
    known = list(runs)
    values = [measure(run, metric) for run in known]
    occurs = metric not in _FIELDS and any(value is not None for value in values)
    boots: dict[BootKey, list[int]] = {}
    for run, value in zip(known, values, strict=True):
        if value is None and occurs and _phases_known(run):
            value = 0
        if value is not None:
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


def _phases_known(run: Run) -> bool:
    return run.outcome == "completed" and run.blackout_ns is not None and bool(run.spans)


def boots_with(runs: Iterable[Run], phase: str) -> int:
    """Boots in which a phase had a share of the blackout of any valid run."""
    return len({(run.session, run.boot) for run in runs if measure(run, phase)})


def medians(boots: dict[BootKey, list[int]]) -> list[int]:
    """The one value that each boot counts with."""
    return [m for values in boots.values() if (m := median_ns(values)) is not None]


def blocks_by_boot(boots_per_side: int = 2) -> BlockOf:
    """Blocks of a session that numbers each side's boots from 1: A B B A has 2 of each side."""
    return lambda run: (run.session, (run.boot - 1) // boots_per_side)


def strata(
    runs_a: Sequence[Run], runs_b: Sequence[Run], metric: str, block_of: BlockOf
) -> list[Stratum]:
    """Boots by stratum, A's and B's; blocks without boots of both sides are left out."""
    found: dict[Block, tuple[list[int], list[int]]] = {}
    for side, runs in enumerate((runs_a, runs_b)):
        blocks = {(run.session, run.boot): block_of(run) for run in runs}
        for boot, values in boot_values(runs, metric).items():
            block, middle = blocks[boot], median_ns(values)
            if block is not None and middle is not None:
                found.setdefault(block, ([], []))[side].append(middle)
    whole = {block: found[block] for block in sorted(found) if all(found[block])}
    sessions = dict.fromkeys(session for session, _ in whole)
    return [
        stratum
        for session in sessions
        for stratum in joined([both for block, both in whole.items() if block[0] == session])
    ]


def joined(blocks: Iterable[Stratum], boots: int = BOOTS_PER_STRATUM) -> list[Stratum]:
    """Consecutive blocks as strata: each is closed when it has so many boots of both sides.

    How many are joined depends on the number of boots alone, never on their values.
    """
    found: list[tuple[list[int], list[int]]] = []
    for a, b in blocks:
        if not found or min(map(len, found[-1])) >= boots:
            found.append(([], []))
        found[-1][0].extend(a)
        found[-1][1].extend(b)
    return list(found)


def strata_sizes(boots: int) -> tuple[tuple[int, int], ...]:
    """The strata that `boots` boots of each side give when they are interleaved and none fails."""
    whole, rest = divmod(boots, BOOTS_PER_STRATUM)
    sizes = ((BOOTS_PER_STRATUM, BOOTS_PER_STRATUM),) * whole
    return (*sizes, (rest, rest)) if rest else sizes


def count_failures(runs: Iterable[Run]) -> Failures:
    """Failed and all runs, failing and all boots, each by the worst harm to its guest."""
    boots: dict[BootKey, list[Harm | None]] = {}
    for run in runs:
        boots.setdefault((run.session, run.boot), []).append(harm_of(run))
    of_runs = Counter(harm for harms in boots.values() for harm in harms)
    of_boots = Counter(worst(harms) for harms in boots.values())
    return Failures(
        runs=of_runs.total() - of_runs[None],
        total_runs=of_runs.total(),
        boots=of_boots.total() - of_boots[None],
        total_boots=of_boots.total(),
        damaged_runs=of_runs["damage"],
        lost_runs=of_runs["loss"],
        not_updated_runs=of_runs["update-failed"],
        damaged_boots=of_boots["damage"],
        lost_boots=of_boots["loss"],
        not_updated_boots=of_boots["update-failed"],
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
