"""What can be measured on a host: the kinds of probes that load, and each requirement's state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class ProbeSupport:
    """Each kind of probe: empty when a program was loaded and attached, else the error.

    `headers` is the kernel release of the headers that programs are compiled against, followed by
    ` (stand-in)` when the running kernel is another one; empty without headers.
    `bcc_version` is empty when bcc cannot be imported. `fixes` has the fix of each kind whose error
    has one of its own.
    """

    tracepoints: str = ""
    uprobes: str = ""
    kprobes: str = ""
    fentry: str = ""
    headers: str = ""
    bcc_version: str = ""
    fixes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Need:
    """One requirement of the measurement.

    `ok`: it is met. `limited`: it is not met, or only partly, and results are fewer or less
    certain. `missing`: without it nothing can be measured. `consequence` and `fix` are empty when
    it is ok; `fix` is also empty where no fix is known.
    """

    name: str
    state: Literal["ok", "limited", "missing"]
    found: str
    consequence: str = ""
    fix: str = ""


def measurable(needs: Iterable[Need]) -> bool:
    """Whether anything can be measured on a host in this state."""
    return all(need.state != "missing" for need in needs)
