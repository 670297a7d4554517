"""What each update mode promises, so that a run can be held to it: a table, and nothing else.

Sources: QEMU's docs/devel/migration/CPR.rst, postcopy.rst and mapped-ram.rst, and what real runs of
QEMU 10.0 to 11.1 did.
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
    """What a mode does by its nature.

    `needs` is the migration mode that a build must know, empty for those that every build has.
    `ram`: it stays where it is, is streamed from old to new QEMU, or goes through a file.
    `held`: both QEMUs are up, their vCPU threads known, before the guest stops.
    `one_process`: old QEMU becomes new by execve. `descriptors` travel over the cpr channel.
    `depends` says what the pause grows with.
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
        "new QEMU takes RAM and descriptors over from old by SCM_RIGHTS",
        "cpr-transfer", "stays", True, False, True,
        "device state; hardly on RAM, which stays",
    ),
    "precopy": Promise(
        "RAM is copied over a unix socket while the guest runs",
        "", "streamed", True, False, False,
        "how fast the guest writes: what is left when it stops (downtime-limit bounds it)",
    ),
    "precopy-multifd": Promise(
        "like precopy, over four channels at once",
        "", "streamed", True, False, False,
        "how fast the guest writes: what is left when it stops (downtime-limit bounds it)",
    ),
    "postcopy": Promise(
        "the guest moves first, and fetches its RAM when it touches it",
        "", "streamed", True, False, False,
        "device state; RAM is paid for later, by page faults of the running guest",
    ),
    "cpr-reboot": Promise(
        "old QEMU saves to a file and ends, then new QEMU starts and loads it",
        "cpr-reboot", "filed", False, False, False,
        "RAM that is in use, written and read back, and the start of a QEMU",
    ),
    "cpr-exec": Promise(
        "QEMU starts its successor in its own place by execve; descriptors stay open",
        "cpr-exec", "stays", False, True, False,
        "device state and the start of a QEMU; hardly on RAM, which stays",
    ),
    "snapshot": Promise(
        "stop, save to a file, quit; a new QEMU restores it: what needs no CPR",
        "", "filed", False, False, False,
        "RAM that is in use, written and read back, and the start of a QEMU",
    ),
}  # fmt: skip

# How many times RAM is held at once, the file and the look at old QEMU's RAM among them.
_COPIES: dict[Ram, int] = {"stays": 1, "streamed": 2, "filed": 3}


def named(scenario: Scenario) -> Scenario:
    """The scenario under a name that tells its mode: anon@precopy."""
    name = scenario.id.partition("@")[0]
    mode = scenario.mode
    return replace(scenario, id=name if mode == "cpr-transfer" else f"{name}@{mode}")


def mode_of(dimensions: str) -> Mode:
    """The mode that a run's dimensions tell; those of cpr-transfer do not name it."""
    told = next((w[5:] for w in dimensions.split() if w.startswith("mode=")), "")
    return next((mode for mode in MODES if mode == told), "cpr-transfer")


def promise(scenario: Scenario) -> Promise:
    return PROMISES[scenario.mode]


def ram_needed(scenario: Scenario) -> int:
    """Bytes of memory that an update takes at its peak, for RAM alone."""
    return scenario.ram_bytes * _COPIES[promise(scenario).ram]


def lacks(build: Build, mode: Mode) -> str:
    """Why `build` cannot update a guest by `mode`; empty when it can."""
    needs = PROMISES[mode].needs
    if not needs or needs in build.cpr_modes:
        return ""
    return f"QEMU {build.label} ({build.version}) has no {needs}: it knows " + ", ".join(
        m for m in MODES if not PROMISES[m].needs or PROMISES[m].needs in build.cpr_modes
    )


def known_modes(*builds: Build) -> tuple[Mode, ...]:
    """The modes that all of `builds` know."""
    return tuple(mode for mode in MODES if not any(lacks(build, mode) for build in builds))


def check_mode(scenario: Scenario) -> None:
    """Refuse scenarios that a mode would break or that would say nothing. Raises UsageError."""
    mode, where = scenario.mode, f"scenario {scenario.id}"
    if mode == "cpr-transfer":
        return
    if scenario.vfio:
        raise UsageError(f"{where}: assigned devices come through cpr-transfer alone, not {mode}")
    if scenario.pinned:
        raise UsageError(f"{where}: its pins and their proof are for cpr-transfer, not {mode}")
    if scenario.backend == "hugetlbfs" and promise(scenario).ram == "streamed":
        raise UsageError(
            f"{where}: old and new QEMU would map one file at once, and {mode} copies RAM from one "
            "to the other; use hugetlb-2m"
        )


def check_builds(scenarios: Iterable[Scenario], builds: Sequence[Build]) -> None:
    """Refuse a mode that a build lacks, before anything starts. Raises UsageError."""
    for scenario in scenarios:
        for build in builds:
            if reason := lacks(build, scenario.mode):
                raise UsageError(f"scenario {scenario.id}: {reason}")
