"""Why one run was slower than the others of its session: a pure comparison of their causes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from results.records.run import Run
from results.records.scheduler import Cause, State

STATES: tuple[State, ...] = ("on-cpu", "runnable", "blocked", "stopped", "unknown")
Key = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """One cause, and its time in the run of comparison (0 if it did not occur there)."""

    cause: Cause
    usual_ns: int

    @property
    def more_ns(self) -> int:
        return self.cause.ns - self.usual_ns


@dataclass(frozen=True, slots=True)
class Explanation:
    """The blackout of `run` by causes, compared with `usual`, the median run of its session.

    `causes` are ordered by how much more time they took than usual and include those that occur in
    one run only, so their `more_ns` add up to the difference of the two blackouts. Without a
    comparison `usual` is None and they are ordered by time.
    """

    run: Run
    usual: Run | None
    compared_with: int  # runs of which `usual` is the median
    causes: tuple[Compared, ...]

    def in_state(self, state: State) -> tuple[int, int]:
        """Time in one state in this run, and in the run of comparison."""
        here = [c for c in self.causes if c.cause.state == state]
        return sum(c.cause.ns for c in here), sum(c.usual_ns for c in here)


def explain(run: Run, others: Iterable[Run]) -> Explanation:
    """Compare `run`, which must have an attribution, with the median of the comparable `others`."""
    assert run.attribution is not None
    comparable = sorted(
        (other for other in others if _comparable(other, run)),
        key=lambda other: (other.blackout_ns or 0, other.id),
    )
    usual = comparable[(len(comparable) - 1) // 2] if comparable else None
    here = {_key(cause): cause for cause in run.attribution.causes}
    there = {}
    if usual is not None and usual.attribution is not None:
        there = {_key(cause): cause for cause in usual.attribution.causes}
    found = [Compared(c, there[k].ns if k in there else 0) for k, c in here.items()]
    found += [Compared(_absent(c), c.ns) for k, c in there.items() if k not in here]
    found.sort(key=lambda c: (-c.more_ns, -c.cause.ns))
    return Explanation(run, usual, len(comparable), tuple(found))


def _comparable(other: Run, run: Run) -> bool:
    """Whether `other` is another valid run of the same cell with known causes."""
    return (
        other.id != run.id
        and other.outcome == "completed"
        and other.blackout_ns is not None
        and other.attribution is not None
        and not other.attribution.missing
        and (other.dimensions, other.old_build, other.new_build)
        == (run.dimensions, run.old_build, run.new_build)
    )


def _key(cause: Cause) -> Key:
    return (cause.phase, cause.side, cause.thread, cause.state, cause.on)


def _absent(cause: Cause) -> Cause:
    return Cause(cause.phase, cause.side, cause.thread, cause.state, cause.on, cause.by, 0, 0)
