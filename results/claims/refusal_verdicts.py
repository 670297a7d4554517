"""Verdicts on attempted refusals and hazards, by QEMU's words and the state of the guest.

What was not examined afterwards makes an attempt `not testable`; it refutes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from results.records.observations import Aftermath
from results.records.recording import Recording
from results.records.run import Run

from .catalogue import Finding, Found
from .guest_outcome import guest_outcome
from .refusals import ACCEPTED, Refusal


def decide(
    refusal: Refusal, attempt: Recording, build: str, afterwards: Run | None = None
) -> Finding:
    """The finding from one attempt that QEMU must refuse.

    Shown: QEMU refused in the expected words and the guest runs on unharmed in old QEMU. Where the
    cause was removed and the guest transferred `afterwards`, that must not have harmed it either.
    """
    against = [*_wrong_words(refusal, attempt), *harm(attempt.aftermath)]
    if afterwards is not None and guest_outcome(afterwards) == "refuted":
        against.append(f"the transfer afterwards failed: {afterwards.reason}")
    evidence = (attempt.id, *((afterwards.id,) if afterwards is not None else ()))
    missing = _not_examined(attempt.aftermath)
    shown = guest_state(attempt.aftermath, afterwards)
    return _finding(refusal, attempt, build, against, missing, shown, evidence)


def _finding(
    refusal: Refusal,
    attempt: Recording,
    build: str,
    against: Sequence[str],
    missing: Sequence[str],
    shown: str,
    evidence: tuple[str, ...],
) -> Finding:
    found: Found = "refuted" if against else "not testable" if missing else "shown"
    detail = f"{refusal.means}; {'; '.join(against) or '; '.join(missing) or shown}"
    return Finding(
        refusal.topic, refusal.claim, build, refusal.test, found, detail, evidence,
        _quote(refusal, attempt), refusal.fix,
    )  # fmt: skip


def _quote(refusal: Refusal, attempt: Recording) -> str:
    own = refusal.quoted and not attempt.failure.startswith(ACCEPTED)
    return attempt.failure if own else ""


def decide_after_completion(refusal: Refusal, attempt: Recording, build: str) -> Finding:
    """The finding from an attempt whose guest ran in new QEMU: it must stay stopped in old."""
    after = attempt.aftermath
    against, missing = _wrong_words(refusal, attempt), []
    if after is None or after.ram is None or not after.ram.pages:
        missing.append("old QEMU was not examined afterwards")
    if after is not None:
        if after.runstate != "postmigrate":
            against.append(f"old QEMU is {after.runstate} afterwards, not postmigrate")
        if after.beats_before != after.beats_after:
            against.append("the guest runs in old QEMU as well")
        against += _changed_ram(after)
    pages = after.ram.pages if after is not None and after.ram is not None else 0
    shown = f"{pages} pages of RAM unchanged"
    return _finding(refusal, attempt, build, against, missing, shown, (attempt.id,))


def decide_restarted(refusal: Refusal, attempt: Recording, build: str) -> Finding:
    """The finding from an attempt to restart in old QEMU a guest that has run elsewhere since.

    The hazard is shown when old does start it. Whether the guest has already read a word that its
    CPUs do not expect depends on the moment; it is reported and decides nothing.
    """
    after = attempt.aftermath
    against, missing = _wrong_words(refusal, attempt), []
    if after is None:
        missing.append("old QEMU was not examined afterwards")
    elif after.runstate != "running":
        against.append(f"old QEMU is {after.runstate} afterwards")
    changed = "; ".join(_changed_ram(after)) if after is not None else ""
    shown = changed or "no changed word was read within some milliseconds"
    return _finding(refusal, attempt, build, against, missing, shown, (attempt.id,))


def decide_allowed(refusal: Refusal, run: Run, build: str, test: str) -> Finding:
    """The finding from a transfer of the same guest without the cause of its refusal."""
    found = guest_outcome(run)
    detail = "transferred with its RAM intact" if found == "shown" else run.reason
    return Finding(refusal.topic, refusal.claim, build, test, found, detail, (run.id,))


def untestable(refusal: Refusal, build: str, why: str, quote: str = "") -> Finding:
    """The finding where this host or build cannot try it, and why."""
    return Finding(
        refusal.topic, refusal.claim, build, refusal.test, "not testable", why, (), quote,
        refusal.fix,
    )  # fmt: skip


def _wrong_words(refusal: Refusal, attempt: Recording) -> list[str]:
    if not attempt.failure:
        return ["QEMU did not refuse: the guest was transferred"]
    if attempt.failure.startswith(ACCEPTED):
        return [attempt.failure]
    if re.fullmatch(refusal.words, attempt.failure, re.DOTALL) is None:
        return [f"refused in other words than `{refusal.words}`: {attempt.failure}"]
    return []


def harm(aftermath: Aftermath | None) -> list[str]:
    """How the guest in old QEMU was harmed; empty where no harm was seen."""
    if aftermath is None:
        return []
    found = []
    if aftermath.runstate != "running":
        found.append(f"old QEMU is {aftermath.runstate} afterwards, not running")
    beats = zip(aftermath.beats_before, aftermath.beats_after, strict=True)
    still = [str(vcpu) for vcpu, (before, after) in enumerate(beats) if before == after]
    if still:
        found.append(f"no beat of vCPU {' and '.join(still)}")
    return found + _changed_ram(aftermath)


def _changed_ram(aftermath: Aftermath) -> list[str]:
    found, ram = [], aftermath.ram
    if aftermath.pattern_errors:
        found.append(f"the guest found {aftermath.pattern_errors} changed words in its RAM")
    if ram is not None and ram.bad_pages:
        found.append(f"{ram.bad_pages} of {ram.pages} pages of guest RAM changed")
    return found


def _not_examined(aftermath: Aftermath | None) -> list[str]:
    """What is not known of the guest in old QEMU."""
    if aftermath is None:
        return ["the guest was not examined afterwards"]
    found = [] if aftermath.beats_before else ["no vCPU was watched"]
    if aftermath.ram is None or not aftermath.ram.pages:
        found.append("guest RAM was not checked")
    return found


def guest_state(aftermath: Aftermath | None, afterwards: Run | None = None) -> str:
    """The guest after the attempt in a few words with figures."""
    if aftermath is None or aftermath.ram is None:
        return "the guest was not examined"
    beats = zip(aftermath.beats_before, aftermath.beats_after, strict=True)
    gained = ", ".join(f"+{(after - before) & 0xFFFFFFFF}" for before, after in beats)
    text = (
        f"reported by {aftermath.said_by}; old QEMU {aftermath.runstate}, beats {gained}, "
        f"{aftermath.ram.pages} pages of RAM unchanged"
    )
    if afterwards is None:
        return text
    if guest_outcome(afterwards) == "shown":
        return f"{text}; then transferred"
    return f"{text}; the transfer afterwards could not be judged: {afterwards.reason}"
