"""What was stored comes back complete, and what was not stored by pausebench is rejected."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import msgspec
import pytest

from results.errors import RecordInvalid, UsageError
from results.records.run import SCHEMA
from results.store import database
from results.store.column_reader import read_columns
from results.store.store import AaEntry, open_store

SESSION = "20261123-221500-3f2a"
LATER = "20261124-221500-0b1c"


def test_a_run_comes_back_complete(store, stored, make_recording):
    assert store.run(stored.id) == stored
    assert store.runs() == [stored]
    assert store.run_ids(SESSION) == [stored.id]
    assert store.recording(stored.id) == make_recording(stored)


def test_sessions_come_back_with_their_end(store, make_session):
    store.add_session(make_session(LATER))
    assert store.session(SESSION) == make_session()
    assert [s.id for s in store.sessions()] == [SESSION, LATER]
    assert store.session_end(SESSION).exit_code is None
    store.finish_session(SESSION, 99, 3)
    end = store.session_end(SESSION)
    assert (end.ended_unix_ns, end.exit_code) == (99, 3)
    assert store.session_end(LATER).ended_unix_ns is None


def test_runs_are_filtered_and_in_order_of_adding(store, make_session, make_run, add):
    store.add_session(make_session(LATER))
    runs = [
        make_run(update=2),
        make_run(update=1, outcome="failed", reason="EventsLost", blackout_ns=None),
        make_run(scenario="memfd"),
        make_run(session=LATER),
    ]
    add(store, *runs)
    assert store.runs() == runs
    assert store.runs(session=SESSION) == runs[:3]
    assert store.runs(scenario="memfd") == [runs[2]]
    assert store.runs(outcome="failed") == [runs[1]]
    assert store.runs(session=SESSION, scenario="anon", outcome="completed") == [runs[0]]
    assert store.scenarios() == ["anon", "memfd"]


def test_runs_can_be_added_while_others_are_read(store, make_run, add):
    add(store, *(make_run(update=u) for u in range(1, 4)))
    reading = store.iter_runs()
    next(reading)
    add(store, make_run(update=4))
    assert len(list(reading)) >= 2
    assert len(store.runs()) == 4
    assert store.damages == ()


def test_aa_comparisons_are_found_by_cell_and_session(store):
    entries = [AaEntry("host", f"vcpus={n}", 4, n, "same") for n in (1, 2)]
    for entry in entries:
        store.add_aa(SESSION, entry)
    assert store.aa("host") == entries
    assert store.aa("host", "vcpus=2") == [entries[1]]
    assert store.aa("elsewhere") == []
    assert store.aa_of(SESSION) == entries


def test_aa_comparisons_are_found_by_time_and_kernel(store, make_session):
    earlier, other = "20261122-221500-3f2a", "20261121-221500-3f2a"
    store.add_session(replace(make_session(earlier), started_unix_ns=5))
    store.add_session(replace(make_session(other), started_unix_ns=6, environment={"kernel": "1"}))
    entries = [AaEntry("host", "vcpus=2", 4, n, "same") for n in range(3)]
    for session, entry in zip((SESSION, earlier, other), entries, strict=True):
        store.add_aa(session, entry)
    started = make_session().started_unix_ns
    for until, expected in (
        (started, [(earlier, entries[1]), (SESSION, entries[0])]),
        (started - 1, [(earlier, entries[1])]),
        (4, []),
    ):
        found = store.aa_until(until, host="host", kernel="6.12", dimensions="vcpus=2")
        assert found == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": SCHEMA + 1}, "upgrade pausebench"),
        ({"id": "20261123-221500-3f2a.anon.b09.u09"}, "holds run"),
        ({"outcome": "splendid"}, "is not a valid Run"),
        ({"blackout_ns": "4 ms"}, "is not a valid Run"),
    ],
)
def test_a_forged_record_is_rejected(store, stored, forge, change, message):
    record = msgspec.json.decode(msgspec.json.encode(stored)) | change
    forge(store, "records", record=json.dumps(record))
    for call in (lambda: store.run(stored.id), store.runs):
        with pytest.raises(RecordInvalid, match=message) as caught:
            call()
        assert stored.id in str(caught.value)


def test_a_forged_record_cannot_be_huge(tmp_path, store, stored, forge, monkeypatch):
    forge(store, "records", record="x" * (1 << 20))
    store.close()
    monkeypatch.setattr(database, "MAX_BYTES", 1 << 19)
    with open_store(tmp_path / "out", create=False) as opened:
        with pytest.raises(RecordInvalid, match="its record is damaged"):
            opened.run(stored.id)


@pytest.mark.parametrize(
    ("session", "shown"),
    [
        ("../../x", "'../../x'"),
        ("/etc/x", "'/etc/x'"),
        ("<script>", "'<script>'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("", "''"),
    ],
)
def test_a_session_id_that_could_be_a_path_is_rejected(store, make_session, forge, session, shown):
    record = msgspec.json.encode(make_session(session)).decode()
    forge(store, "sessions", id=session, record=record)
    for call in (
        store.session_ids,
        store.sessions,
        lambda: store.session(session),
        lambda: store.resolve_session(session),
    ):
        with pytest.raises(RecordInvalid) as caught:
            call()
        assert str(caught.value) == (
            f"{store.file}: malformed session id {shown} (YYYYMMDD-HHMMSS-xxxx)"
        )


@pytest.mark.parametrize("run_id", ["../x", f"{SESSION}.\x1b[2J.b1.u1", "<script>"])
def test_a_run_id_that_could_be_a_path_is_rejected(store, stored, forge, run_id):
    record = msgspec.json.encode(replace(stored, id=run_id)).decode()
    forge(store, "runs", id=run_id)
    forge(store, "records", record=record)
    for call in (
        lambda: store.run(store.resolve_run("")),
        lambda: store.run_by_seq(1),
        store.runs,
    ):
        with pytest.raises((RecordInvalid, UsageError), match="malformed run id") as caught:
            call()
        assert "\x1b" not in str(caught.value)


def _write_runs(path, sessions, runs):
    with open_store(path) as opened:
        for session in sessions:
            opened.add_session(session)
            for run, recording in runs[session.id]:
                opened.add_run(run, recording)
            opened.add_aa(session.id, AaEntry("host", "vcpus=2", 4, 7, "same"))
            opened.finish_session(session.id, 1, 0)


def test_a_store_that_is_being_written_is_never_taken_for_damaged(
    tmp_path, make_session, make_run, make_recording
):
    sessions = [make_session(f"2026112{day}-221500-3f2a") for day in range(1, 6)]
    runs = {
        session.id: [
            (run, make_recording(run))
            for run in (make_run(update=n, session=session.id) for n in range(1, 21))
        ]
        for session in sessions
    }
    open_store(tmp_path).close()
    writer = multiprocessing.get_context("fork").Process(
        target=_write_runs, args=(tmp_path, sessions, runs)
    )
    writer.start()
    seen = []
    while True:
        ended = not writer.is_alive()
        with open_store(tmp_path, create=False) as opened:
            ids = opened.session_ids()
            counts = [len(opened.runs(session=session)) for session in ids]
            assert len(read_columns(opened, ids)) >= sum(counts)
            opened.aa("host")
            assert opened.damages == ()
            seen.append(sum(counts))
        if ended:
            break
    assert writer.exitcode == 0
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert len(set(seen)) > 3
