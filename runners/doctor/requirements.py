"""Evaluates the requirements on a host and its QEMU builds: facts in, states and fixes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from results.records.host_needs import Need, ProbeSupport, measurable
from results.records.scenario import Build
from results.timeline.marks import MARKS
from runners.builds.discover import LIMITS_FIX

from .facts import HostFacts, collect_facts
from .requirement_table import REQUIREMENTS, SUDO

__all__ = ["build_needs", "check_host", "judge", "measurable"]

_REFUSALS = ("not permitted", "Permission denied", "root", "CAP_SYS_ADMIN", "Cannot allocate")
_QEMU_FIX = "choose another with --build LABEL=PATH, or run `make setup` for the distribution's"


def check_host(
    support: ProbeSupport,
    builds: Sequence[Build] = (),
    refused: Sequence[tuple[str, str]] = (),
    *,
    tidied: bool = False,
) -> tuple[Need, ...]:
    """Evaluate all needs on this host now. `refused` are (label, reason) of unfit builds.

    With `tidied`, what killed sessions left is removed.
    """
    return judge(collect_facts(builds, tidied=tidied), support, builds, refused)


def judge(
    facts: HostFacts,
    support: ProbeSupport,
    builds: Sequence[Build] = (),
    refused: Sequence[tuple[str, str]] = (),
) -> tuple[Need, ...]:
    """Evaluate all needs on the given facts."""
    judged = (requirement.evaluate(facts, support) for requirement in REQUIREMENTS)
    if not facts.root:
        judged = (_for_ordinary_user(need) for need in judged)
    return (*build_needs(builds, refused), *judged)


def _for_ordinary_user(need: Need) -> Need:
    """The fix for an ordinary user's missing permission is sudo, not a change to the host."""
    refused = any(word in need.found for word in _REFUSALS)
    return replace(need, fix=SUDO) if need.state != "ok" and refused else need


def build_needs(builds: Sequence[Build], refused: Sequence[tuple[str, str]]) -> tuple[Need, ...]:
    """One need per QEMU build; a refused build is only `missing` when no other is fit."""
    consequence = "this build cannot be measured" if builds else "no QEMU can be measured"
    unfit = [
        Need(f"QEMU {label}", "limited" if builds else "missing", reason, consequence, _fix(reason))
        for label, reason in refused
    ]
    return (*map(_build, builds), *unfit)


def _fix(reason: str) -> str:
    """Another QEMU helps where this one is at fault, not a limit that would stop any."""
    return LIMITS_FIX if reason.endswith(LIMITS_FIX) else _QEMU_FIX


def _build(build: Build) -> Need:
    name = f"QEMU {build.label}"
    needed = [mark for mark in MARKS if mark.needed]
    found = (
        f"{build.version}: {', '.join(build.cpr_modes)}; "
        f"{len(needed) - len(build.missing_marks)} of {len(needed)} probed functions found"
    )
    if not build.missing_marks:
        return Need(name, "ok", found)
    if build.symbols:
        consequence = f"phases bounded by {', '.join(build.missing_marks)} are not measured"
        fix = (
            "if this release has renamed those functions, add the new names to "
            "results/timeline/marks.py"
        )
    else:
        consequence = "its functions cannot be probed: phases are not measured"
        fix = "use a build that exports them or keeps .symtab (not stripped, not -microvm)"
    return Need(name, "limited", found, consequence, fix)
