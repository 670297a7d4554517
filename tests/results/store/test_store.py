"""What is added is stored completely or not at all, and never overwritten."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from results.errors import RecordInvalid, UsageError, WriteFailed
from results.store.store import FILE_NAME, AaEntry, open_store

SESSION = "20261123-221500-3f2a"
LATER = "20261124-221500-0b1c"


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
    with pytest.raises(WriteFailed, match="No space left"):
        store.add_run(run, make_recording(run))
    monkeypatch.undo()
    assert [p for p in (store.path / "raw").rglob("*") if p.is_file()] == []
    assert store.runs() == []


def test_what_was_added_is_flushed_to_the_disk(store, make_run, make_recording, monkeypatch):
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


def test_the_end_of_a_session_flushes_its_runs(store, make_run, make_recording, monkeypatch):
    synced = []
    monkeypatch.setattr("results.store.recordings.os.fsync", synced.append)
    run = make_run()
    store.add_run(run, make_recording(run))
    store.finish_session(run.session, 1, 0)
    assert len(synced) == 2


def test_a_run_needs_its_session_and_its_own_recording(store, make_run, make_recording):
    stray = make_run(session=LATER)
    with pytest.raises(UsageError, match="needs its session"):
        store.add_run(stray, make_recording(stray))
    run = make_run()
    with pytest.raises(UsageError, match="does not belong"):
        store.add_run(run, make_recording(make_run(update=2)))
    with pytest.raises(UsageError, match="does not belong"):
        store.add_run(replace(run, session=LATER), replace(make_recording(run), session=LATER))
    assert store.runs() == []


def test_session_ids_are_unique_and_well_formed(store, make_session):
    with pytest.raises(UsageError, match="already stored"):
        store.add_session(make_session())
    with pytest.raises(UsageError, match="malformed session id"):
        store.add_session(make_session("../evil"))
    with pytest.raises(UsageError, match="no session"):
        store.finish_session(LATER, 1, 0)


def test_what_could_not_be_read_back_is_not_stored(store, make_run, make_recording):
    run = make_run()
    with pytest.raises(RecordInvalid):
        store.add_run(run, replace(make_recording(run), tick_ns=float("nan")))
    with pytest.raises(RecordInvalid):
        store.add_run(replace(run, log_tail="\udcff"), make_recording(run))
    assert store.runs() == []


def test_an_aa_comparison_needs_its_session(store):
    with pytest.raises(UsageError, match="needs its session"):
        store.add_aa(LATER, AaEntry("host", "vcpus=2", 4, 7, "same"))


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("how", ["move", "remove"])
def test_nothing_is_added_to_a_store_that_is_gone(
    tmp_path, store, make_session, make_run, make_recording, how, replaced
):
    """The file is still open: SQLite would go on writing to it, at a place without a name."""
    if how == "move":
        store.path.rename(tmp_path / "elsewhere")
    else:
        shutil.rmtree(store.path)
    if replaced:
        open_store(store.path).close()
    run = make_run()
    for call in (
        lambda: store.add_session(make_session(LATER)),
        lambda: store.add_run(run, make_recording(run)),
        lambda: store.finish_session(SESSION, 1, 0),
    ):
        with pytest.raises(UsageError, match="was moved or removed while in use"):
            call()
    assert list(Path(store.path).glob("raw/*/*")) == []


def test_evidence_that_is_gone_when_its_session_ends_is_reported(store, make_run, make_recording):
    runs = [make_run(update=update) for update in (1, 2, 3)]
    for run in runs:
        store.add_run(run, make_recording(run))
    first = store.recording_path(runs[0].id)
    first.unlink()
    store.recording_path(runs[2].id).unlink()
    message = f"{first} was moved or removed while in use, and 1 more recordings"
    with pytest.raises(UsageError, match=re.escape(message)):
        store.finish_session(SESSION, 1, 0)
    assert store.session_end(SESSION).exit_code == 0
    store.sync()  # reported once


def test_a_damaged_row_is_not_built_upon(store, forge, make_run, make_recording):
    forge(store, "tallies", 2, sound=False, count=7)
    run = make_run()
    with pytest.raises(RecordInvalid, match="number of runs stored so far") as caught:
        store.add_run(run, make_recording(run))
    assert str(store.path / FILE_NAME) in str(caught.value)
