"""The twelve claims that are made for cpr-transfer, what was found of each, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Found = Literal["shown", "refuted", "not testable"]
Topic = Literal["claim", "refusal", "mode", "ids", "device", "hazard"]

# Scenarios of runs that are tried to see them refused, go wrong or go on without beats: they are
# evidence, and in no statistic of a report.
SET_ASIDE = ("refusal.", "ids.", "device.", "hazard.")


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of the feature's author or reviewer, and how it is put to the test."""

    number: int
    title: str
    how: str


CLAIMS: tuple[Claim, ...] = (
    Claim(
        1,
        "least guest pause on the same host",
        "all modes of update in turns in one session, with the same guest and the same witnesses",
    ),
    Claim(
        2,
        "guest RAM stays in place, at new virtual addresses",
        "page frames of old and new QEMU compared; the blackout of guests of growing size",
    ),
    Claim(
        3,
        "pages locked for DMA stay locked",
        "proof of pins held by a process (io_uring), and by a VFIO device in the lab",
    ),
    Claim(
        4,
        "descriptors go by SCM_RIGHTS over a second, cpr channel",
        "every descriptor sent and received, compared by kcmp; transfers without that channel",
    ),
    Claim(
        5,
        "new QEMU reads the cpr channel before it makes devices or backends",
        "order of events in the timeline",
    ),
    Claim(
        6,
        "anonymous RAM needs -machine aux-ram-share=on at old QEMU's start",
        "the same guest with and without it",
    ),
    Claim(
        7,
        "memory backends need share=on; memory-backend-epc is not supported",
        "a guest with one more backend, share=off",
    ),
    Claim(
        8,
        "the cpr channel's address must carry SCM_RIGHTS",
        "a cpr channel over tcp and over a file, given to old and to new QEMU",
    ),
    Claim(
        9,
        "new closes the cpr channel, old sees the hang-up and connects the main channel",
        "order of events in the timeline, and their latency",
    ),
    Claim(
        10,
        "old QEMU stops the VM, saves, and ends in postmigrate",
        "order of events, and the runstate of both at the end",
    ),
    Claim(
        11,
        "descriptors are found again by name and id",
        "names and ids sent and received, and what new QEMU mapped of them",
    ),
    Claim(
        12,
        "names and ids hold after hot-plug and unplug",
        "two devices plugged, the first unplugged, a transfer to QEMU with the second alone",
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried on one build, and what came of it.

    `claim` is the number of the claim that it decides, 0 for none of them. `build` is a label, or
    `OLD -> NEW` for an upgrade. `detail` says in one line what was seen, with figures; for a thing
    that could not be tested, why. `evidence` are ids of stored runs.
    """

    topic: Topic
    claim: int
    build: str
    test: str  # what was tried, in a few words
    found: Found
    detail: str
    evidence: tuple[str, ...] = ()
    quote: str = ""  # QEMU's own words, where it refused
    fix: str = ""  # what the reader of those words is to do


@dataclass(frozen=True, slots=True)
class Row:
    """The verdict on one claim for one build; `why` where it could not be tested."""

    claim: Claim
    build: str
    found: Found
    why: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """`shown`, `refuted` or `not testable here: why`."""
        return f"not testable here: {self.why}" if self.found == "not testable" else self.found

    @property
    def evidence(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run for f in self.findings for run in f.evidence))

    @property
    def detail(self) -> str:
        """What was seen, in the order of weight: what refutes, what shows, what is left open."""
        order: list[Found] = ["refuted", "shown", "not testable"]
        said = sorted(self.findings, key=lambda f: order.index(f.found))
        parts = [
            f"{f.test}: {'not testable: ' if f.found == 'not testable' else ''}{f.detail}"
            for f in said
        ]
        return "; ".join(dict.fromkeys(parts))


def pair_name(old: str, new: str) -> str:
    """How a pair of builds is called in a finding."""
    return old if old == new else f"{old} -> {new}"


def rows(findings: Iterable[Finding], builds: Sequence[str]) -> tuple[Row, ...]:
    """A row for every claim on every build, claim by claim; one refutation refutes.

    What could not be tested beside something that was shown stays in the row's detail.
    """
    known = tuple(findings)
    return tuple(
        _row(claim, build, tuple(f for f in known if (f.claim, f.build) == (claim.number, build)))
        for claim in CLAIMS
        for build in builds
    )


def _row(claim: Claim, build: str, found: tuple[Finding, ...]) -> Row:
    states = {f.found for f in found}
    for state in ("refuted", "shown"):
        if state in states:
            return Row(claim, build, state, "", found)
    why = "; ".join(dict.fromkeys(f.detail for f in found)) or "nothing was tried"
    return Row(claim, build, "not testable", why, found)


def refuted(verdicts: Iterable[Row]) -> bool:
    """Whether any claim was refuted."""
    return any(row.found == "refuted" for row in verdicts)
