"""Points of a history: one per session and cell, from the runs' columns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.records.scenario import Build
from results.stats.intervals import boot_medians, median_ns
from results.store.store import open_store
from results.summary.history import read_history

DAY = 86_400 * 10**9
START = 1_795_472_100_000_000_000


@pytest.fixture
def store(tmp_path, make_run, make_recording, make_session):
    """Nine nights of anon on `next`, slower from the seventh on; shm once; one night all failed."""
    with open_store(tmp_path) as opened:
        for night in range(9):
            session = replace(
                make_session(f"202611{10 + night}-221500-3f2a", START + night * DAY),
                builds=(
                    Build("next", "q", f"11.1.{2 + night // 6}", f"id{night // 6}", "", ("q",)),
                ),
                environment={"host": "h", "kernel": "6.12"},
            )  # fmt: skip
            opened.add_session(session)
            for boot in (1, 2, 3):
                slower = 2_000_000 if night >= 6 else 0
                run = make_run(
                    boot, session=session.id, old_build="next", new_build="next",
                    blackout_ns=4_000_000 + 10_000 * boot + 7_000 * (night % 3) + slower,
                    outcome="failed" if night == 2 else "completed",
                )  # fmt: skip
                opened.add_run(run, make_recording(run))
            if night == 4:
                run = make_run(scenario="shm", session=session.id)
                opened.add_run(run, make_recording(run))
        yield opened


def test_a_point_per_night_with_the_medians_of_its_boots(store):
    (line,) = read_history(store, "anon")
    assert [p.session for p in line.points] == [
        s.id for i, s in enumerate(store.sessions()) if i != 2
    ]
    for point in line.points:
        runs = store.runs(session=point.session, scenario="anon")
        assert point.median_ns == median_ns(boot_medians(runs))
        assert point.boots == 3
    assert line.empty == ("20261112-221500-3f2a",)
    assert (line.name, line.host) == ("anon on next", "h")


def test_the_change_is_found_and_explained(store):
    (line,) = read_history(store, "anon")
    (change,) = line.changes
    assert line.points[change.at].session == "20261116-221500-3f2a"
    assert line.why(change) == ("QEMU 11.1.2 → 11.1.3", "build id id0 → id1")


def test_since_and_until(store):
    (line,) = read_history(store, "anon", START + 5 * DAY)
    assert len(line.points) == 4
    (line,) = read_history(store, "anon", 0, START + 1 * DAY)
    assert len(line.points) == 2
    assert read_history(store, "none") == ()
    assert [line.scenario for line in read_history(store)] == ["anon", "shm"]
    assert store.scenarios() == ["anon", "shm"]


def test_another_host_is_another_line(store, make_run, make_recording, make_session):
    session = replace(make_session("20261130-221500-3f2a", START + 20 * DAY), environment={})
    store.add_session(session)
    run = make_run(session=session.id, old_build="next", new_build="next")
    store.add_run(run, make_recording(run))
    assert [line.host for line in read_history(store, "anon")] == ["h", ""]
