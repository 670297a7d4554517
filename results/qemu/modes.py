"""The contract of each update mode, as a table: what a run of it must and must not do.

Sources: QEMU's docs/devel/migration/CPR.rst, postcopy.rst and mapped-ram.rst, and observed runs of
QEMU 10.0 to 11.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from results.errors import UsageError
from results.records.scenario import Build, Mode, Scenario

Ram = Literal["stays", "streamed", "filed"]

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Promise:
    """The contract of one mode.

    `needs` is the migration mode that a build must support, empty if every build does. `ram`: it
    stays in place, is streamed from old to new QEMU, or goes through a file. `held`: both QEMUs are
    up and their vCPU threads known before the guest stops. `one_process`: old QEMU becomes new by
    execve. `descriptors` are passed over the cpr channel. `depends` is what the pause grows with.
    """

    about: str
    needs: str
    ram: Ram
    held: bool
    one_process: bool
    descriptors: bool
    depends: str


PROMISES: dict[Mode, Promise] = {
    "cpr-transfer": Promise(
        "new QEMU receives RAM and descriptors from old by SCM_RIGHTS",
        "cpr-transfer", "stays", True, False, True,
        "device state; hardly on RAM, which stays in place",
    ),
    "precopy": Promise(
        "RAM is copied over a unix socket while the guest runs",
        "", "streamed", True, False, False,
        "how fast the guest writes: what is left when it stops (downtime-limit bounds it)",
    ),
    "precopy-multifd": Promise(
        "like precopy, over four parallel channels",
        "", "streamed", True, False, False,
        "how fast the guest writes: what is left when it stops (downtime-limit bounds it)",
    ),
    "postcopy": Promise(
        "the guest moves first, and fetches each page when it accesses it",
        "", "streamed", True, False, False,
        "device state; RAM costs time later, by page faults of the running guest",
    ),
    "cpr-reboot": Promise(
        "old QEMU saves to a file and exits, then new QEMU starts and loads it",
        "cpr-reboot", "filed", False, False, False,
        "RAM that is in use, written and read back, and the start of a QEMU",
    ),
    "cpr-exec": Promise(
        "QEMU replaces itself by execve; descriptors stay open",
        "cpr-exec", "stays", False, True, False,
        "device state and the start of a QEMU; hardly on RAM, which stays in place",
    ),
    "snapshot": Promise(
        "stop, save to a file, quit; a new QEMU restores it: possible without CPR",
        "", "filed", False, False, False,
        "RAM that is in use, written and read back, and the start of a QEMU",
    ),
}  # fmt: skip

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
