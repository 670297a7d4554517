"""What a mode needs of a scenario and of a build."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from results.errors import UsageError
from results.records.modes import MODES, PROMISES, Promise, Ram
from results.records.scenario import Build, Mode, Scenario

# How many copies of RAM exist at once, including the file and pausebench's mapping of old RAM.
_COPIES: dict[Ram, int] = {"stays": 1, "streamed": 2, "filed": 3}


def named(scenario: Scenario) -> Scenario:
    """The scenario with its mode appended to its id: anon@precopy."""
    name = scenario.id.partition("@")[0]
    mode = scenario.mode
    return replace(scenario, id=name if mode == "cpr-transfer" else f"{name}@{mode}")


def mode_of(dimensions: str) -> Mode:
    """The mode in a run's dimensions, which omit cpr-transfer."""
    name = next((w[5:] for w in dimensions.split() if w.startswith("mode=")), "")
    return next((mode for mode in MODES if mode == name), "cpr-transfer")


def promise(scenario: Scenario) -> Promise:
    return PROMISES[scenario.mode]


def ram_needed(scenario: Scenario) -> int:
    """Peak memory of an update in bytes, for guest RAM alone."""
    return scenario.ram_bytes * _COPIES[promise(scenario).ram]


def lacks(build: Build, mode: Mode) -> str:
    """Why `build` cannot update a guest by `mode`; empty if it can."""
    needs = PROMISES[mode].needs
    if not needs or needs in build.cpr_modes:
        return ""
    return f"QEMU {build.label} ({build.version}) has no {needs}: it supports " + ", ".join(
        m for m in MODES if not PROMISES[m].needs or PROMISES[m].needs in build.cpr_modes
    )


def known_modes(*builds: Build) -> tuple[Mode, ...]:
    """The modes that all of `builds` support."""
    return tuple(mode for mode in MODES if not any(lacks(build, mode) for build in builds))


def check_mode(scenario: Scenario) -> None:
    """Reject scenarios that a mode would break or cannot measure. Raises UsageError."""
    mode, where = scenario.mode, f"scenario {scenario.id}"
    if mode == "cpr-transfer":
        return
    if scenario.vfio:
        raise UsageError(f"{where}: assigned devices survive only cpr-transfer, not {mode}")
    if scenario.pinned:
        raise UsageError(f"{where}: pins can be proven only for cpr-transfer, not {mode}")
    if scenario.backend == "hugetlbfs" and promise(scenario).ram == "streamed":
        raise UsageError(
            f"{where}: {mode} copies RAM between old and new QEMU, which would map the same file; "
            "use hugetlb-2m"
        )


def check_builds(scenarios: Iterable[Scenario], builds: Sequence[Build]) -> None:
    """Reject a mode that a build does not support, before anything starts. Raises UsageError."""
    for scenario in scenarios:
        for build in builds:
            if reason := lacks(build, scenario.mode):
                raise UsageError(f"scenario {scenario.id}: {reason}")
