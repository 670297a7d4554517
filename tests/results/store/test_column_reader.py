"""Columns from a store on disk: read by one process or several, and verified."""

from __future__ import annotations

import json
from unittest.mock import patch

import pytest

from results.errors import RecordInvalid
from results.records.observations import DeviceContinuity
from results.records.run import Span
from results.store import column_reader
from results.store.column_reader import read_columns
from results.store.store import open_store
from results.store.tables.checksums import lists_text
from results.store.tables.columns import MISSING, columns_of, lean_runs
from results.store.tables.tallies import Tally

SESSION = "20261123-221500-3f2a"
DEVICE = DeviceContinuity("0000:00:04.0", 10, 3, 0, 0, 0, 0, 158_000_000, 1_000_000, ("1 lost",))


@pytest.mark.parametrize(
    ("column", "value"), [("shares", "{"), ("boot", "many"), ("vcpu_blackouts", '["x"]')]
)
def test_a_row_without_valid_values_is_rejected(store, stored, forge, column, value):
    """With a checksum that matches, so that it was not a disk that did it."""
    forge(store, "runs", sound=False, **{column: value})
    assert read_columns(store, [SESSION]).words("scenario") == ["anon"]  # from its record
    if column != "boot":
        forge(store, "runs", **{column: value})
        with open_store(store.path) as again, pytest.raises(RecordInvalid, match="valid values"):
            read_columns(again, [SESSION])


def test_parts_read_by_several_processes_are_merged(
    tmp_path, make_run, make_recording, make_session
):
    """A large store is read by several processes, each a part of it."""
    made = [
        make_run(
            update=number, scenario="anon" if number < 5 else "shm",
            reason=f"r{number}\x1f\n" if number % 3 == 0 else "",
            vcpu_blackouts_ns=(number,) * (number % 4),
            spans=(Span("idle" if number < 4 else "load", "old", 0, 9, number),),
            device=DEVICE if number % 2 else None,
        )
        for number in range(1, 10)
    ]  # fmt: skip
    with open_store(tmp_path) as store:
        store.add_session(make_session())
        for run in made:
            store.add_run(run, make_recording(run))
        assert store.count_runs([make_session().id]) == Tally(9, 1, 9)
        whole = read_columns(store, [make_session().id])
    with patch.object(column_reader, "_RUNS_FOR_WORKERS", 1), open_store(tmp_path) as store:
        shared = read_columns(store, [make_session().id])
    for columns in (whole, shared):
        assert columns.words("reason") == [run.reason for run in made]
        assert columns.words("scenario") == [run.scenario for run in made]
        assert lean_runs(columns) == lean_runs(columns_of(made))
        assert {name: values.tolist() for name, values in columns.numbers.items()} == {
            name: values.tolist() for name, values in columns_of(made).numbers.items()
        }
        assert columns.known("device_gap_ns").tolist() == [158_000_000] * 5
        for i in range(3):
            assert columns.vcpus[i].tolist() == [n if n % 4 > i else MISSING for n in range(1, 10)]


@pytest.mark.parametrize("column", ["blackout_ns", "shares", "others_crc", "checksum"])
def test_damage_that_another_process_finds_is_recovered(store, add, make_run, forge, column):
    add(store, *(make_run(update=update) for update in range(1, 10)))
    forge(store, "runs", 7, sound=False, **{column: 1})
    with patch.object(column_reader, "_RUNS_FOR_WORKERS", 1):
        columns = read_columns(store, [SESSION])
    assert columns.numbers["update"].tolist() == list(range(1, 10))
    assert columns.numbers["blackout_ns"].tolist() == [4_420_000] * 9
    assert [damage.lost for damage in store.damages] == [False]


def decoded(vcpus, shares):
    lines = [lists_text(*pair).encode() for pair in zip(vcpus, shares, strict=True)]
    return column_reader._decoded(lines)


@pytest.mark.parametrize(
    "texts",
    [
        ['{"a":1,"b":20}', '{"b":3,"a":4}', "{}", None, '{"a":9223372036854775807}'],
        ['{"a":-5}', '{ "a" : 6 }', '{"p1":7}', '{"p2":8,"p1":9}', '{"a":0}'],
        ['{"\\u0061":1}', '{"a b":2}', '{"ä":3}'],
    ],
)
def test_shares_are_read_like_json(texts):
    found = column_reader._shares(decoded([None] * len(texts), texts))
    for i, text in enumerate(texts):
        known = {name: values[i] for name, values in found.items() if values[i] != MISSING}
        assert known == json.loads(text or "{}")


@pytest.mark.parametrize(
    "text", ['{"a":1', '{"a":}', '{"a":1.5}', '{"a":"1"}', '{"a":[1]}', '{"a":1,}',
             '{"a":1 2}', '{"a":99999999999999999999}', "[]", '{1"a":}', '{"a1":}', '{"a":1}2',
             "null", '{"a":{"b":1}}',
             pytest.param('{"a":' * 300_000 + "1" + "}" * 300_000, id="deep")],
)  # fmt: skip
def test_invalid_shares_are_rejected(text):
    with pytest.raises(ValueError, match=r"JSON|share"):
        column_reader._shares(decoded(["[1]", "[2]"], ['{"a":1}', text]))


def test_blackouts_per_vcpu_are_missing_where_a_run_has_none():
    texts = ["[1,null]", "[]", None, "[2,3,4]"]
    found = column_reader._vcpus(decoded(texts, [None] * len(texts)))
    assert [values.tolist() for values in found] == [
        [1, MISSING, MISSING, 2],
        [MISSING, MISSING, MISSING, 3],
        [MISSING, MISSING, MISSING, 4],
    ]
