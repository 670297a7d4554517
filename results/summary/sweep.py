"""The growth that a stored sweep found, from its runs.

A sweep names its guests SCENARIO.DIMENSION-VALUE, with the value in the dimension's unit, and adds
`.precopy` to the precopy that ends a boot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from results.records.run import Run
from results.records.scenario import Mode
from results.stats.slopes import Dimension, Growth, SizedBoot, boot_of, growth

_NAME = re.compile(
    r"(?P<scenario>.+)\.(?P<dimension>ram|vcpus|devices)-(?P<value>\d+(?:\.\d+)?)"
    r"(?P<precopy>\.precopy)?"
)


@dataclass(frozen=True, slots=True)
class SweptGuest:
    """A guest of a sweep, by its name; `value` is in the dimension's unit."""

    scenario: str
    dimension: Dimension
    value: float
    mode: Mode


def swept_guest(name: str) -> SweptGuest | None:
    """The guest of that name, None where no sweep has given it."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return SweptGuest(
        match["scenario"],
        cast("Dimension", match["dimension"]),
        float(match["value"]),
        "precopy" if match["precopy"] else "cpr-transfer",
    )


def growth_of(runs: Sequence[Run]) -> Growth | None:
    """Medians by size and slopes of a sweep's runs; None where they are no sweep's."""
    guests = {name: swept_guest(name) for name in dict.fromkeys(run.scenario for run in runs)}
    known = {name: guest for name, guest in guests.items() if guest is not None}
    if not known:
        return None
    boots: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        if run.scenario in known:
            boots.setdefault((run.scenario, run.session, run.boot), []).append(run)
    found = [_boot(known[name], mine) for (name, _, _), mine in boots.items()]
    failed = sum(run.outcome == "failed" for run in runs)
    dimension = next(iter(known.values())).dimension
    return growth(dimension, [boot for boot in found if boot is not None], failed)


def _boot(guest: SweptGuest, runs: Sequence[Run]) -> SizedBoot | None:
    return boot_of(guest.scenario, guest.mode, guest.value, runs)
