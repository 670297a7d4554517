"""What a host lets us measure: the kinds of probes that load, and its needs one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ProbeSupport:
    """Each kind of probe: empty when a program was loaded and attached, else why not.

    `headers` is the kernel release of the headers that programs are compiled against, followed by
    ` (stand-in)` when the running kernel is another one; empty when there are none.
    `bcc_version` is empty when bcc cannot be imported.
    """

    tracepoints: str = ""
    uprobes: str = ""
    kprobes: str = ""
    fentry: str = ""
    headers: str = ""
    bcc_version: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing the measurement needs of a host.

    `ok`: it is there. `limited`: it is not, or not wholly, and less can be told or with less
    certainty. `missing`: without it nothing can be measured. `consequence` and `fix` are empty
    when it is ok; `fix` may be empty where there is none.
    """

    name: str
    state: Literal["ok", "limited", "missing"]
    found: str
    consequence: str = ""
    fix: str = ""


def measurable(needs: Iterable[Need]) -> bool:
    """Whether anything can be measured on a host with these needs."""
    return all(need.state != "missing" for need in needs)
