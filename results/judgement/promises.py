"""Whether an update kept the contract of its mode."""

from __future__ import annotations

from collections.abc import Sequence

from results.records.modes import PROMISES
from results.records.reasons import Reason, because
from results.records.recording import Recording
from results.records.run import CarriedFd
from results.records.scenario import Mode


def old_must_end(mode: Mode) -> str:
    """The final state of old QEMU in `mode`: replaced by execve, or postmigrate."""
    return "exec" if PROMISES[mode].one_process else "postmigrate"


def broken_promises(
    recording: Recording, fds: Sequence[CarriedFd], blackout: tuple[int, int] | None
) -> list[Reason]:
    """How the update broke its mode's contract, so that it must not be counted as that mode.

    `fds` are the descriptors passed over the cpr channel, `blackout` is the VM's (start, end).
    """
    mode = recording.scenario.mode
    promise = PROMISES[mode]
    found = _wrong_process(recording)
    if fds and not promise.descriptors:
        found.append(because("descriptors-carried", mode=mode, descriptors=len(fds)))
    turned = any(q.data.get("status") == "postcopy-active" for q in recording.qmp)
    if mode == "postcopy" and not turned:
        found.append(because("no-postcopy"))
    elif mode != "postcopy" and turned:
        found.append(because("turned-postcopy", mode=mode))
    if mode == "precopy-multifd" and not recording.migrate_info.get("ram-multifd-bytes"):
        found.append(because("no-multifd"))
    gone = recording.steps.get("old_gone")
    if promise.ram == "filed" and gone is None:
        found.append(because("old-not-gone", mode=mode))
    elif gone is not None and blackout is not None and blackout[1] < gone:
        found.append(because("ran-too-early", mode=mode))
    return found


def _wrong_process(recording: Recording) -> list[Reason]:
    """One process where there should be two, or two where there should be one."""
    mode, old, new = recording.scenario.mode, recording.old.pid, recording.new.pid
    if not PROMISES[mode].one_process:
        return [because("process-kept", mode=mode, old=old)] if old == new else []
    found = []
    if old != new:
        found.append(because("process-changed", mode=mode, old=old, new=new))
    if (
        recording.probed
        and not recording.lost
        and not any(e.mark == "exec" for e in recording.events)
    ):
        found.append(because("no-execve", mode=mode))
    return found
