"""Which failed runs of a session count."""

from __future__ import annotations

import pytest

from results.claims.catalogue import PROVOKED, SET_ASIDE
from results.store.store import open_store
from results.summary.failures.failed_runs import failed_runs


@pytest.mark.parametrize(
    ("scenario", "counts"),
    [("anon", True), ("plain-256m", True), ("device.linux-taps", True), ("hazard.cont", False),
     ("refusal.epc", False), ("ids.unplugged", False), ("device.linux-tap-fd", False)],
)  # fmt: skip
def test_harm_that_a_claims_test_provokes_does_not_count(
    scenario, counts, make_run, make_recording, make_session, tmp_path
):
    failed = make_run(scenario=scenario, outcome="failed", reason="3 probe records were lost")
    with open_store(tmp_path / "out") as store:
        store.add_session(make_session())
        for run in (make_run(), failed) if scenario != "anon" else (failed,):
            store.add_run(run, make_recording(run))
        found = [run.scenario for run in failed_runs(store, failed.session)]
    assert found == ([scenario] if counts else [])


def test_what_is_provoked_enters_no_statistic_either():
    assert all(prefix.startswith(SET_ASIDE) for prefix in PROVOKED)
