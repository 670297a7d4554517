"""The claims that are made for cpr-transfer, what was found of each, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Found = Literal["shown", "refuted", "not testable"]
Topic = Literal["claim", "refusal", "mode", "ids", "device", "hazard"]


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
