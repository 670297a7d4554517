"""Whether an update did what its mode promises."""

from __future__ import annotations

from results.qemu.modes import PROMISES
from results.records.recording import Recording
from results.records.run import Run
from results.records.scenario import Mode


def old_must_end(mode: Mode) -> str:
    """The state in which old QEMU ends: it is followed by its successor, or keeps its guest."""
    return "exec" if PROMISES[mode].one_process else "postmigrate"


def broken_promises(recording: Recording, run: Run) -> list[str]:
    """What shows that the update was none of its mode, so that it would be counted as another."""
    mode = recording.scenario.mode
    told = PROMISES[mode]
    old, new = recording.old.pid, recording.new.pid
    found = []
    if told.one_process and old != new:
        found.append(f"{mode} is one process, but pid {old} became {new}")
    elif not told.one_process and old == new:
        found.append(f"{mode} has a new process, but pid {old} went on")
    if (
        told.one_process
        and recording.probed
        and not any(e.mark == "exec" for e in recording.events)
    ):
        found.append(f"{mode} without an execve")
    if run.fds and not told.descriptors:
        found.append(f"{mode} carries no descriptors, but {len(run.fds)} were seen to be sent")
    turned = any(q.data.get("status") == "postcopy-active" for q in recording.qmp)
    if mode == "postcopy" and not turned:
        found.append("RAM had been copied before the guest moved: a precopy, no postcopy")
    elif mode != "postcopy" and turned:
        found.append(f"{mode} turned into a postcopy")
    if mode == "precopy-multifd" and not recording.migrate_info.get("ram-multifd-bytes"):
        found.append("no byte went over the channels of multifd")
    gone = recording.steps.get("old_gone")
    if told.ram == "filed" and gone is None:
        found.append(f"{mode}: old QEMU was not seen to end")
    elif gone is not None and (run.blackout_start_ns or 0) + (run.blackout_ns or gone) < gone:
        found.append(f"{mode}: the guest ran in new QEMU before old QEMU had ended")
    return found
