"""A store is created, opened, or rejected with the reason; other files are left alone."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from results.errors import RecordInvalid, UsageError
from results.records.scenario import Session
from results.store.store import FILE_NAME, open_store
from results.store.tables import schema

SESSION = "20261123-221500-3f2a"
LATER = "20261124-221500-0b1c"


def test_the_store_is_in_wal_mode_and_folds_its_log_on_close(tmp_path, make_session):
    with open_store(tmp_path) as opened:
        opened.add_session(make_session())
        with closing(sqlite3.connect(opened.file)) as database:
            mode = database.execute("PRAGMA journal_mode").fetchone()[0]
    assert mode == "wal"
    with open_store(tmp_path) as opened:
        assert opened.session_ids()[-1] == SESSION
    assert not (tmp_path / f"{FILE_NAME}-wal").exists()


def test_a_file_is_not_a_store_directory(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for create in (True, False):
        with pytest.raises(UsageError, match="not a directory"):
            open_store(path, create=create)
    assert path.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_rejected():
    with pytest.raises(UsageError, match="cannot create a store in /proc/self"):
        open_store(Path("/proc/self/pausebench"))


def test_reading_creates_nothing(tmp_path):
    with pytest.raises(UsageError, match="no store in"):
        open_store(tmp_path / "out", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("content", [b"not a database, but long enough" * 99, b"x"])
def test_a_file_that_is_not_sqlite_is_left_alone(tmp_path, content, create):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(UsageError, match="not a database"):
        open_store(tmp_path, create=create)
    assert (tmp_path / FILE_NAME).read_bytes() == content


@pytest.mark.parametrize("create", [True, False])
def test_another_programs_database_is_left_alone(tmp_path, create):
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("CREATE TABLE theirs (x)")
        database.execute("PRAGMA user_version = 1")
    database.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(UsageError, match="another program"):
        open_store(tmp_path, create=create)
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_store_asks_for_an_upgrade(tmp_path, create):
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    database.close()
    with pytest.raises(RecordInvalid, match="upgrade pausebench"):
        open_store(tmp_path, create=create)


def test_a_user_who_cannot_write_can_read(make_session, make_run, add):
    """Root measures, anybody may read. As root, this test reads as nobody."""
    place = Path(tempfile.mkdtemp())
    try:
        with open_store(place / "out") as opened:
            opened.add_session(make_session())
            add(opened, make_run())
        for path in (place, place / "out", *(place / "out").rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            with open_store(place / "out", create=False) as opened:
                assert opened.runs() == [make_run()]
                assert opened.recording(make_run().id).session == SESSION
            with pytest.raises(UsageError, match="cannot be used as a store"):
                open_store(place / "out").add_session(make_session(LATER))
        finally:
            if root:
                os.seteuid(0)
    finally:
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(place)


def _write_session(directory, number):
    session = f"20261123-22150{number}-3f2a"
    with open_store(directory) as opened:
        opened.add_session(Session(session, number, (), (), {}))


def test_sessions_that_start_at_once_share_one_store(tmp_path):
    context = multiprocessing.get_context("spawn" if os.name == "nt" else "fork")
    writers = [context.Process(target=_write_session, args=(tmp_path, n)) for n in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [w.exitcode for w in writers] == [0] * 6
    with open_store(tmp_path, create=False) as opened:
        assert len(opened.sessions()) == 6


def test_an_empty_file_is_not_a_store(tmp_path):
    (tmp_path / FILE_NAME).touch()
    with pytest.raises(UsageError, match="is an empty file"):
        open_store(tmp_path, create=False)
    open_store(tmp_path).close()  # a store is created in it


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("name", ["out", f"out/{FILE_NAME}"])
def test_a_link_to_nothing_is_named(tmp_path, create, name):
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("/nowhere/at/all")
    with pytest.raises(UsageError) as caught:
        open_store(tmp_path / "out", create=create)
    assert f"{link} is a link to /nowhere/at/all, which is missing" in str(caught.value)
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("path", ["link/out", "loop", "loop/out/deep"])
def test_a_path_through_a_link_to_nothing_is_named(tmp_path, create, path):
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match=rf"{path[:4]} is a link to \w+, which is missing"):
        open_store(tmp_path / path, create=create)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_not_a_regular_file_is_not_opened(tmp_path, create, make):
    make(tmp_path / FILE_NAME)  # opening a pipe would block
    with pytest.raises(UsageError, match=f"{FILE_NAME} is not a regular file"):
        open_store(tmp_path, create=create)


def test_a_link_to_a_store_is_followed(tmp_path, make_session):
    open_store(tmp_path / "there").close()
    (tmp_path / "out").symlink_to("there")
    with open_store(tmp_path / "out") as opened:
        opened.add_session(make_session())
    assert open_store(tmp_path / "there", create=False).session_ids()[-1] == SESSION
