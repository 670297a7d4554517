"""The order of a matrix, without a guest."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from bench.measurement.scenarios import BUILTIN
from bench.studies.matrix import measure_matrix
from results.records.scenario import Build

BUILDS = [Build(label, "/qemu", "10.0.2", "", "", ()) for label in ("a", "b", "c")]


class Refusing:
    """An experiment in which a → b fails."""

    def __init__(self) -> None:
        self.pairs: list[str] = []
        self.skipped = 0
        self.progress = SimpleNamespace(skipped=self._skip)

    def _skip(self, updates: int) -> None:
        self.skipped += updates

    async def run(self, trials: Any) -> list[Any]:
        (trial,) = trials
        pair = f"{trial.old_build.label}{trial.new_build.label}"
        self.pairs.append(pair)
        return [SimpleNamespace(outcome="failed" if pair == "ab" else "completed")]


def measured(boots: int, seed: int = 1) -> Refusing:
    experiment: Any = Refusing()
    runs = asyncio.run(measure_matrix(experiment, BUILTIN[0], BUILDS, boots, seed))
    assert len(runs) == len(experiment.pairs)
    return experiment


def test_a_pair_that_failed_is_not_tried_again() -> None:
    experiment = measured(3)
    assert experiment.pairs.count("ab") == 1
    assert experiment.skipped == 2
    assert all(experiment.pairs.count(pair) == 3 for pair in set(experiment.pairs) - {"ab"})
    assert len(set(experiment.pairs)) == 9


def test_every_round_has_its_own_order_and_a_seed_repeats_it() -> None:
    pairs = measured(2).pairs
    assert pairs[:9] != pairs[9:]
    assert pairs == measured(2).pairs
    assert pairs != measured(2, seed=2).pairs
