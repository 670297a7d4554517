"""What the measurement needs of a host and of its QEMU builds: facts in, state and fix out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from results.records.host_needs import Need, ProbeSupport, measurable
from results.records.scenario import Build
from results.timeline.marks import MARKS

from .facts import HostFacts, look
from .requirement_table import REQUIREMENTS

__all__ = ["build_needs", "check_host", "judge", "measurable"]

_REFUSALS = ("not permitted", "Permission denied", "root", "CAP_SYS_ADMIN", "Cannot allocate")
_QEMU_FIX = "name another with --build LABEL=PATH, or `make setup` for the distribution's"


def check_host(
    support: ProbeSupport,
    builds: Sequence[Build] = (),
    refused: Sequence[tuple[str, str]] = (),
) -> tuple[Need, ...]:
    """Every need of this host as it is now. `refused` are (label, reason) of unfit builds."""
    return judge(look(), support, builds, refused)


def judge(
    facts: HostFacts,
    support: ProbeSupport,
    builds: Sequence[Build] = (),
    refused: Sequence[tuple[str, str]] = (),
) -> tuple[Need, ...]:
    """The same from facts that are given."""
    judged = (requirement.judged(facts, support) for requirement in REQUIREMENTS)
    if not facts.root:
        judged = (_as_a_user(need) for need in judged)
    return (*build_needs(builds, refused), *judged)


def _as_a_user(need: Need) -> Need:
    """A user is refused what root may do: then nothing on the host needs mending."""
    refused = any(word in need.found for word in _REFUSALS)
    return replace(need, fix="run it with sudo") if need.state != "ok" and refused else need


def build_needs(builds: Sequence[Build], refused: Sequence[tuple[str, str]]) -> tuple[Need, ...]:
    """One need per QEMU build; one that is refused is missed only when no other is fit."""
    consequence = "this build cannot be measured" if builds else "there is no QEMU to measure"
    unfit = [
        Need(f"QEMU {label}", "limited" if builds else "missing", reason, consequence, _QEMU_FIX)
        for label, reason in refused
    ]
    return (*map(_build, builds), *unfit)


def _build(build: Build) -> Need:
    name = f"QEMU {build.label}"
    needed = [mark for mark in MARKS if mark.needed]
    found = (
        f"{build.version}: {', '.join(build.cpr_modes)}; "
        f"{len(needed) - len(build.missing_marks)} of {len(needed)} probed functions named"
    )
    if not build.missing_marks:
        return Need(name, "ok", found)
    if build.symbols:
        consequence = f"phases bounded by {', '.join(build.missing_marks)} are not told"
        fix = (
            "this release may call those functions otherwise: add the names to "
            "results/timeline/marks.py"
        )
    else:
        consequence = "its functions cannot be probed: no phases are told"
        fix = "use a build that exports them or keeps .symtab (not stripped, not -microvm)"
    return Need(name, "limited", found, consequence, fix)
