"""Summaries, witnesses and failures of many runs, from columns.

The unit of analysis is the guest boot, as in results.stats.intervals. Failed runs are counted and
never averaged. What cannot be computed is None, never 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from results.records.harm import HARMS, harm_in, worst
from results.records.run import Summary
from results.records.sentences.kind import Harm
from results.stats.intervals import interval_over_boots
from results.stats.proportions import Budget, budget_line
from results.store.tables.columns import (
    MISSING,
    WITNESSES,
    Columns,
    Flags,
    Integers,
    median_of,
    medians_by,
)


@dataclass(frozen=True, slots=True)
class Testimony:
    """What one witness saw in a cell's valid runs: in how many, and how long the pause was.

    `median_ns` is the median over boots of each boot's median. `error_percent` is the median over
    runs of each run's (witness - blackout) / blackout; it is not the quotient of two medians.
    """

    witness: str
    runs: int
    median_ns: int | None
    error_percent: float | None


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed runs whose reasons differ in numbers only; `first` are positions in the columns."""

    reason: str
    runs: int
    scenarios: tuple[str, ...]
    first: tuple[int, ...]


def summarise(columns: Columns) -> tuple[Summary, ...]:
    """One Summary per (scenario, dimensions, old build, new build), in first-seen order."""
    return tuple(summarise_cell(key, columns.where(at)) for key, at in columns.cells())


def summarise_cell(key: tuple[str, str, str, str], cell: Columns) -> Summary:
    """The Summary of one cell: `key` and its runs, as Columns.cells gives them.

    `updates` is the largest number of runs that a boot has, failed ones included; the medians of
    the handover, the guest's gap and the like are taken over all valid runs of the cell.
    """
    scenario, dimensions, old, new = key
    completed = cell.completed
    _, medians = cell.boot_medians()
    bounds, method = interval_over_boots(medians.tolist())
    _, counts = np.unique(cell.boots(), return_counts=True)
    operations = cell.numbers["device_operations"]
    qemu = _testimony(cell, "qemu", "qemu_ns")
    harmed_runs, harmed_boots = _harms(cell)
    return Summary(
        scenario=scenario,
        old_build=old,
        new_build=new,
        boots=len(counts),
        updates=int(counts.max(initial=0)),
        valid=int(completed.sum()),
        failed=int((~completed).sum()),
        median_ns=median_of(medians),
        low_ns=bounds[0] if bounds else None,
        high_ns=bounds[1] if bounds else None,
        max_ns=_largest(cell.known("blackout_ns")),
        interval=method,
        qemu_median_ns=qemu.median_ns,
        qemu_error_percent=qemu.error_percent,
        phases=phase_medians(cell),
        phase_boots=phase_boots(cell),
        valid_boots=len(medians),
        handover_median_ns=median_of(cell.known("handover_ns")),
        guest_gap_median_ns=median_of(cell.known("guest_gap_ns")),
        first_progress_median_ns=median_of(cell.known("first_progress_ns")),
        dimensions=dimensions,
        proofs=_proofs(cell),
        brownout_median_ns=median_of(_brownouts(cell)),
        device_operations=int(operations[operations != MISSING].sum()),
        device_troubles=int((cell.numbers["device_troubles"] > 0).sum()),
        device_gap_ns=_largest(cell.known("device_gap_ns")),
        harmed_runs=harmed_runs,
        harmed_boots=harmed_boots,
    )


def _harms(cell: Columns) -> tuple[dict[str, int], dict[str, int]]:
    """Failed runs by harm, and failing boots by their worst."""
    failed = np.flatnonzero(~cell.completed)
    codes, words = cell.texts["reason"]
    known = {code: harm_in(words[code]) for code in np.unique(codes[failed]).tolist()}
    runs = [known[code] for code in codes[failed].tolist()]
    boots: dict[int, set[Harm]] = {}
    for boot, harm in zip(cell.boots()[failed].tolist(), runs, strict=True):
        boots.setdefault(boot, set()).add(harm)
    return _counted(runs), _counted(worst(harms) for harms in boots.values())


def _counted(harms: Iterable[Harm | None]) -> dict[str, int]:
    counts = Counter(harms)
    return {harm: counts[harm] for harm in HARMS if counts[harm]}


def _brownouts(cell: Columns) -> Integers:
    """Brownouts of the valid runs; a guest that did not recover counts with the time watched.

    Without those the median would be the shorter, the slower the guest is.
    """
    lengths, watched = cell.numbers["brownout_ns"], cell.numbers["brownout_watched_ns"]
    found = np.where(lengths == MISSING, watched, lengths)[cell.completed]
    known: Integers = found[found != MISSING]
    return known


def _largest(values: Integers) -> int | None:
    return int(values.max()) if len(values) else None


