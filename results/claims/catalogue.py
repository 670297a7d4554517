"""The twelve claims about cpr-transfer, the findings on each, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Found = Literal["shown", "refuted", "not testable"]
Topic = Literal["claim", "refusal", "mode", "ids", "device", "hazard"]

# Prefixes of scenarios whose runs are evidence only: QEMU must refuse them, they provoke a failure,
# or their guest has no beats. They enter no statistic of a report.
SET_ASIDE = ("refusal.", "ids.", "device.", "hazard.")
# Those of them in which harm to the guest is provoked, or known to come of what is tried.
PROVOKED = ("refusal.", "ids.", "hazard.", "device.linux-tap-fd")


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of the feature's author or reviewer, and how it is tested."""

    number: int
    title: str
    how: str


CLAIMS: tuple[Claim, ...] = (
    Claim(
        1,
        "least guest pause on the same host",
        "all modes of update interleaved in one session, with the same guest and witnesses",
    ),
    Claim(
        2,
        "guest RAM stays in place, at new virtual addresses",
        "page frames in old and new QEMU compared; the blackout of guests of growing RAM size",
    ),
    Claim(
        3,
        "pages locked for DMA stay locked",
        "proof with RAM pinned by a process (io_uring), and by a VFIO device in the lab",
    ),
    Claim(
        4,
        "descriptors are sent by SCM_RIGHTS over a second channel, cpr",
        "every descriptor sent and received compared by kcmp; transfers without that channel",
    ),
    Claim(
        5,
        "new QEMU reads the cpr channel before it creates devices or backends",
        "the order of events in the timeline",
    ),
    Claim(
        6,
        "anonymous RAM needs -machine aux-ram-share=on when old QEMU is started",
        "the same guest with and without it",
    ),
    Claim(
        7,
        "memory backends need share=on; memory-backend-epc is not supported",
        "a guest with an additional backend, share=off",
    ),
    Claim(
        8,
        "the cpr channel's address must carry SCM_RIGHTS",
        "a cpr channel over TCP and over a file, for old and for new QEMU",
    ),
    Claim(
        9,
        "new closes the cpr channel, old sees the hang-up and connects the main channel",
        "the order of events in the timeline, and their latency",
    ),
    Claim(
        10,
        "old QEMU stops the VM, saves, and ends in postmigrate",
        "the order of events, and the runstate of both QEMUs at the end",
    ),
    Claim(
        11,
        "descriptors are found again by name and id",
        "names and ids sent and received, and which of them new QEMU mapped",
    ),
    Claim(
        12,
        "names and ids stay valid after hot-plug and unplug",
        "two devices plugged, the first unplugged, a transfer to a QEMU with only the second",
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one test on one build.

    `claim` is the number of the claim that it decides, 0 for none. `build` is a label, or
    `OLD -> NEW` for an upgrade. `detail` is what was seen in one line with figures, or why it could
    not be tested. `evidence` are ids of stored runs.
    """

    topic: Topic
    claim: int
    build: str
    test: str  # what was tested, in a few words
    found: Found
    detail: str
    evidence: tuple[str, ...] = ()
    quote: str = ""  # QEMU's error message, where it refused
    fix: str = ""  # what to do about it


@dataclass(frozen=True, slots=True)
class Row:
    """The verdict on one claim for one build; `why` it could not be tested."""

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
        """What was seen: what refutes the claim, then what shows it, then what is not testable."""
        order: list[Found] = ["refuted", "shown", "not testable"]
        ordered = sorted(self.findings, key=lambda f: order.index(f.found))
        parts = [
            f"{f.test}: {'not testable: ' if f.found == 'not testable' else ''}{f.detail}"
            for f in ordered
        ]
        return "; ".join(dict.fromkeys(parts))


def pair_name(old: str, new: str) -> str:
    """The name of a pair of builds in a finding."""
    return old if old == new else f"{old} -> {new}"


def rows(findings: Iterable[Finding], builds: Sequence[str]) -> tuple[Row, ...]:
    """A row for every claim on every build, claim by claim; one refutation refutes.

    A row that is shown also lists in its detail what could not be tested.
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
    why = "; ".join(dict.fromkeys(f.detail for f in found)) or "it was not tested"
    return Row(claim, build, "not testable", why, found)


def refuted(verdicts: Iterable[Row]) -> bool:
    """Whether any claim was refuted."""
    return any(row.found == "refuted" for row in verdicts)
