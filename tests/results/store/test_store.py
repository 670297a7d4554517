"""The store keeps what it is given, refuses what it cannot trust, and is never half-written."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import re
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest

from results.errors import RecordInvalid, UsageError
from results.records.observations import DeviceContinuity
from results.records.run import SCHEMA, Run
from results.store import recordings as raw
from results.store import schema as tables
from results.store.store import FILE_NAME, Store, new_run_id, new_session_id, open_store

SESSION = "20261123-221500-3f2a"
LATER = "20261124-221500-0b1c"


@pytest.fixture
def store(tmp_path, make_session):
    with open_store(tmp_path / "out") as opened:
        opened.add_session(make_session())
        yield opened


@pytest.fixture
def stored(store, make_run, make_recording):
    run = make_run()
    store.add_run(run, make_recording(run))
    return run


def add(store: Store, make_recording, *runs: Run) -> None:
    for run in runs:
        store.add_run(run, make_recording(run))


# Ids


def test_ids_are_readable_sortable_and_random(monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        ids = {new_session_id(1_795_472_100_000_000_000) for _ in range(20)}
    time.tzset()
    assert len(ids) > 10
    assert all(re.fullmatch(r"20261123-221500-[0-9a-f]{4}", i) for i in ids)
    assert new_run_id(SESSION, "hugetlb-2m", 1, 3) == f"{SESSION}.hugetlb-2m.b01.u03"
    named = [new_run_id(SESSION, "anon", 1, update) for update in (1, 9, 10, 20)]
    assert named == sorted(named)


@pytest.mark.parametrize(
    "scenario", ["", "../x", "a/b", ".hidden", "a" * 81, "a\n", "naïve", "x.b1.u1/../y"]
)
def test_a_scenario_that_is_no_file_name_names_no_run(scenario):
    with pytest.raises(UsageError, match="cannot name a run"):
        new_run_id(SESSION, scenario, 1, 1)


@pytest.mark.parametrize(
    "run_id",
    [
        "../../etc/passwd",
        f"{SESSION}.../../../x.b1.u1",
        f"{SESSION}/../x.anon.b1.u1",
        f"{SESSION}.anon.b1.u1\n",
        f"{SESSION}.anon.b1.u1/../../x",
        "",
        "/etc/shadow",
    ],
)
def test_an_id_never_leaves_the_store(store, run_id):
    for call in (store.recording, store.recording_path, store.run, store.resolve_run):
        with pytest.raises(UsageError):
            call(run_id)


# Round trips


def test_a_run_comes_back_complete(store, stored, make_recording):
    assert store.run(stored.id) == stored
    assert store.runs() == [stored]
    assert store.recording(stored.id) == make_recording(stored)


def test_every_field_of_a_run_survives(store, good_like_run, make_recording):
    store.add_run(good_like_run, make_recording(good_like_run))
    back = store.run(good_like_run.id)
    for field in fields(Run):
        assert getattr(back, field.name) == getattr(good_like_run, field.name), field.name


@pytest.fixture
def good_like_run(make_run):
    """A run with every optional scalar set to a value of its own."""
    run = make_run(boot=2)
    values = {
        f.name: 1000 + i
        for i, f in enumerate(fields(Run))
        if f.name.endswith("_ns") and getattr(run, f.name) is None
    }
    return replace(run, **values, perf={"old": {"cycles": 1 << 40}}, log_tail="a\nb\x1b[0m")


def test_scalars_are_columns(store, stored):
    with sqlite3.connect(store.file) as database:
        row = database.execute(
            'SELECT blackout_ns, outcome, scenario, new_build, boot, "update", phases, qemu_ns '
            "FROM runs"
        ).fetchone()
    assert row[:6] == (4_420_000, "completed", "anon", "system", 1, 1)
    assert json.loads(row[6]) == {"quiesce": 1200}
    assert row[7] == 2_000_000


def test_sessions_come_back_with_their_end(store, make_session):
    store.add_session(make_session(LATER))
    assert store.session(SESSION) == make_session()
    assert [s.id for s in store.sessions()] == [SESSION, LATER]
    assert store.latest_session_id() == LATER
    assert store.session_end(SESSION).exit_code is None
    store.finish_session(SESSION, 99, 3)
    end = store.session_end(SESSION)
    assert (end.ended_unix_ns, end.exit_code) == (99, 3)
    assert store.session_end(LATER).ended_unix_ns is None


def test_runs_are_filtered_and_in_order_of_adding(store, make_session, make_run, make_recording):
    store.add_session(make_session(LATER))
    runs = [
        make_run(update=2),
        make_run(update=1, outcome="failed", reason="EventsLost", blackout_ns=None),
        make_run(scenario="memfd"),
        make_run(session=LATER),
    ]
    add(store, make_recording, *runs)
    assert store.runs() == runs
    assert store.runs(session=SESSION) == runs[:3]
    assert store.runs(scenario="memfd") == [runs[2]]
    assert store.runs(outcome="failed") == [runs[1]]
    assert store.runs(session=SESSION, scenario="anon", outcome="completed") == [runs[0]]


def test_runs_can_be_added_while_others_are_read(store, make_run, make_recording):
    add(store, make_recording, *(make_run(update=u) for u in range(1, 4)))
    reading = store.iter_runs()
    next(reading)
    add(store, make_recording, make_run(update=4))
    assert len(list(reading)) >= 2
    assert len(store.runs()) == 4


# Evidence first, nothing overwritten, nothing half-written


def test_a_run_is_never_overwritten(store, stored, make_recording):
    before = store.recording_path(stored.id).read_bytes()
    other = replace(make_recording(stored), lost=7)
    with pytest.raises(UsageError, match="already stored"):
        store.add_run(stored, other)
    assert store.recording_path(stored.id).read_bytes() == before


def test_a_row_needs_evidence(store, make_run, make_recording, monkeypatch):
    def full(*_args):
        raise UsageError("disk full")

    monkeypatch.setattr("results.store.store.write_recording", full)
    run = make_run()
    with pytest.raises(UsageError):
        store.add_run(run, make_recording(run))
    assert store.runs() == []


def test_a_failed_write_leaves_no_file(store, make_run, make_recording, monkeypatch):
    def broken(_from, _to):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("results.store.recordings.Path.replace", broken)
    run = make_run()
    with pytest.raises(UsageError, match="No space left"):
        store.add_run(run, make_recording(run))
    monkeypatch.undo()
    assert [p for p in (store.path / "raw").rglob("*") if p.is_file()] == []
    assert store.runs() == []


def test_what_was_added_is_brought_to_the_disk(store, make_run, make_recording, monkeypatch):
    synced = []

    def note(handle):
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))

    monkeypatch.setattr("results.store.recordings.os.fsync", note)
    run = make_run()
    store.add_run(run, make_recording(run))
    assert synced == []
    store.sync()
    file = store.recording_path(run.id).resolve()
    assert synced == [str(file), str(file.parent)]
    store.sync()
    assert len(synced) == 2


def test_the_end_of_a_session_brings_its_runs_to_the_disk(
    store, make_run, make_recording, monkeypatch
):
    synced = []
    monkeypatch.setattr("results.store.recordings.os.fsync", synced.append)
    run = make_run()
    store.add_run(run, make_recording(run))
    store.finish_session(run.session, 1, 0)
    assert len(synced) == 2


def test_a_run_needs_its_session_and_its_own_recording(store, make_run, make_recording):
    stray = make_run(session=LATER)
    with pytest.raises(UsageError, match="a run needs its session"):
        store.add_run(stray, make_recording(stray))
    run = make_run()
    with pytest.raises(UsageError, match="does not belong"):
        store.add_run(run, make_recording(make_run(update=2)))
    with pytest.raises(UsageError, match="does not belong"):
        store.add_run(replace(run, session=LATER), replace(make_recording(run), session=LATER))
    assert store.runs() == []


def test_sessions_are_unique_and_well_named(store, make_session):
    with pytest.raises(UsageError, match="unique"):
        store.add_session(make_session())
    with pytest.raises(UsageError, match="no session id"):
        store.add_session(make_session("../evil"))
    with pytest.raises(UsageError, match="no session"):
        store.finish_session(LATER, 1, 0)


def test_what_could_not_be_read_again_is_not_stored(store, make_run, make_recording):
    run = make_run()
    with pytest.raises(RecordInvalid):
        store.add_run(run, replace(make_recording(run), tick_ns=float("nan")))
    with pytest.raises(RecordInvalid):
        store.add_run(replace(run, log_tail="\udcff"), make_recording(run))
    assert store.runs() == []


def _write_session(directory, number):
    session = f"20261123-22150{number}-3f2a"
    from results.records.scenario import Session

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


# Opening


def test_the_store_is_in_wal_mode_and_folds_its_log_on_close(tmp_path, make_session):
    with open_store(tmp_path) as opened:
        opened.add_session(make_session())
        with closing(sqlite3.connect(opened.file)) as database:
            mode = database.execute("PRAGMA journal_mode").fetchone()[0]
    assert mode == "wal"
    with open_store(tmp_path) as opened:
        assert opened.latest_session_id() == SESSION
    assert not (tmp_path / f"{FILE_NAME}-wal").exists()


def test_a_file_is_no_store_directory(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for create in (True, False):
        with pytest.raises(UsageError, match="no directory"):
            open_store(path, create=create)
    assert path.read_text() == "mine"


def test_an_unwritable_place_is_refused():
    with pytest.raises(UsageError, match="cannot make a store in /proc/self"):
        open_store(Path("/proc/self/pausebench"))


def test_reading_makes_nothing(tmp_path):
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
        database.execute(f"PRAGMA user_version = {tables.VERSION + 1}")
    database.close()
    with pytest.raises(RecordInvalid, match="upgrade pausebench"):
        open_store(tmp_path, create=create)


def test_a_user_who_cannot_write_can_read(make_session, make_run, make_recording):
    """Root measured; anybody may look. As root, this test looks as nobody."""
    place = Path(tempfile.mkdtemp())
    try:
        with open_store(place / "out") as opened:
            opened.add_session(make_session())
            add(opened, make_recording, make_run())
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


def test_a_damaged_database_is_named(tmp_path, make_session, make_run, make_recording):
    with open_store(tmp_path) as opened:
        opened.add_session(make_session())
        add(opened, make_recording, *(make_run(update=u) for u in range(1, 40)))
    file = tmp_path / FILE_NAME
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    with pytest.raises((RecordInvalid, UsageError), match=FILE_NAME):
        open_store(tmp_path, create=False).runs()


# Records that cannot be trusted


def overwrite(store: Store, run: Run, payload: bytes) -> Path:
    path = store.recording_path(run.id)
    path.write_bytes(payload)
    return path


def sound(store: Store, run: Run) -> dict:
    return json.loads(gzip.decompress(store.recording_path(run.id).read_bytes()))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-9], "truncated"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"", "truncated"),
        (lambda data: data + b"more", "after its end"),
        (lambda data: b"plain text", "no sound gzip"),
        (lambda data: data[:-8] + bytes(8), "no sound gzip"),
        (lambda data: gzip.compress(b"{"), "is no Recording"),
        (lambda data: gzip.compress(b"[]"), "is no Recording"),
        (lambda data: gzip.compress(b"\xff\xfe"), "is no Recording"),
        (lambda data: gzip.compress(b'{"unknown":' + b"[" * 200_000), "is no Recording"),
    ],
)
def test_a_damaged_recording_is_refused_by_name(store, stored, damage, said):
    path = store.recording_path(stored.id)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordInvalid, match=said) as caught:
        store.recording(stored.id)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": SCHEMA + 1}, "upgrade pausebench"),
        ({"schema": 0}, "reads 1 only"),
        ({"schema": SCHEMA + 1, "events": "of another shape"}, "upgrade pausebench"),
        ({"events": [{"ns": "soon"}]}, "is no Recording"),
        ({"old": None}, "is no Recording"),
        ({"id": "20261123-221500-3f2a.anon.b09.u09"}, "holds the recording of"),
    ],
)
def test_a_recording_of_another_shape_is_refused(store, stored, change, said):
    path = overwrite(
        store, stored, gzip.compress(json.dumps(sound(store, stored) | change).encode())
    )
    with pytest.raises(RecordInvalid, match=said) as caught:
        store.recording(stored.id)
    assert path.name in str(caught.value)


def test_a_gzip_bomb_is_refused_before_it_unpacks(store, stored, monkeypatch):
    monkeypatch.setattr(raw, "MAX_BYTES", 1 << 20)
    bomb = gzip.compress(b'{"a":"' + b" " * (64 << 20) + b'"}')
    overwrite(store, stored, bomb)
    with pytest.raises(RecordInvalid, match="more than 1 MiB"):
        store.recording(stored.id)
    overwrite(store, stored, os.urandom((1 << 20) + 1))
    with pytest.raises(RecordInvalid, match="more than 1 MiB"):
        store.recording(stored.id)


def test_the_largest_recording_still_fits(store, stored, monkeypatch):
    payload = gzip.decompress(store.recording_path(stored.id).read_bytes())
    monkeypatch.setattr(raw, "MAX_BYTES", len(payload))
    assert store.recording(stored.id).id == stored.id


def test_only_a_regular_file_is_read(store, stored, tmp_path):
    path = store.recording_path(stored.id)
    elsewhere = tmp_path / "elsewhere.json.gz"
    path.rename(elsewhere)
    with pytest.raises(RecordInvalid, match="cannot be read: No such file"):
        store.recording(stored.id)
    path.symlink_to(elsewhere)
    with pytest.raises(RecordInvalid, match="cannot be read"):
        store.recording(stored.id)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RecordInvalid, match="no regular file"):
        store.recording(stored.id)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": SCHEMA + 1}, "upgrade pausebench"),
        ({"id": "20261123-221500-3f2a.anon.b09.u09"}, "holds run"),
        ({"outcome": "splendid"}, "is no Run"),
        ({"blackout_ns": "4 ms"}, "is no Run"),
    ],
)
def test_a_forged_row_is_refused(store, stored, change, said):
    record = msgspec.json.decode(msgspec.json.encode(stored)) | change
    with sqlite3.connect(store.file) as database:
        database.execute("UPDATE records SET record = ?", [json.dumps(record)])
    database.close()
    for call in (lambda: store.run(stored.id), store.runs):
        with pytest.raises(RecordInvalid, match=said) as caught:
            call()
        assert stored.id in str(caught.value)


def test_a_forged_row_cannot_be_huge(tmp_path, store, stored, monkeypatch):
    with sqlite3.connect(store.file) as database:
        database.execute("UPDATE records SET record = ?", ["x" * (1 << 20)])
    database.close()
    store.close()
    monkeypatch.setattr(tables, "MAX_BYTES", 1 << 19)
    with open_store(tmp_path / "out", create=False) as opened:
        with pytest.raises((RecordInvalid, UsageError), match="too big"):
            opened.run(stored.id)


# What a person types


@pytest.fixture
def filled(store, make_session, make_run, make_recording):
    store.add_session(make_session(LATER))
    add(
        store,
        make_recording,
        make_run(update=1, blackout_ns=9_000_000),
        make_run(update=2),
        make_run(session=LATER, update=1, blackout_ns=5_000_000),
        make_run(session=LATER, update=2, blackout_ns=7_000_000),
        make_run(session=LATER, update=3, outcome="failed", reason="lost", blackout_ns=8_000_000),
        make_run(session=LATER, update=4, blackout_ns=6_000_000),
    )
    return store


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("last", f"{LATER}.anon.b01.u04"),
        ("worst", f"{LATER}.anon.b01.u02"),
        (f"{SESSION}.anon.b01.u02", f"{SESSION}.anon.b01.u02"),
        (f"{LATER}.anon.b01.u01", f"{LATER}.anon.b01.u01"),
    ],
)
def test_what_a_person_types_finds_the_run(filled, text, means):
    assert filled.resolve_run(text) == means


def test_a_prefix_is_enough_when_it_is_unique(filled, make_run, make_recording):
    assert filled.resolve_session("20261124") == LATER
    assert filled.resolve_session("last") == LATER
    longer = replace(make_run(), id=f"{SESSION}.anon.b01.u022")
    add(filled, make_recording, longer)
    assert filled.resolve_run(f"{SESSION}.anon.b01.u022") == longer.id
    assert filled.resolve_run(f"{SESSION}.anon.b01.u02") == f"{SESSION}.anon.b01.u02"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SESSION, f"more than one run: {SESSION}.anon.b01.u01, {SESSION}.anon.b01.u02"),
        ("anon.b01.u03", f"close: {LATER}.anon.b01.u03"),
        (f"{LATER}.anom.b01.u03", f"close: {LATER}.anon.b01.u03"),
        ("%", "no run '%'"),
        ("\udcff", "no run"),
        ("", "more than one run"),
    ],
)
def test_what_means_none_or_several_names_candidates(filled, text, said):
    with pytest.raises(UsageError) as caught:
        filled.resolve_run(text)
    assert said in str(caught.value)


def test_an_empty_store_says_so(tmp_path, make_session):
    with open_store(tmp_path) as opened:
        for call in (opened.latest_session_id, lambda: opened.resolve_run("worst")):
            with pytest.raises(UsageError, match="is empty"):
                call()
        opened.add_session(make_session())
        for text, said in (("last", "no run is stored"), ("worst", "no completed run")):
            with pytest.raises(UsageError, match=said):
                opened.resolve_run(text)
        opened.add_session(make_session(LATER))
        with pytest.raises(UsageError, match="more than one session"):
            opened.resolve_session("2026")


# --- stores of earlier versions ------------------------------------------------------------


DEVICE = DeviceContinuity(
    "0000:00:04.0", 1204, 3, 0, 0, 0, 0, 158_000_000, 1_000_000, ("2 lost", "1 repeated")
)


def as_version(path, version):
    """Take away what later versions added."""
    with closing(sqlite3.connect(path / FILE_NAME)) as database:
        for later in range(version + 1, tables.VERSION + 1):
            for name in tables.ADDED[later]:
                database.execute(f"ALTER TABLE runs DROP COLUMN {name}")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("version", range(1, tables.VERSION))
def test_an_older_store_is_upgraded(
    tmp_path, make_run, make_recording, make_session, version, create
):
    names = ('"id"', *(name for columns in tables.ADDED.values() for name in columns))
    with open_store(tmp_path) as store:
        store.add_session(make_session())
        for update, fields in (
            (1, {"brownout_ns": 7, "brownout_watched_ns": 9, "device": DEVICE}),
            (2, {"spans": (), "vcpu_blackouts_ns": ()}),
        ):
            run = make_run(update=update, **fields)
            store.add_run(run, make_recording(run))
        before = list(store.columns(names, [SESSION]))
    assert before[0][-5:] == (7, 9, 1204, 2, 158_000_000)
    assert before[1][-5:] == (None, None, None, None, None)
    as_version(tmp_path, version)
    with open_store(tmp_path, create=create) as store:
        assert list(store.columns(names, [SESSION])) == before
        assert [run.update for run in store.runs()] == [1, 2]


@pytest.mark.parametrize("version", range(1, tables.VERSION))
def test_an_older_store_that_cannot_be_written_is_refused(tmp_path, version):
    open_store(tmp_path).close()
    as_version(tmp_path, version)
    with (
        patch.object(tables.os, "access", return_value=False),
        pytest.raises(RecordInvalid, match=f"store version {version} and cannot be written"),
    ):
        open_store(tmp_path, create=False)
