"""The verdict on a claim over all recorded transfers of a build: pure, live and in replay.

A transfer refutes a claim by what was recorded of it, whether or not its run is valid: the judge
fails most runs in which a claim does not hold. A claim is shown only by valid runs, and a failed
run whose evidence is incomplete has no say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from results.judgement.judge import judge
from results.records.evidence import Check, CheckState
from results.records.recording import Recording
from results.records.run import Run
from results.timeline.moments import Marks

from .catalogue import Finding, Found

_FOUND: dict[CheckState, Found] = {
    "held": "shown",
    "broken": "refuted",
    "missing": "not testable",
}


@dataclass(frozen=True, slots=True)
class JudgedTransfer:
    """One recorded transfer with its judgement and an index of its events."""

    recording: Recording
    run: Run
    marks: Marks

    @classmethod
    def of(cls, recording: Recording) -> Self:
        """Judge a recording again, so that one that was broken on purpose is judged as broken."""
        marks = Marks(recording.events, recording.old.pid, recording.new.pid)
        return cls(recording, judge(recording), marks)

    @property
    def valid(self) -> bool:
        return self.run.outcome == "completed"

    @property
    def completed(self) -> bool:
        """Whether the transfer came to its end; its run may be invalid all the same."""
        return not self.recording.failure

    @property
    def traced(self) -> bool:
        """Whether an event that is absent from the recording did not happen."""
        return not self.recording.lost


@dataclass(frozen=True, slots=True)
class TimelineCheck:
    """How a claim shows in a transfer, and the least change to a recording that breaks it.

    `examine` returns `broken` for evidence against the claim only, and `missing` where evidence is
    incomplete: what a failed transfer never came to do is no evidence.
    """

    claim: int
    test: str
    examine: Callable[[JudgedTransfer], Check]
    breaking: Callable[[Recording], Recording]


@dataclass(frozen=True, slots=True)
class _Verdict:
    state: CheckState
    detail: str
    evidence: tuple[str, ...]


def decide(
    check: TimelineCheck, build: str, recordings: Sequence[Recording], test: str = ""
) -> Finding:
    """One finding, called `test`, from all transfers of a build.

    Refuted by evidence against the claim in any of them. Shown when it holds in every valid one,
    and when the same decision refutes it once one of these is broken on purpose. Otherwise not
    testable.
    """
    transfers = [JudgedTransfer.of(recording) for recording in recordings]
    verdict = _weigh(check, transfers)
    if verdict.state == "held" and _weigh(check, _control(check, transfers)).state != "broken":
        why = "the check did not notice a transfer broken on purpose"
        verdict = _Verdict("missing", why, verdict.evidence)
    name = test or check.test
    found = _FOUND[verdict.state]
    return Finding("claim", check.claim, build, name, found, verdict.detail, verdict.evidence)


def _weigh(check: TimelineCheck, transfers: Sequence[JudgedTransfer]) -> _Verdict:
    """The decision itself, without its control."""
    results = [(transfer, check.examine(transfer)) for transfer in transfers]
    broken = [(transfer, result) for transfer, result in results if result.state == "broken"]
    if broken:
        first, result = broken[0]
        count = f"in {len(broken)} of {_counted(len(transfers))}"
        detail = f"{result.text} ({first.run.id}, {count})"
        return _Verdict("broken", detail, _ids(transfer for transfer, _ in broken))
    valid = [(transfer, result) for transfer, result in results if transfer.valid]
    if not valid:
        why = transfers[0].run.reason if transfers else "none was made"
        return _Verdict("missing", f"no valid transfer: {why}", _ids(transfers))
    evidence = _ids(transfer for transfer, _ in valid)
    for transfer, result in valid:
        if result.state == "missing":
            return _Verdict("missing", f"{result.text} ({transfer.run.id})", evidence)
    detail = f"{valid[-1][1].text} ({_number(len(valid), transfers)})"
    return _Verdict("held", detail, evidence)


def _control(check: TimelineCheck, transfers: Sequence[JudgedTransfer]) -> list[JudgedTransfer]:
    """The same transfers, the first valid one broken on purpose."""
    at = next(n for n, transfer in enumerate(transfers) if transfer.valid)
    broken = JudgedTransfer.of(check.breaking(transfers[at].recording))
    return [*transfers[:at], broken, *transfers[at + 1 :]]


def _ids(transfers: Iterable[JudgedTransfer]) -> tuple[str, ...]:
    return tuple(transfer.run.id for transfer in transfers)


def _counted(number: int) -> str:
    return f"{number} transfer{'' if number == 1 else 's'}"


def _number(valid: int, transfers: Sequence[JudgedTransfer]) -> str:
    """How many transfers were valid, and why the others were not."""
    failed = [transfer for transfer in transfers if not transfer.valid]
    if not failed:
        return _counted(valid)
    return f"{valid} of {_counted(len(transfers))}, the others failed: {failed[0].run.reason}"
