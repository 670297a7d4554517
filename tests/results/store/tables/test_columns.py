"""Columns hold what the records hold, and give the numbers that the records give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from results.comparison.compare import blocks_by_boot, compare
from results.records.run import Span
from results.stats.boots import measure
from results.stats.intervals import median_ns
from results.store.column_reader import read_columns
from results.store.store import open_store
from results.store.tables.columns import MISSING, columns_of, lean_runs, median_of, medians_by


@settings(deadline=None)
@given(data=st.data())
def test_lean_runs_measure_like_the_records(any_runs, data):
    made = data.draw(any_runs)
    lean = lean_runs(columns_of(made))
    for metric in ("blackout", "handover", "residual", "quiesce", "load"):
        assert [measure(r, metric) for r in lean] == [measure(r, metric) for r in made]
    assert [(r.session, r.boot, r.outcome) for r in lean] == [
        (r.session, r.boot, r.outcome) for r in made
    ]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-(10**9), 10**9))))
def test_medians_by_group(pairs):
    groups = {}
    for group, value in pairs:
        groups.setdefault(group, []).append(value)
    names, medians = medians_by(
        np.array([g for g, _ in pairs], dtype=np.int64),
        np.array([v for _, v in pairs], dtype=np.int64),
    )
    assert dict(zip(names.tolist(), medians.tolist(), strict=True)) == {
        group: median_ns(values) for group, values in groups.items()
    }
    assert names.tolist() == list(groups)
    values = np.array([v for _, v in pairs], dtype=np.int64)
    assert median_of(values) == median_ns(values.tolist())


def test_a_stored_session_compares_as_its_records_do(
    tmp_path, make_run, make_recording, make_session
):
    sides = {
        build: [
            make_run(
                boot, update, id=f"20261123-221500-3f2a.anon+{build}.b{boot:02d}.u{update:02d}",
                old_build=build, new_build=build, blackout_ns=4_420_000 + more + 10_000 * boot,
                spans=(Span("quiesce", "old", 0, 9, 1_000 + more), Span("idle", "old", 0, 9, 0)),
            )
            for boot in range(1, 7)
            for update in (1, 2)
        ]
        for build, more in (("a", 0), ("b", 1_000_000))
    }  # fmt: skip
    with open_store(tmp_path) as store:
        store.add_session(make_session())
        for run in (*sides["a"], *sides["b"]):
            store.add_run(run, make_recording(run))
        columns = read_columns(store, [make_session().id])
        assert read_columns(store, [make_session().id], scenario="none").texts["session"][1] == ()
    assert columns.shares["idle"].tolist() == [0] * 24  # seen, without a share: not unknown
    lean = [lean_runs(columns.where(columns.is_text("new_build", build))) for build in ("a", "b")]
    blocks = blocks_by_boot()
    assert compare(*lean, block_of=blocks) == compare(sides["a"], sides["b"], block_of=blocks)


def test_an_unknown_value_is_missing_not_zero(make_run):
    columns = columns_of([make_run(blackout_ns=None), make_run(update=2)])
    assert columns.numbers["blackout_ns"].tolist() == [MISSING, 4_420_000]
    assert columns.known("blackout_ns").tolist() == [4_420_000]
    assert [v.tolist() for v in columns.vcpus] == [[MISSING, 4_420_000], [MISSING, MISSING]]


def test_no_runs_make_no_cells():
    assert columns_of([]).cells() == []


def test_boots_of_two_sessions_are_distinct(make_run):
    one = make_run()
    two = replace(one, session="20261123-221500-aaaa")
    assert len(columns_of([one, two]).boot_medians()[0]) == 2
