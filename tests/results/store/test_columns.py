"""Columns hold what the records hold, and give the numbers that the records give."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.comparison.compare import blocks_by_boot, compare
from results.errors import RecordInvalid
from results.records.evidence import Proof
from results.records.observations import DeviceContinuity
from results.records.run import Run, Span, Witnesses
from results.stats.boots import measure
from results.stats.intervals import median_ns, summarise
from results.store import column_reader
from results.store.column_reader import read_columns
from results.store.columns import MISSING, columns_of, lean_runs, median_of, medians_by
from results.store.store import FILE_NAME, open_store
from results.summary.cells import (
    budget_of,
    failure_groups,
    hear_witnesses,
    summarise_columns,
    worst_and_median,
)

NS = st.integers(1, 10**9)
MAYBE = st.none() | NS


@st.composite
def runs(draw):
    made = []
    for number in range(draw(st.integers(0, 24))):
        failed = draw(st.booleans()) and draw(st.booleans())
        phases = draw(
            st.dictionaries(st.sampled_from(["quiesce", "load", "start"]), st.integers(0, 99))
        )
        verdict = draw(st.sampled_from(["held", "broken", None]))
        device = DeviceContinuity(
            "0000:00:04.0", draw(st.integers(0, 10**9)), None, 0, 0, 0, None, draw(MAYBE), None,
            tuple(draw(st.lists(st.just("lost"), max_size=2))),
        )  # fmt: skip
        made.append(
            Run(
                schema=1, id=f"r{number}", session=draw(st.sampled_from(["s1", "s2"])),
                scenario=draw(st.sampled_from(["anon", "shm"])), dimensions="d",
                boot=draw(st.integers(1, 4)), update=number, started_unix_ns=number,
                outcome="failed" if failed else "completed", reason="r 1" if failed else "",
                old_build="a", new_build=draw(st.sampled_from("ab")), old_pid=1, new_pid=2,
                blackout_ns=draw(MAYBE), vcpu_blackouts_ns=tuple(draw(st.lists(MAYBE, max_size=3))),
                handover_ns=draw(MAYBE), guest_gap_ns=draw(MAYBE), first_progress_ns=draw(MAYBE),
                residual_ns=draw(MAYBE), brownout_ns=draw(MAYBE), brownout_watched_ns=draw(MAYBE),
                witnesses=Witnesses(qemu=draw(MAYBE), guest=draw(MAYBE)),
                spans=tuple(Span(n, "old", 0, 1, v) for n, v in phases.items()),
                proof=None if verdict is None else Proof(verdict, ""),
                device=draw(st.sampled_from([device, None])),
            )
        )  # fmt: skip
    return made


@settings(deadline=None)
@given(runs())
def test_summaries_are_those_of_the_records(made):
    assert summarise_columns(columns_of(made)) == summarise(made)


@settings(deadline=None)
@given(runs(), NS)
def test_testimonies_and_budgets_are_those_of_the_records(made, limit):
    columns = columns_of(made)
    valid = [r for r in made if r.outcome == "completed" and r.blackout_ns is not None]
    by_name = {t.witness: t for t in hear_witnesses(columns)}
    seen = [r for r in valid if r.witnesses.guest is not None]
    assert by_name["guest"].runs == len(seen)
    assert by_name["guest"].median_ns == median_ns(r.witnesses.guest for r in seen)
    budget = budget_of(columns, limit)
    assert (budget.within, budget.total) == (sum(r.blackout_ns < limit for r in valid), len(valid))
    picked = worst_and_median(columns)
    if valid:
        worst, median = picked
        assert made[worst].blackout_ns == max(r.blackout_ns for r in valid)
        middle = median_ns(r.blackout_ns for r in valid)
        nearest = min(abs(r.blackout_ns - middle) for r in valid)
        assert abs(made[median].blackout_ns - middle) == nearest
    else:
        assert picked is None


@settings(deadline=None)
@given(runs())
def test_lean_runs_measure_like_the_records(made):
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


def test_what_is_not_known_is_missing_and_not_zero(make_run):
    columns = columns_of([make_run(blackout_ns=None), make_run(update=2)])
    assert columns.numbers["blackout_ns"].tolist() == [MISSING, 4_420_000]
    assert columns.known("blackout_ns").tolist() == [4_420_000]
    assert [v.tolist() for v in columns.vcpus] == [[MISSING, 4_420_000], [MISSING, MISSING]]


def test_failures_are_grouped_by_reason_without_numbers(make_run):
    failed = [
        make_run(update=i, outcome="failed", reason=f"{i} pages changed, first 0x{i}")
        for i in range(1, 6)
    ]
    other = make_run(update=9, outcome="failed", reason="lost", scenario="shm")
    first, second = failure_groups(columns_of([other, make_run(update=8), *failed]))
    assert (first.runs, first.scenarios, len(first.first)) == (5, ("anon",), 3)
    assert (second.runs, second.reason, second.first) == (1, "lost", (0,))


def test_a_row_that_is_none_is_refused(tmp_path, make_run, make_recording, make_session):
    with open_store(tmp_path) as store:
        store.add_session(make_session())
        run = make_run()
        store.add_run(run, make_recording(run))
    for column, value in (("shares", "{"), ("boot", "many"), ("vcpu_blackouts", '["x"]')):
        with sqlite3.connect(tmp_path / FILE_NAME) as database:
            (before,) = database.execute(f"SELECT {column} FROM runs").fetchone()
            database.execute(f"UPDATE runs SET {column} = ?", (value,))
        with open_store(tmp_path) as store, pytest.raises(RecordInvalid, match="runs' table"):
            read_columns(store, [run.session])
        with sqlite3.connect(tmp_path / FILE_NAME) as database:
            database.execute(f"UPDATE runs SET {column} = ?", (before,))
        database.close()


def test_shares_of_the_rows_are_put_together(tmp_path, make_run, make_recording, make_session):
    """As several processes read a large store, each a part of it."""
    made = [
        make_run(
            update=number, scenario="anon" if number < 5 else "shm",
            reason=f"r{number}\x1f\n" if number % 3 == 0 else "",
            vcpu_blackouts_ns=(number,) * (number % 4),
            spans=(Span("idle" if number < 4 else "load", "old", 0, 9, number),),
        )
        for number in range(1, 10)
    ]  # fmt: skip
    with open_store(tmp_path) as store:
        store.add_session(make_session())
        for run in made:
            store.add_run(run, make_recording(run))
        assert store.count_runs([make_session().id]) == (9, 1, 9)
        whole = read_columns(store, [make_session().id])
    with patch.object(column_reader, "_RUNS_FOR_WORKERS", 1), open_store(tmp_path) as store:
        shared = read_columns(store, [make_session().id])
    for columns in (whole, shared):
        assert columns.words("reason") == [run.reason for run in made]
        assert columns.words("scenario") == [run.scenario for run in made]
        assert lean_runs(columns) == lean_runs(columns_of(made))
        for i in range(3):
            assert columns.vcpus[i].tolist() == [n if n % 4 > i else MISSING for n in range(1, 10)]


@pytest.mark.parametrize(
    "texts",
    [
        ['{"a":1,"b":20}', '{"b":3,"a":4}', "{}", None, '{"a":9223372036854775807}'],
        ['{"a":-5}', '{ "a" : 6 }', '{"p1":7}', '{"p2":8,"p1":9}', '{"a":0}'],
        ['{"\\u0061":1}', '{"a b":2}', '{"ä":3}'],
    ],
)
def test_shares_are_read_as_json_is(texts):
    found = column_reader._shares(column_reader._decoded([None] * len(texts), texts))
    for i, text in enumerate(texts):
        told = {name: values[i] for name, values in found.items() if values[i] != MISSING}
        assert told == json.loads(text or "{}")


@pytest.mark.parametrize(
    "text", ['{"a":1', '{"a":}', '{"a":1.5}', '{"a":"1"}', '{"a":[1]}', '{"a":1,}',
             '{"a":1 2}', '{"a":99999999999999999999}', "[]", '{1"a":}', '{"a1":}', '{"a":1}2',
             "null", '{"a":{"b":1}}',
             pytest.param('{"a":' * 300_000 + "1" + "}" * 300_000, id="deep")],
)  # fmt: skip
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ValueError, match=r"JSON|share"):
        column_reader._shares(column_reader._decoded(["[1]", "[2]"], ['{"a":1}', text]))


def test_no_run_has_no_cell():
    assert columns_of([]).cells() == []
    assert summarise_columns(columns_of([])) == ()


def test_boots_of_two_sessions_are_told_apart(make_run):
    one = make_run()
    two = replace(one, session="20261123-221500-aaaa")
    assert len(columns_of([one, two]).boot_medians()[0]) == 2
