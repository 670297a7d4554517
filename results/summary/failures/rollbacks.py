"""What failed updates cost their guests: those that came back to old QEMU, and how soon.

A failed update has no blackout and enters no statistic of blackouts. The pause of a guest that was
stopped and came back is a figure of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from results.records.run import Run
from results.stats.shift import Shift, estimate_shift


@dataclass(frozen=True, slots=True)
class Rollbacks:
    """The failed updates of which it is known what became of the guest.

    `never_stopped` ran on in old QEMU all the time; `returned` were stopped and came back, after
    `median_ns`, at most `longest_ns`. `lost` guests run in no QEMU, those `in_new` in new QEMU.
    """

    updates: int
    never_stopped: int
    returned: int
    lost: int
    in_new: int
    median_ns: int | None = None
    longest_ns: int | None = None


def rollbacks(runs: Iterable[Run]) -> Rollbacks | None:
    """None if no update failed, or nothing is known of the guests."""
    failed = [run.rollback for run in runs if run.rollback]
    if not failed:
        return None
    pauses = [back.pause_ns for back in failed if back.pause_ns]
    return Rollbacks(
        updates=len(failed),
        never_stopped=sum(back.pause_ns == 0 for back in failed),
        returned=len(pauses),
        lost=sum(back.where == "nowhere" for back in failed),
        in_new=sum(back.where == "new" for back in failed),
        median_ns=round(median(pauses)) if pauses else None,
        longest_ns=max(pauses, default=None),
    )


def slower_to_fail(runs_a: Iterable[Run], runs_b: Iterable[Run]) -> Shift:
    """How much longer a guest stands still when an update to B fails than when one to A does.

    Each boot counts once, as an update that fails ends its boot.
    """
    return estimate_shift([(_pauses(runs_a), _pauses(runs_b))])


def _pauses(runs: Iterable[Run]) -> list[int]:
    return [run.rollback.pause_ns for run in runs if run.rollback and run.rollback.pause_ns]
