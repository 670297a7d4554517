"""What an attempt at a refusal or a hazard says, by QEMU's words and by how the guest fared."""

from __future__ import annotations

import re

from results.records.observations import Aftermath
from results.records.recording import Recording
from results.records.run import Run

from .catalogue import Finding, Found
from .refusals import ACCEPTED, Refusal


def decide(
    refusal: Refusal, attempt: Recording, build: str, afterwards: Run | None = None
) -> Finding:
    """What one attempt says of what was to be refused.

    Shown: QEMU refused in the words that are known of it and the guest runs on unharmed in old
    QEMU, and where it was handed over `afterwards`, with the cause removed, that went well.
    """
    troubles = [*_wrong_words(refusal, attempt), *harm(attempt.aftermath)]
    if afterwards is not None and afterwards.outcome != "completed":
        troubles.append(f"handed over afterwards it failed: {afterwards.reason}")
    fine = fared(attempt.aftermath, afterwards)
    detail = f"{refusal.means}; {'; '.join(troubles) or fine}"
    evidence = (attempt.id, *((afterwards.id,) if afterwards is not None else ()))
    found: Found = "refuted" if troubles else "shown"
    return Finding(
        refusal.topic, refusal.claim, build, refusal.tried, found, detail, evidence,
        _quote(refusal, attempt), refusal.fix,
    )  # fmt: skip


def _quote(refusal: Refusal, attempt: Recording) -> str:
    own = refusal.quoted and not attempt.failure.startswith(ACCEPTED)
    return attempt.failure if own else ""


def decide_after_completion(refusal: Refusal, attempt: Recording, build: str) -> Finding:
    """What an attempt says in which the guest had left old QEMU: it must stand still there."""
    seen = attempt.aftermath
    troubles = _wrong_words(refusal, attempt)
    if seen is None or seen.ram is None:
        troubles.append("nobody looked at old QEMU afterwards")
    else:
        if seen.runstate != "postmigrate":
            troubles.append(f"old QEMU is {seen.runstate} afterwards, not postmigrate")
        if seen.beats_before != seen.beats_after:
            troubles.append("the guest beats though nobody runs it")
        if seen.ram.bad_pages or not seen.ram.pages or seen.pattern_errors:
            troubles.append(f"{seen.ram.bad_pages} of {seen.ram.pages} pages of guest RAM changed")
    detail = f"{refusal.means}; " + (
        "; ".join(troubles) or f"{seen.ram.pages if seen and seen.ram else 0} pages of RAM whole"
    )
    found: Found = "refuted" if troubles else "shown"
    return Finding(
        refusal.topic, refusal.claim, build, refusal.tried, found, detail, (attempt.id,),
        _quote(refusal, attempt), refusal.fix,
    )  # fmt: skip


def decide_restarted(refusal: Refusal, attempt: Recording, build: str) -> Finding:
    """What an attempt says in which a guest that had gone on elsewhere was started again in old.

    The hazard is shown when old does start it; whether the guest already met a word that its CPUs
    do not expect is a matter of the moment, and told.
    """
    seen = attempt.aftermath
    troubles = _wrong_words(refusal, attempt)
    if seen is None or seen.runstate != "running":
        troubles.append(f"old QEMU is {seen.runstate if seen else 'not looked at'} afterwards")
    harmed = "; ".join(what for what in harm(seen) if "changed" in what)
    detail = f"{refusal.means}; " + (
        "; ".join(troubles) or harmed or "no word out of place was met within some milliseconds"
    )
    found: Found = "refuted" if troubles else "shown"
    return Finding(
        refusal.topic, refusal.claim, build, refusal.tried, found, detail, (attempt.id,),
        _quote(refusal, attempt), refusal.fix,
    )  # fmt: skip


def positive(refusal: Refusal, run: Run, build: str, tried: str) -> Finding:
    """What a hand-over of the same guest says, once the cause of its refusal is left out."""
    fine = run.outcome == "completed"
    detail = "handed over with its RAM intact" if fine else run.reason
    found: Found = "shown" if fine else "refuted"
    return Finding(refusal.topic, refusal.claim, build, tried, found, detail, (run.id,))


def untestable(refusal: Refusal, build: str, why: str, quote: str = "") -> Finding:
    """What could not be tried on this host or build, and why."""
    return Finding(
        refusal.topic, refusal.claim, build, refusal.tried, "not testable", why, (), quote,
        refusal.fix,
    )  # fmt: skip


def _wrong_words(refusal: Refusal, attempt: Recording) -> list[str]:
    if not attempt.failure:
        return ["QEMU did not refuse it: the guest was handed over"]
    if attempt.failure.startswith(ACCEPTED):
        return [attempt.failure]
    if re.fullmatch(refusal.said, attempt.failure, re.DOTALL) is None:
        return [f"refused in other words than `{refusal.said}`: {attempt.failure}"]
    return []


def harm(aftermath: Aftermath | None) -> list[str]:
    """How the guest in old QEMU was harmed; empty when it runs on whole."""
    if aftermath is None:
        return ["nobody looked at the guest afterwards"]
    found = []
    if aftermath.runstate != "running":
        found.append(f"old QEMU is {aftermath.runstate} afterwards, not running")
    moved = list(zip(aftermath.beats_before, aftermath.beats_after, strict=True))
    still = [str(vcpu) for vcpu, (then, now) in enumerate(moved) if then == now]
    if still or not moved:
        found.append(f"no beat of vCPU {' and '.join(still)}" if still else "no vCPU was seen")
    if aftermath.pattern_errors:
        found.append(f"the guest found {aftermath.pattern_errors} changed words in its RAM")
    if aftermath.ram is None:
        found.append("guest RAM was not checked")
    elif aftermath.ram.bad_pages or not aftermath.ram.pages:
        found.append(
            f"{aftermath.ram.bad_pages} of {aftermath.ram.pages} pages of guest RAM changed"
        )
    return found


def fared(aftermath: Aftermath | None, afterwards: Run | None = None) -> str:
    """The guest after the attempt in a few words with figures."""
    if aftermath is None or aftermath.ram is None:
        return "the guest was not looked at"
    beats = zip(aftermath.beats_before, aftermath.beats_after, strict=True)
    gained = ", ".join(f"+{(now - then) & 0xFFFFFFFF}" for then, now in beats)
    text = (
        f"told by {aftermath.said_by}; old QEMU {aftermath.runstate}, beats {gained}, "
        f"{aftermath.ram.pages} pages of RAM unchanged"
    )
    return text + ("; then handed over properly" if afterwards is not None else "")
