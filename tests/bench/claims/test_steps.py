"""The verdicts of the steps on recorded transfers: every transfer counts, whatever its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bench.claims.steps import SIZES, Route, pinned_transfers, plain_transfers
from bench.claims.vfio_devices import judged
from bench.measurement.schedule import Trial
from results.claims.transfer_checks import CHECKS, PINS
from results.judgement.judge import judge
from results.records.recording import Recording
from results.records.run import Run
from results.records.scenario import Build, Scenario

DATA = Path(__file__).parents[2] / "results" / "data"
BUILD = Build("system", "/qemu", "10.0.2", "", "", ())
PLAIN = {check.claim: check for check in CHECKS}


@pytest.fixture(scope="module")
def recording() -> Recording:
    return msgspec.json.decode((DATA / "handover-pinned.json").read_bytes(), type=Recording)


class Replayed:
    """An experiment whose trials end in given recordings, and the store that holds them."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._left = list(recordings)
        self._kept = {recording.id: recording for recording in recordings}
        self.store = SimpleNamespace(recording=self._kept.__getitem__)

    async def run(self, trials: Sequence[Trial]) -> list[Run]:
        ours, self._left = self._left[: trials[0].updates], self._left[trials[0].updates :]
        return [judge(recording) for recording in ours]


def context(recordings: Sequence[Recording], boots: int, updates: int) -> Any:
    """What steps share, with numbered copies of the recordings."""
    numbered = [replace(one, id=f"{one.id}-{n}") for n, one in enumerate(recordings)]
    return SimpleNamespace(
        experiment=Replayed(numbered),
        scenario=Scenario("anon", "anon"),
        boots=boots,
        updates=updates,
        seed=1,
    )


@pytest.mark.parametrize(("broken", "found"), [(0, "shown"), (1, "refuted"), (2, "refuted")])
def test_the_step_of_pinned_ram_counts_failed_runs(
    broken: int, found: str, recording: Recording
) -> None:
    recordings = [*[PINS.breaking(recording)] * broken, *[recording] * (2 - broken)]
    (finding,) = asyncio.run(pinned_transfers(context(recordings, 1, 2), Route(BUILD, BUILD)))
    assert (finding.claim, finding.found) == (3, found), finding.detail


@pytest.mark.parametrize("claim", PLAIN)
@pytest.mark.parametrize("at", range(len(SIZES)))
def test_a_plain_transfer_of_any_size_refutes(claim: int, at: int, recording: Recording) -> None:
    recordings = [recording] * len(SIZES)
    recordings[at] = PLAIN[claim].breaking(recording)
    found = asyncio.run(plain_transfers(context(recordings, 1, 1), Route(BUILD, BUILD)))
    by_test = {finding.test: finding for finding in found}
    refuted = by_test.pop(PLAIN[claim].test)
    assert (refuted.claim, refuted.found) == (claim, "refuted"), refuted.detail
    assert refuted.evidence[0].endswith(f"-{at}")


def test_assigned_devices_count_failed_runs(recording: Recording) -> None:
    scenario = replace(recording.scenario, vfio="type1")
    good = replace(recording, id=f"{recording.id}-good", scenario=scenario)
    bad = replace(PINS.breaking(good), id=f"{recording.id}-bad")
    store: Any = Replayed([good, bad]).store
    pins, _ = judged([judge(good), judge(bad)], store, "system")
    assert (pins.claim, pins.found) == (3, "refuted"), pins.detail
    assert bad.id in pins.evidence
