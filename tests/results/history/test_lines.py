"""Points of a history: one per session and cell, from the runs' columns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.history.kept import read_history
from results.history.lines import Level, read_lines
from results.stats.announcements import Announcement
from results.stats.intervals import boot_medians, median_ns

from .conftest import DAY, START, build

SELF_CHECK = (build("next"), build("next-again"))


@pytest.fixture
def store(nights):
    """Fourteen nights of anon on `next`, slower from the ninth on; shm once; one night failed."""
    for night in range(14):
        nights.add(
            night, 4.0 + 0.007 * (night % 3) + (2.0 if night >= 8 else 0.0),
            builds=(build("next", f"11.1.{2 + night // 8}", build_id=f"id{night // 8}"),),
            outcome="failed" if night == 2 else "completed",
        )  # fmt: skip
    nights.add(4, 4.0, scenario="shm", suffix="bbbb")
    return nights.store


def test_a_point_per_night_with_the_medians_of_its_boots(store):
    (line,) = read_history(store, "anon")
    assert [p.session for p in line.points] == [
        s.id for i, s in enumerate(store.sessions()[:14]) if i != 2
    ]
    for point in line.points:
        runs = store.runs(session=point.session, scenario="anon")
        assert point.median_ns == median_ns(boot_medians(runs))
        assert point.boots == 3
        assert point.new is not None
        assert point.identity == point.new.identity
    assert [session.id for session in line.empty] == [store.sessions()[2].id]
    assert (line.name, line.key.host) == ("anon on next", "h")


def test_the_levels_are_those_between_confirmed_changes(store):
    (line,) = read_history(store, "anon")
    (change,) = line.confirmed
    assert line.points[change.at].session == store.sessions()[8].id
    assert [(level.start, level.end) for level in line.levels()] == [(0, 7), (7, 13)]
    assert [level.first for level in line.levels()] == pytest.approx([4.01, 6.01], abs=0.01)
    drift = Announcement("drift", 4, 9, 4.0, 6.0, 8, confirmed_on=9)
    drifting = replace(line, changes=(drift, replace(change, confirmed_on=None)))
    assert drifting.levels()[1] == Level(4, 10, 4.0, 6.0)
    assert [(level.start, level.end) for level in drifting.levels()] == [(0, 4), (4, 10), (10, 13)]


def test_since_and_until(store):
    (line,) = read_history(store, "anon")
    late = line.since(START + 5 * DAY)
    assert len(late.points) == 9
    assert late.empty == ()
    (change,) = late.confirmed
    assert late.points[change.at] == line.points[line.confirmed[0].at]
    assert line.since(START + 9 * DAY).confirmed == ()  # it lies before
    (line,) = read_history(store, "anon", START + 1 * DAY)
    assert len(line.points) == 2
    assert read_history(store, "none") == ()
    assert {line.key.scenario for line in read_lines(store)} == {"anon", "shm"}


@pytest.mark.parametrize("options", [{"host": "other"}, {"tier": "uprobe+scheduler+perf"}])
def test_another_host_and_other_probes_are_another_line(store, nights, options):
    """Probes lengthen the blackout: a session with --perf --why is not a night of the others."""
    nights.add(20, 4.6, suffix="cccc", **options)
    first, second = read_history(store, "anon")
    assert (len(first.points), len(second.points)) == (13, 1)
    assert first.key != second.key


@pytest.mark.parametrize(
    "options",
    [
        {"builds": SELF_CHECK, "night": "job", "command": ("pausebench", "nightly")},
        {"builds": SELF_CHECK, "command": ("pausebench", "compare")},
        {"command": ("pausebench", "calibrate")},
        {"purpose": "overhead"},
        {"purpose": "claims"},
    ],
)
def test_what_checks_the_instrument_is_no_night(store, nights, options):
    """A build against itself is neither a night nor a build, and no level has injected pauses."""
    before = read_history(store)
    nights.add(20, 9.0, suffix="cccc", **options)
    assert read_history(store) == before
