"""How far the witnesses of a cell's runs can be relied on. Pure, over its valid runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from results.judgement.witnesses import SLOW_PROGRESS_NS
from results.records.reasons import read_reason
from results.records.run import Run
from results.stats.intervals import median_ns

# A first progress counts as slow from so many times the usual one on, and from this length.
_TIMES_USUAL = 10
_LEAST_SLOW_NS = 1_000_000
# Runs that it takes to say what is usual.
_LEAST_RUNS = 3


@dataclass(frozen=True, slots=True)
class SlowStart:
    """A first progress far above that of the other runs, ns."""

    progress_ns: int
    usual_ns: int


def silent_guests(runs: Sequence[Run]) -> int:
    """Runs in which the guest said nothing of its pause: neither its beats nor its streams."""
    return sum(run.guest_gap_ns is None and not run.streams for run in runs)


def skipped_calls(runs: Sequence[Run]) -> tuple[int, ...]:
    """The skipped probe calls of each run that had any."""
    # Most warnings are of another kind, and reading one takes a match against every kind.
    texts = (text for run in runs for text in run.warnings if "probe calls" in text)
    said = map(read_reason, texts)
    return tuple(int(reason.figures["calls"]) for reason in said if reason.code == "probes-skipped")


def slow_starts(runs: Sequence[Run]) -> tuple[SlowStart, ...]:
    """First progress far above the median of its boot, or of the cell if the boot has few runs.

    First progress is what the guest's gap and the blackout differ by, so that no witness bounds it:
    an entry that was seen too early makes the blackout short and the first progress long.
    """
    return tuple(_slow_starts(runs))


def _slow_starts(runs: Sequence[Run]) -> Iterator[SlowStart]:
    boots: dict[tuple[str, int], list[int]] = defaultdict(list)
    for run in runs:
        if run.first_progress_ns is not None:
            boots[run.session, run.boot].append(run.first_progress_ns)
    known = [progress for mine in boots.values() for progress in mine]
    if len(known) < _LEAST_RUNS:
        return
    of_cell = median_ns(known)
    usual = {
        boot: median_ns(mine) if len(mine) >= _LEAST_RUNS else of_cell
        for boot, mine in boots.items()
    }
    for run in runs:
        progress, middle = run.first_progress_ns, usual.get((run.session, run.boot))
        if progress is None or middle is None:
            continue
        longer = progress > max(SLOW_PROGRESS_NS, run.blackout_ns or 0)
        if longer or progress > max(_LEAST_SLOW_NS, _TIMES_USUAL * middle):
            yield SlowStart(progress, middle)
