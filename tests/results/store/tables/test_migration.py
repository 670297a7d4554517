"""Stores of earlier versions are upgraded, and every row of them gets a checksum."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from unittest.mock import patch

import pytest

from results.errors import RecordInvalid
from results.records.observations import DeviceContinuity
from results.store import database
from results.store.store import FILE_NAME, AaEntry, open_store
from results.store.tables import migration, schema
from results.store.tables.checksums import is_sound

SESSION = "20261123-221500-3f2a"
DEVICE = DeviceContinuity(
    "0000:00:04.0", 1204, 3, 0, 0, 0, 0, 158_000_000, 1_000_000, ("2 lost", "1 repeated")
)
OLDER = range(1, schema.VERSION)


def as_version(path, version):
    """Remove what later versions added."""
    with closing(sqlite3.connect(path / FILE_NAME)) as old:
        for name in ("tallies", "staged"):
            old.execute(f"DROP TABLE {name}")
        for name in ("sessions", "runs", "records", "aa"):
            old.execute(f"ALTER TABLE {name} DROP COLUMN checksum")
        old.execute("ALTER TABLE runs DROP COLUMN others_crc")
        for later, columns in migration.ADDED.items():
            for name in columns if later > version else ():
                old.execute(f"ALTER TABLE runs DROP COLUMN {name}")
        old.execute(f"PRAGMA user_version = {version}")
        old.commit()


@pytest.fixture
def older(tmp_path, make_run, make_session, add):
    """Makes a store of an earlier version with two runs; returns their columns as they were."""

    def make(version):
        with open_store(tmp_path) as store:
            store.add_session(make_session())
            add(
                store,
                make_run(brownout_ns=7, brownout_watched_ns=9, device=DEVICE),
                make_run(update=2, spans=(), vcpu_blackouts_ns=()),
            )
            store.add_aa(SESSION, AaEntry("host", "vcpus=2", 4, 7, "same"))
            before = columns(store)
        as_version(tmp_path, version)
        return before

    return make


def columns(store):
    added = (name for names in migration.ADDED.values() for name in names)
    return list(store.database.columns(('"id"', *added), [SESSION]))


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("version", OLDER)
def test_an_older_store_is_upgraded(tmp_path, older, version, create):
    before = older(version)
    assert before[0][-5:] == (7, 9, 1204, 2, 158_000_000)
    assert before[1][-5:] == (None, None, None, None, None)
    with open_store(tmp_path, create=create) as store:
        assert columns(store) == before
        assert [run.update for run in store.runs()] == [1, 2]
        assert len(store.aa("host")) == 1
        assert store.damages == ()


@pytest.mark.parametrize("version", OLDER)
def test_every_row_of_an_older_store_gets_a_checksum(tmp_path, older, version):
    older(version)
    open_store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as upgraded:
        upgraded.row_factory = sqlite3.Row
        for table in schema.CHECKED:
            rows = [dict(row) for row in upgraded.execute(f"SELECT * FROM {table.name}")]
            assert rows
            assert all(is_sound(table, row) for row in rows), table.name


@pytest.mark.parametrize("record", ["{", '{"id": "another"}'])
def test_a_row_whose_record_is_not_its_own_is_damaged_after_the_upgrade(tmp_path, older, record):
    older(4)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as old:
        old.execute("UPDATE records SET record = ? WHERE seq = 2", (record,))
        old.commit()
    with open_store(tmp_path) as store:
        assert [run.update for run in store.runs()] == [1]
        (damage,) = store.damages
    assert f"{SESSION}.anon.b01.u02" in damage.text


def test_a_damaged_older_store_is_not_declared_sound(tmp_path, older):
    older(4)
    file = tmp_path / FILE_NAME
    with closing(sqlite3.connect(file)) as old:
        (page,) = old.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'runs_by_session'"
        ).fetchone()
    content = bytearray(file.read_bytes())
    content[(page - 1) * 4096 + 4000 : page * 4096] = bytes(96)
    file.write_bytes(content)
    with pytest.raises(RecordInvalid, match="is damaged") as caught:
        open_store(tmp_path, create=False)
    assert str(file) in str(caught.value)
    assert file.read_bytes() == content


@pytest.mark.parametrize("version", OLDER)
def test_an_older_store_that_cannot_be_written_is_rejected(tmp_path, older, version):
    older(version)
    with (
        patch.object(database.os, "access", return_value=False),
        pytest.raises(RecordInvalid, match=f"store version {version} and cannot be written"),
    ):
        open_store(tmp_path, create=False)
