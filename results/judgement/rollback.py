"""The pause of a guest whose update failed, and where the guest runs afterwards."""

from __future__ import annotations

from results.records.recording import QmpStamp, Recording, VcpuBracket
from results.records.rollback import FAILING, FAILURE, Rollback
from results.timeline.marks import PAUSED
from results.timeline.moments import Marks


def rollback(recording: Recording, marks: Marks) -> Rollback | None:
    """What became of the guest; None if the transfer did not fail, or it was not examined."""
    where = recording.continued_in
    if not recording.failure or where == "unknown":
        return None
    phase, phase_ns = _phase(recording)
    if where != "old" or not recording.probed or recording.lost:
        return Rollback(where, phase=phase, phase_ns=phase_ns)
    paused = marks.last_before(PAUSED.side, PAUSED.mark, PAUSED.edge, _END)
    if paused is None:
        never = (0,) * recording.scenario.vcpus
        return Rollback(where, 0, None, never, phase, phase_ns)
    pauses = [_pause(bracket, paused.ns) for bracket in recording.brackets]
    lengths = tuple(end - start if (start, end) != _UNKNOWN else None for start, end in pauses)
    if not pauses or None in lengths:
        return Rollback(where, None, None, lengths, phase, phase_ns)
    start, end = max(pauses, key=lambda pause: pause[1] - pause[0])
    return Rollback(where, end - start, start, lengths, phase, phase_ns)


_END = 1 << 62
_UNKNOWN = (0, 0)


def _pause(bracket: VcpuBracket, paused_ns: int) -> tuple[int, int]:
    """The longest time out of the guest, if the VM was stopped within it."""
    start, end = bracket.longest_left_ns, bracket.longest_entered_ns
    if start is None or end is None or not start <= paused_ns <= end:
        return _UNKNOWN
    return start, end


def _phase(recording: Recording) -> tuple[str, int | None]:
    """The phase in which old QEMU gives up, by the wall clock that stamps its events."""
    since = recording.steps.get("migrate", 0)
    stamps = [q for q in recording.qmp if q.side == "old" and q.ns >= since]
    failing, failed = _status(stamps, "failing"), _status(stamps, "failed")
    if failing is not None:
        return _between(FAILING, failing, failed, since)
    if failed is None:
        return "", None
    # QEMU may resume the guest before it reports the failure.
    resumed = next((q for q in stamps if q.name == "RESUME"), None)
    return _between(FAILURE, failed, resumed, since)


def _status(stamps: list[QmpStamp], status: str) -> QmpStamp | None:
    return next(
        (q for q in stamps if q.name == "MIGRATION" and q.data.get("status") == status), None
    )


def _between(
    phase: str, start: QmpStamp, end: QmpStamp | None, since_ns: int
) -> tuple[str, int | None]:
    if end is None:
        return "", None
    length = (end.wall_us - start.wall_us) * 1000
    if not 0 <= length <= end.ns - since_ns:  # the wall clock was moved meanwhile
        return "", None
    return phase, length
