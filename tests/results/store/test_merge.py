"""A store is merged completely or not at all, whatever happens, and as often as wanted."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from results.claims import document as claims_document
from results.claims.document import ClaimsDocument, read_claims, write_claims
from results.errors import RecordInvalid, UsageError, WriteFailed
from results.instrument import certificates
from results.instrument.certificates import Certificate, read_certificate, write_certificate
from results.records.scenario import Build
from results.store.merge import merge
from results.store.staging import staged_files
from results.store.store import AaEntry, Store, open_store

FIRST, SECOND, OTHER = (f"2026112{day}-221500-3f2a" for day in (3, 4, 5))
DOCUMENTS = (certificates.DOCUMENTS, claims_document.DOCUMENTS)
ENTRY = AaEntry("host", "vcpus=2", 4, 7, "same")
BUILD = Build("system", "/usr/bin/qemu", "11.1", "abc", "00ff", ("/usr/bin/qemu",))
CERTIFICATE = Certificate(
    1, "host", "6.12", "system", "abc", "11.1", made_unix_ns=7, identity=BUILD.identity
)


@pytest.fixture
def source(tmp_path, make_session, make_run, make_recording):
    """Two sessions with all that a store can hold of them."""
    with open_store(tmp_path / "source") as store:
        for session in (FIRST, SECOND):
            store.add_session(make_session(session))
            for update in (1, 2):
                run = make_run(update=update, session=session)
                store.add_run(run, make_recording(run))
            store.add_aa(session, ENTRY)
            store.add_aa(session, ENTRY)
        store.finish_session(FIRST, 7, 3)
        write_claims(store.path, ClaimsDocument(1, FIRST, 1, 1, {}, (), ()))
        write_certificate(store.path, CERTIFICATE)
        yield store


@pytest.fixture
def target(tmp_path, make_session, make_run, make_recording):
    """A session of its own."""
    with open_store(tmp_path / "target") as store:
        store.add_session(make_session(OTHER))
        run = make_run(session=OTHER)
        store.add_run(run, make_recording(run))
        yield store


def content(store: Store) -> dict[str, object]:
    """All that a store holds, with the paths and contents of its files."""
    ids = store.session_ids()
    files = [p for p in sorted(store.path.rglob("*")) if p.is_file()]
    return {
        "sessions": store.sessions(),
        "ends": [store.session_end(session) for session in ids],
        "runs": [store.runs(session=session) for session in ids],
        "aa": [store.aa_of(session) for session in ids],
        "files": {
            str(path.relative_to(store.path)): path.read_bytes()
            for path in files
            if not path.name.startswith("pausebench.sqlite")
        },
    }


def test_everything_is_merged(source, target, make_recording):
    own = content(target)
    assert merge(source, target, DOCUMENTS) == [FIRST, SECOND]
    assert target.session_ids() == [OTHER, FIRST, SECOND]
    for session in (FIRST, SECOND):
        assert target.session(session) == source.session(session)
        assert target.session_end(session) == source.session_end(session)
        assert target.runs(session=session) == source.runs(session=session)
        assert target.aa_of(session) == [ENTRY, ENTRY]
        for run in source.runs(session=session):
            assert target.recording(run.id) == make_recording(run)
    assert read_claims(target.path, FIRST) == read_claims(source.path, FIRST)
    assert read_certificate(target.path, "host", "6.12", BUILD) == CERTIFICATE
    assert content(target)["files"].items() >= own["files"].items()
    assert target.damages == ()


def test_merging_again_adds_nothing(source, target):
    merge(source, target, DOCUMENTS)
    before = content(target)
    assert merge(source, target, DOCUMENTS) == [FIRST, SECOND]
    assert content(target) == before


def test_merging_a_store_into_itself_adds_nothing(source):
    before = content(source)
    with open_store(source.path) as same:
        merge(same, source, DOCUMENTS)
    assert content(source) == before


def test_the_command_of_the_sessions_can_be_replaced(source, target):
    command = ["pausebench", "lab", "run"]
    for _ in range(2):
        merge(source, target, DOCUMENTS, command)
        assert target.session(FIRST).command == tuple(command)
    assert source.session(FIRST).command == ("pausebench", "run")


def test_what_was_added_since_is_merged(source, target, make_run, make_recording):
    merge(source, target, DOCUMENTS)
    run = make_run(update=3, session=SECOND)
    source.add_run(run, make_recording(run))
    source.add_aa(SECOND, ENTRY)
    source.finish_session(SECOND, 9, 0)
    merge(source, target, DOCUMENTS)
    assert target.runs(session=SECOND) == source.runs(session=SECOND)
    assert target.aa_of(SECOND) == [ENTRY] * 3
    assert target.session_end(SECOND) == source.session_end(SECOND)


def test_a_store_that_was_merged_by_halves_is_completed(source, target, make_recording):
    """As earlier versions left it: the first session only, of it one run, its evidence cut."""
    run = source.runs(session=FIRST)[0]
    target.add_session(source.session(FIRST))
    target.add_run(run, make_recording(run))
    path = target.recording_path(run.id)
    path.write_bytes(path.read_bytes()[:-9])
    merge(source, target, DOCUMENTS)
    assert target.recording(run.id) == make_recording(run)
    assert target.runs(session=FIRST) == source.runs(session=FIRST)


def test_evidence_that_retention_removed_is_not_missed(source, target):
    shutil.rmtree(source.path / "raw" / FIRST)
    merge(source, target, DOCUMENTS)
    assert target.runs(session=FIRST) == source.runs(session=FIRST)
    assert not (target.path / "raw" / FIRST).exists()


def test_an_empty_store_is_rejected(tmp_path, target):
    with open_store(tmp_path / "empty") as empty:
        with pytest.raises(UsageError, match=f"no session in {empty.path}"):
            merge(empty, target, DOCUMENTS)


# All or nothing


def truncate(source, _target):
    path = source.recording_path(f"{SECOND}.anon.b01.u02")
    path.write_bytes(path.read_bytes()[:-9])


def remove(source, _target):
    source.recording_path(f"{SECOND}.anon.b01.u02").unlink()


def break_claims(source, _target):
    (source.path / "claims" / f"{SECOND}.json").write_text("{")


def misplace_certificate(source, _target):
    (found,) = (source.path / "certificates").iterdir()
    found.rename(found.with_name(f"{SECOND}.json"))


def misplace_claims(source, _target):
    (source.path / "claims" / f"{FIRST}.json").rename(source.path / "claims" / f"{SECOND}.json")


@pytest.mark.parametrize(
    "harm", [truncate, remove, break_claims, misplace_claims, misplace_certificate]
)
def test_what_cannot_be_read_leaves_the_target_as_it_was(source, target, harm):
    before = content(target)
    harm(source, target)
    with pytest.raises(RecordInvalid) as caught:
        merge(source, target, DOCUMENTS)
    assert SECOND in str(caught.value)
    assert content(target) == before


@pytest.mark.parametrize(("table", "seq"), [("runs", 4), ("records", 4), ("aa", 4)])
def test_a_damaged_row_leaves_the_target_as_it_was(source, target, forge, table, seq):
    before = content(target)
    column = "record" if table == "records" else "dimensions"
    forge(source, table, seq, sound=False, **{column: "{}"})
    if table == "runs":
        forge(source, "records", seq, sound=False, record="{}")
    with pytest.raises(RecordInvalid, match="is damaged"):
        merge(source, target, DOCUMENTS)
    assert content(target) == before


def other_session(source, target, **_):
    target.add_session(replace(source.session(SECOND), probe_tier="none"))
    return f"the records of session {SECOND}"


def other_end(source, target, **_):
    target.add_session(source.session(FIRST))
    target.finish_session(FIRST, 8, 0)
    return f"the ends of session {FIRST}"


def other_run(source, target, make_recording):
    run = replace(source.runs(session=SECOND)[1], blackout_ns=1)
    target.add_session(source.session(SECOND))
    target.add_run(run, make_recording(run))
    return f"the records of run {run.id}"


def other_recording(source, target, make_recording):
    run = source.runs(session=SECOND)[1]
    target.add_session(source.session(SECOND))
    target.add_run(run, replace(make_recording(run), lost=7))
    return f"the recordings of run {run.id}"


def other_claims(source, target, **_):
    write_claims(target.path, ClaimsDocument(1, FIRST, 2, 2, {}, (), ()))
    return f"claims/{FIRST}.json: they differ"


@pytest.mark.parametrize(
    "conflict", [other_session, other_end, other_run, other_recording, other_claims]
)
def test_a_conflict_is_one_line(source, target, make_recording, conflict):
    words = conflict(source, target, make_recording=make_recording)
    before = content(target)
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            merge(source, target, DOCUMENTS)
        assert words in str(caught.value)
        assert f"cannot merge {source.path}" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert content(target) == before


@pytest.mark.parametrize(("mine", "kept"), [(6, 7), (8, 8)])
def test_the_newest_certificate_wins(source, target, mine, kept):
    write_certificate(target.path, replace(CERTIFICATE, made_unix_ns=mine, watched_unix_ns=5))
    merge(source, target, DOCUMENTS)
    found = read_certificate(target.path, "host", "6.12", BUILD)
    assert (found.made_unix_ns, found.watched_unix_ns) == (kept, 5)


def killed_at(step: int, source: Path, target: Path) -> bool:
    """Merge in a child that kills itself at its `step`th access to a file; whether it got there."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, _args: object) -> None:
            nonlocal seen
            if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "fcntl.flock"):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            with open_store(source, create=False) as one, open_store(target) as other:
                sys.addaudithook(count)
                merge(one, other, DOCUMENTS)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.slow
