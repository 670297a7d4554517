"""Stores on disk for the tests of this folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from results.store.store import open_store
from results.store.tables import schema
from results.store.tables.checksums import sealed


@pytest.fixture
def store(tmp_path, make_session):
    """A store with one session."""
    with open_store(tmp_path / "out") as opened:
        opened.add_session(make_session())
        yield opened


@pytest.fixture
def stored(store, make_run, make_recording):
    """A run in that store."""
    run = make_run()
    store.add_run(run, make_recording(run))
    return run


@pytest.fixture
def add(make_recording) -> Callable[..., None]:
    """Adds runs to a store, each with its recording."""

    def add(store, *runs) -> None:
        for run in runs:
            store.add_run(run, make_recording(run))

    return add


@pytest.fixture
def forge() -> Callable[..., None]:
    """Changes a row behind the store's back; unless `sound` is false, its checksum matches."""

    def forge(store, table, seq=1, *, sound=True, **values) -> None:
        with closing(sqlite3.connect(store.file)) as database:
            database.row_factory = sqlite3.Row
            row = dict(database.execute(f"SELECT * FROM {table} WHERE seq = ?", (seq,)).fetchone())
            row |= values
            if sound:
                row = sealed(schema.METADATA.tables[table], row)
            columns = ", ".join(f'"{name}" = ?' for name in row)
            database.execute(f"UPDATE {table} SET {columns} WHERE seq = ?", (*row.values(), seq))
            database.commit()

    return forge
