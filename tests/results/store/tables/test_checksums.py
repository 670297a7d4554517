"""A checksum changes with any value of its row, and many at once are those one by one."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.store.tables import schema
from results.store.tables.checksums import fold, is_sound, sealed
from results.store.tables.columns import integers
from results.store.tables.rows import row_of
from results.store.tables.verification import fold_all

INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)


@pytest.fixture
def row(make_run):
    return sealed(schema.RUNS, {"seq": 1, **row_of(make_run())})


@pytest.mark.parametrize("name", [c.name for c in schema.RUNS.columns if c.name != "checksum"])
def test_every_value_of_a_run_is_covered(row, name):
    before = row[name]
    after = before + "x" if isinstance(before, str) else (before or 0) + 1
    assert is_sound(schema.RUNS, row)
    assert not is_sound(schema.RUNS, {**row, name: after})


@pytest.mark.parametrize("value", [b"bytes", 1.5])
def test_a_value_of_another_type_is_not_sound(row, value):
    for name in ("scenario", "boot", "shares"):
        assert not is_sound(schema.RUNS, {**row, name: value})


def test_a_row_is_not_sound_in_another_table():
    row = {"seq": 1, "record": "{}"}
    rows = [sealed(table, dict.fromkeys(table.c.keys()) | row) for table in schema.CHECKED]
    sums = {row["checksum"] for row in rows}
    assert len(sums) == len(schema.CHECKED)


@given(st.lists(st.lists(INTEGERS, min_size=3, max_size=3), min_size=1))
def test_many_are_folded_as_one(rows):
    columns = [integers(column) for column in zip(*rows, strict=True)]
    assert fold_all(columns).tolist() == [fold(row) for row in rows]


def test_what_is_stored_is_sound(store, stored, add, make_run):
    add(store, make_run(update=2, reason="x\x1fy\n", outcome="failed", blackout_ns=None))
    with closing(sqlite3.connect(store.file)) as database:
        database.row_factory = sqlite3.Row
        for table in schema.CHECKED:
            for row in database.execute(f"SELECT * FROM {table.name}"):
                assert is_sound(table, dict(row)), table.name