def test_a_killed_merge_is_there_completely_or_not_at_all(tmp_path, source, target):
    target.finish_session(OTHER, 5, 0)
    before = content(target)
    source.close()
    target.close()
    shutil.copytree(target.path, tmp_path / "reference")
    with open_store(tmp_path / "reference") as store, open_store(source.path) as again:
        merge(again, store, DOCUMENTS)
        after = content(store)
    outcomes = []
    for step in range(1, 10_000):
        path = tmp_path / str(step)
        shutil.copytree(target.path, path)
        killed = killed_at(step, source.path, path)
        with open_store(path) as store:
            found = content(store)
            assert found in (before, after), step
            outcomes.append(found == after)
        assert list((path / "staged").glob("*")) == []
        if step % 8 == 0:
            with open_store(path) as store, open_store(source.path) as again:
                merge(again, store, DOCUMENTS)
                assert content(store) == after, step
        shutil.rmtree(path)
        if not killed:
            break
    assert not killed, "more steps than expected"
    assert outcomes == sorted(outcomes)  # from some step on it is there
    assert outcomes.count(False) > 5
    assert outcomes.count(True) > 5


def test_files_of_a_writer_that_lives_are_left_to_it(target):
    with staged_files(target.path) as files:
        files.add("claims/x.json", b"{}")
        target.finish_moves()
        assert (files.directory / "claims" / "x.json").exists()
    assert list((target.path / "staged").iterdir()) == []


def test_a_target_that_cannot_be_written_is_reported(source, target, monkeypatch):
    before = content(target)

    def full(_from, _to):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("results.files.Path.replace", full)
    with pytest.raises(WriteFailed, match="No space left"):
        merge(source, target, DOCUMENTS)
    monkeypatch.undo()
    assert content(target) == before
