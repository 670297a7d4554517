"""Ids never leave the store's directory, and only complete recordings are read."""

from __future__ import annotations

import gzip
import json
import os
import re
import time

import pytest

from results.errors import RecordInvalid, UsageError
from results.records.run import SCHEMA
from results.store import recordings
from results.store.recordings import cut, raw_ids
from results.store.store import new_run_id, new_session_id

SESSION = "20261123-221500-3f2a"


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
def test_a_scenario_that_cannot_be_a_file_name_names_no_run(scenario):
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"'\x1b[31m'"),
        ("\u202e", r"'\u202e'"),
        ("x" * 500, "'" + "x" * 79 + "…'"),
    ],
)
def test_text_of_unknown_origin_is_escaped_and_cut(text, shown):
    assert cut(text) == shown


def test_raw_evidence_tells_the_runs_of_a_session(store, stored):
    (store.path / "raw" / SESSION / "notes.json.gz").touch()
    assert raw_ids(store.path, SESSION) == {stored.id}
    assert raw_ids(store.path, "../raw") == set()


def overwrite(store, run, payload):
    path = store.recording_path(run.id)
    path.write_bytes(payload)
    return path


def decoded(store, run):
    return json.loads(gzip.decompress(store.recording_path(run.id).read_bytes()))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-9], "truncated"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"", "truncated"),
        (lambda data: data + b"more", "after its end"),
        (lambda data: b"plain text", "not a valid gzip"),
        (lambda data: data[:-8] + bytes(8), "not a valid gzip"),
        (lambda data: gzip.compress(b"{"), "is not a valid Recording"),
        (lambda data: gzip.compress(b"[]"), "is not a valid Recording"),
        (lambda data: gzip.compress(b"\xff\xfe"), "is not a valid Recording"),
        (lambda data: gzip.compress(b'{"unknown":' + b"[" * 200_000), "is not a valid Recording"),
    ],
)
def test_a_damaged_recording_is_rejected_by_name(store, stored, damage, message):
    path = store.recording_path(stored.id)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordInvalid, match=message) as caught:
        store.recording(stored.id)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": SCHEMA + 1}, "upgrade pausebench"),
        ({"schema": 0}, "reads 1 only"),
        ({"schema": SCHEMA + 1, "events": "of another shape"}, "upgrade pausebench"),
        ({"events": [{"ns": "soon"}]}, "is not a valid Recording"),
        ({"old": None}, "is not a valid Recording"),
        ({"id": "20261123-221500-3f2a.anon.b09.u09"}, "is the recording of"),
    ],
)
def test_a_recording_with_other_fields_is_rejected(store, stored, change, message):
    path = overwrite(
        store, stored, gzip.compress(json.dumps(decoded(store, stored) | change).encode())
    )
    with pytest.raises(RecordInvalid, match=message) as caught:
        store.recording(stored.id)
    assert path.name in str(caught.value)


def test_a_gzip_bomb_is_rejected_before_it_unpacks(store, stored, monkeypatch):
    monkeypatch.setattr(recordings, "MAX_BYTES", 1 << 20)
    bomb = gzip.compress(b'{"a":"' + b" " * (64 << 20) + b'"}')
    overwrite(store, stored, bomb)
    with pytest.raises(RecordInvalid, match="than 1 MiB"):
        store.recording(stored.id)
    overwrite(store, stored, os.urandom((1 << 20) + 1))
    with pytest.raises(RecordInvalid, match="than 1 MiB"):
        store.recording(stored.id)


def test_the_largest_recording_still_fits(store, stored, monkeypatch):
    payload = gzip.decompress(store.recording_path(stored.id).read_bytes())
    monkeypatch.setattr(recordings, "MAX_BYTES", len(payload))
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
    with pytest.raises(RecordInvalid, match="not a regular file"):
        store.recording(stored.id)
