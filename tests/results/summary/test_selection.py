"""`last` and `worst` mean sessions that measured, whatever was stored after them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.errors import UsageError
from results.store.store import open_store
from results.summary.selection import latest_measured, resolve_run, resolve_session

RUN, CALIBRATION = "20261123-221500-3f2a", "20261124-221500-0b1c"


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def add(store, make_run, make_recording, make_session):
    def add(session, purpose="", blackouts=()):
        environment = {"purpose": purpose} if purpose else {}
        store.add_session(replace(make_session(session), environment=environment))
        for update, ns in enumerate(blackouts, 1):
            outcome = "failed" if ns is None else "completed"
            run = make_run(
                update=update, session=session, blackout_ns=ns, outcome=outcome,
                reason="lost" * (ns is None),
            )  # fmt: skip
            store.add_run(run, make_recording(run))

    return add


def test_a_calibration_is_neither_last_nor_worst(store, add):
    add(RUN, blackouts=(4_000_000, 7_000_000, 5_000_000, None))
    add(CALIBRATION, "calibration", (9_000_000, 100_000_000))
    assert latest_measured(store) == resolve_session(store, "last") == RUN
    assert resolve_run(store, "last") == f"{RUN}.anon.b01.u04"
    assert resolve_run(store, "worst") == f"{RUN}.anon.b01.u02"
    # By its id it is found as ever.
    assert resolve_session(store, CALIBRATION[:12]) == CALIBRATION
    assert resolve_run(store, f"{CALIBRATION}.anon.b01.u01") == f"{CALIBRATION}.anon.b01.u01"


def test_where_nothing_was_measured_the_sessions_there_are_named(store, add):
    with pytest.raises(UsageError, match="is empty"):
        resolve_session(store, "last")
    add(CALIBRATION, "calibration", (9_000_000,))
    for resolve in (resolve_session, resolve_run):
        with pytest.raises(UsageError, match=rf"{CALIBRATION} \(calibration\)"):
            resolve(store, "last")


def test_of_a_session_without_runs_the_one_before_has_the_last_run(store, add):
    add(RUN, blackouts=(4_000_000,))
    add(CALIBRATION)  # a run that was killed at once
    assert resolve_run(store, "last") == f"{RUN}.anon.b01.u01"
    with pytest.raises(UsageError, match=f"{CALIBRATION} .* has no completed run"):
        resolve_run(store, "worst")
