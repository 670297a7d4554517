"""What was announced is kept in the store and never taken back in silence."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from results.errors import RecordInvalid
from results.history import kept
from results.history.kept import (
    DOCUMENTS,
    history_path,
    keep_history,
    merged,
    read_history,
    read_kept,
    with_changes,
)
from results.history.lines import read_lines
from results.stats import change_points
from results.store.merge import merge

from .conftest import DAY, START


def stepped(nights, count=30, at=15, percent=20.0):
    nights.add_level(0, at, 4.0)
    nights.add_level(at, count - at, 4.0 * (1 + percent / 100), seed=2)


def kept_line(nights):
    (line,) = read_history(nights.store)
    keep_history(nights.store, [line])
    return line


def test_what_is_kept_is_what_was_announced(nights):
    stepped(nights)
    line = kept_line(nights)
    found = read_kept(nights.store.path, line.key)
    assert found.seen_unix_ns == line.points[-1].started_unix_ns
    (change,) = found.changes
    assert change.at == START + 15 * DAY
    assert read_history(nights.store) == (line,)


def test_other_rules_do_not_take_back_what_was_announced(nights, monkeypatch):
    """Announced is announced: with rules that find nothing it is withdrawn, and stays."""
    stepped(nights)
    line = kept_line(nights)
    monkeypatch.setattr(change_points, "_PENALTY", 1e9)
    assert read_history(nights.store) == (line,)
    nights.add_level(30, 4, 4.8, seed=3)
    (later,) = read_history(nights.store)
    (change,) = later.changes
    assert (change.state, change.at) == ("withdrawn", 15)
    assert change.confirmed_on == line.changes[0].confirmed_on
    assert change.withdrawn_on == 32
    without = replace(later, changes=())
    assert with_changes(nights.store.path / "elsewhere", without).changes == ()


def test_each_night_continues_where_the_one_before_stopped(nights, monkeypatch):
    stepped(nights, 20)
    kept_line(nights)
    seen = []
    original = kept.announcements
    monkeypatch.setattr(
        kept, "announcements", lambda *args: seen.append(args[2:]) or original(*args)
    )
    nights.add_level(20, 1, 4.8)
    read_history(nights.store)
    assert seen == [(20,)]


def test_nights_that_are_merged_in_before_do_not_move_what_was_announced(nights):
    stepped(nights)
    line = kept_line(nights)
    (change,) = line.changes
    first = line.points[change.at].session
    for number in range(3):
        nights.add(-9 + number, 4.0, suffix="aaaa")
        nights.add(20 + number, 4.8, suffix="bbbb")
    (later,) = read_history(nights.store)
    assert later.points[later.changes[0].at].session == first
    assert later.changes[0].at == change.at + 3
    assert later.changes[0].state == "confirmed"


def test_a_report_of_an_older_night_knows_what_was_known_then(nights):
    stepped(nights)
    line = kept_line(nights)
    (change,) = line.changes
    for night, state in (
        (change.found_on - 1, None),
        (change.found_on, "provisional"),
        (change.confirmed_on, "confirmed"),
    ):
        (then,) = read_history(nights.store, until_unix_ns=START + night * DAY)
        assert [each.state for each in then.changes] == ([state] if state else [])


def test_an_older_night_does_not_overwrite_what_a_later_one_kept(nights):
    stepped(nights)
    line = kept_line(nights)
    before = history_path(nights.store.path, line.key).read_bytes()
    keep_history(nights.store, read_history(nights.store, until_unix_ns=START + 20 * DAY))
    assert history_path(nights.store.path, line.key).read_bytes() == before


def test_stores_are_merged_with_what_they_announced(nights, new_nights):
    other = new_nights("other")
    stepped(nights)
    stepped(other, 22)
    kept_line(nights)
    line = kept_line(other)
    empty = new_nights("empty").store
    merge(other.store, empty, [DOCUMENTS])
    assert read_kept(empty.path, line.key) == read_kept(other.store.path, line.key)
    later, earlier = (read_kept(each.store.path, line.key) for each in (nights, other))
    assert merged(earlier, later) == merged(later, earlier) == later
    merge(other.store, nights.store, [DOCUMENTS])
    assert read_kept(nights.store.path, line.key) == later
    withdrawn = replace(
        earlier.changes[0], found_on=START + 10 * DAY, withdrawn_on=START + 13 * DAY
    )
    both = merged(replace(earlier, changes=(withdrawn,)), later)
    assert both.changes == (withdrawn, *later.changes)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda d: d | {"schema": 2}, "schema 2"),
        (lambda d: d | {"seen_unix_ns": "x"}, "history of a line"),
        (lambda d: d | {"key": d["key"] | {"host": "other"}}, "another line"),
        (lambda d: d | {"changes": [d["changes"][0] | {"before": 0.0}]}, "not positive"),
        (lambda d: d | {"changes": [d["changes"][0] | {"kind": "jump"}]}, "history of a line"),
    ],
)
def test_a_file_that_is_not_exactly_of_this_kind_is_refused_by_name(nights, edit, text):
    stepped(nights)
    line = kept_line(nights)
    path = history_path(nights.store.path, line.key)
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    with pytest.raises(RecordInvalid, match=text) as refused:
        read_history(nights.store)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("at", [0, -(10**18), 10**19 - 1, START + 40 * DAY])
def test_times_of_no_night_are_harmless(nights, at):
    stepped(nights)
    line = kept_line(nights)
    path = history_path(nights.store.path, line.key)
    document = json.loads(path.read_text())
    for name in ("at", "until", "found_on", "confirmed_on"):
        edited = document | {"changes": [document["changes"][0] | {name: at}]}
        path.write_text(json.dumps(edited))
        (found,) = read_history(nights.store)
        for change in found.changes:
            nights_of = (change.at, change.until, change.found_on, change.confirmed_on or 0)
            assert all(0 <= night < len(found.points) for night in nights_of)
            assert change.at >= 1
    assert read_lines(nights.store)


def test_what_remains_of_a_damaged_store_is_not_kept(nights, monkeypatch):
    stepped(nights)
    lines = read_history(nights.store)
    monkeypatch.setattr(type(nights.store), "damages", property(lambda store: ("lost 3 runs",)))
    keep_history(nights.store, lines)
    assert read_kept(nights.store.path, lines[0].key) is None
