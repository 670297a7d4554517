"""The noise floor of a host, from the A/A comparisons that a store holds of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from results.records.run import Run
from results.records.scenario import Session
from results.store.store import Store

from .noise_floor import NoiseFloor, aa_floor

# A night's A/A is stored after the comparison that it belongs to, but less than a day after.
_NIGHT_NS = 20 * 3600 * 10**9


def noise_floors(store: Store, session: Session, runs: Iterable[Run]) -> dict[str, NoiseFloor]:
    """The noise floor of each scenario in `runs`: of `session`'s host and kernel, until that night.

    Later A/As are left out, so that what is said of a session stays what was said.
    """
    cells = {(run.scenario, run.dimensions): None for run in runs}
    floors = {
        scenario: aa_floor(known_nights(store, session, dimensions).values())
        for scenario, dimensions in cells
    }
    return {scenario: floor for scenario, floor in floors.items() if floor is not None}


def known_nights(
    store: Store, session: Session, dimensions: str
) -> Mapping[str, list[tuple[int, int]]]:
    """Session → (boots, shift in ns) of its A/A comparisons of one cell, oldest first."""
    environment = session.environment
    nights: dict[str, list[tuple[int, int]]] = {}
    for night, entry in store.aa_until(
        session.started_unix_ns + _NIGHT_NS,
        host=environment.get("host", ""),
        kernel=environment.get("kernel", ""),
        dimensions=dimensions,
    ):
        nights.setdefault(night, []).append((entry.boots, entry.shift_ns))
    return nights