def phase_medians(cell: Columns) -> dict[str, int]:
    """Median over boots of each boot's median share, for phases where that is not 0.

    As in a comparison (results.stats.boots): a phase counts as 0 in a valid run whose phases are
    known and in which it did not occur.
    """
    known = _with_phases(cell)
    boots = cell.boots()[known]
    shares = {
        name: median_of(medians_by(boots, np.maximum(values[known], 0))[1])
        for name, values in cell.shares.items()
    }
    return {name: share for name, share in shares.items() if share}


def phase_boots(cell: Columns) -> dict[str, int]:
    """In how many boots a phase had a share of the blackout of a valid run, most frequent first."""
    known = _with_phases(cell)
    boots = cell.boots()[known]
    counts = {
        name: len(np.unique(boots[values[known] > 0])) for name, values in cell.shares.items()
    }
    frequent = sorted(counts.items(), key=lambda item: -item[1])
    return {name: count for name, count in frequent if count}


def _with_phases(cell: Columns) -> Flags:
    """The valid runs whose phases are known."""
    some = np.zeros(len(cell), dtype=np.bool_)
    for values in cell.shares.values():
        some |= values != MISSING
    known: Flags = some & cell.completed & (cell.numbers["blackout_ns"] != MISSING)
    return known


def _with_blackout(cell: Columns, name: str) -> Flags:
    """The valid runs that have a blackout and the number `name`."""
    values, blackouts = cell.numbers[name], cell.numbers["blackout_ns"]
    known: Flags = cell.completed & (values != MISSING) & (blackouts != MISSING)
    return known


def _error_percent(values: Integers, blackouts: Integers) -> float | None:
    some = blackouts > 0
    if not some.any():
        return None
    return float(np.median((values[some] - blackouts[some]) / blackouts[some] * 100.0))


def _proofs(cell: Columns) -> dict[str, int]:
    codes, words = cell.texts["proof"]
    names, first, counts = np.unique(codes, return_index=True, return_counts=True)
    order = np.argsort(first)
    found = ((words[int(names[i])], int(counts[i])) for i in order.tolist())
    return {word: count for word, count in found if word}


def hear_witnesses(cell: Columns) -> tuple[Testimony, ...]:
    """Every witness of a cell's valid runs, the blackout itself (kvm) first."""
    return tuple(
        _testimony(cell, witness, name)
        for witness, name in (
            ("kvm", "blackout_ns"),
            *((n.removesuffix("_ns"), n) for n in WITNESSES),
        )
    )


def _testimony(cell: Columns, witness: str, name: str) -> Testimony:
    both = _with_blackout(cell, name)
    values = cell.numbers[name][both]
    _, medians = medians_by(cell.boots()[both], values)
    error = _error_percent(values, cell.numbers["blackout_ns"][both])
    return Testimony(witness, len(values), median_of(medians), error)


def budget_of(cell: Columns, limit_ns: int) -> Budget:
    """How many of the cell's runs stayed under `limit_ns`; a failed run did not."""
    known = cell.numbers["blackout_ns"] != MISSING
    counted = ~cell.completed | known
    blackouts = np.where(cell.completed, cell.numbers["blackout_ns"], MISSING)[counted]
    boots = cell.boots()[counted]
    order = np.argsort(boots, kind="stable")
    cuts = np.flatnonzero(np.diff(boots[order])) + 1
    parts = np.split(blackouts[order], cuts)
    each = [[None if ns == MISSING else ns for ns in part.tolist()] for part in parts]
    return budget_line(each, limit_ns)


def failure_groups(columns: Columns, examples: int = 3) -> tuple[FailureGroup, ...]:
    """Failed runs by reason, the largest group first."""
    failed = np.flatnonzero(~columns.completed)
    codes, words = columns.texts["reason"]
    patterns = [re.sub(r"\d[\d.,]*", "N", word) for word in words]
    groups: dict[str, list[int]] = {}
    for at, code in zip(failed.tolist(), codes[failed].tolist(), strict=True):
        groups.setdefault(patterns[code], []).append(at)
    found = [
        FailureGroup(
            columns.word("reason", at[0]) or "no reason was recorded",
            len(at),
            tuple(dict.fromkeys(columns.word("scenario", i) for i in at)),
            tuple(at[:examples]),
        )
        for at in groups.values()
    ]
    return tuple(sorted(found, key=lambda group: -group.runs))


def worst_and_median(cell: Columns) -> tuple[int, int] | None:
    """Positions in `cell` of the longest blackout and of the one nearest to the cell's median.

    The median is the summary's, over boots. The first of equals; None without a valid run.
    """
    blackouts = cell.numbers["blackout_ns"]
    valid = np.flatnonzero(cell.completed & (blackouts != MISSING))
    if not len(valid):
        return None
    middle = median_of(cell.boot_medians()[1]) or 0
    nearest = valid[np.argmin(np.abs(blackouts[valid] - middle))]
    return int(valid[np.argmax(blackouts[valid])]), int(nearest)
