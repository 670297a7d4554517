"""The failed runs of a session that count: those that no claim's test provokes."""

from __future__ import annotations

from results.claims.catalogue import PROVOKED
from results.records.run import Run
from results.store.store import Store


def failed_runs(store: Store, session: str) -> list[Run]:
    """In the order in which they were stored."""
    runs = store.iter_runs(session=session, outcome="failed")
    return [run for run in runs if not run.scenario.startswith(PROVOKED)]
