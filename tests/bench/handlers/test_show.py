"""`show` and `replay` on a small store, without QEMU, root or bcc."""

from __future__ import annotations

import argparse
import gzip
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from importlib import import_module

import msgspec
import pytest

from results.errors import RecordInvalid, UsageError
from results.judgement.judge import judge
from results.records.evidence import Evidence, Frames
from results.records.observations import RamCheck
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, Run
from results.records.scenario import Scenario, Session
from results.records.sentences.reason_kinds import KINDS
from results.store.store import new_run_id, open_store
from results.store.tables.checksums import sealed
from results.store.tables.schema import RECORDS

SESSION = "20261123-221500-3f2a"


def recording(update: int) -> Recording:
    return Recording(
        schema=SCHEMA,
        id=new_run_id(SESSION, "anon", 1, update),
        session=SESSION,
        boot=1,
        update=update,
        started_unix_ns=5,
        scenario=Scenario("anon", "anon", accel="kvm"),
        old_build="system",
        new_build="system",
        old=Process(10, ("qemu",), (12, 13), "running", "cannot load\n"),
        new=Process(11, ("qemu",), ()),
        steps={"migrate": 100},
        failure="TransferRefused: QEMU said no",
    )


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as opened:
        opened.add_session(Session(SESSION, 5, ("pausebench", "run"), (), {}))
        for update in (1, 2):
            opened.add_run(judge(recording(update)), recording(update))
        yield opened


def call(command: str, store, *argv: str) -> int:
    parser = argparse.ArgumentParser()
    import_module(f"bench.commands.{command}").add_arguments(parser)
    args = parser.parse_args([*argv, "--store", str(store.path)])
    return import_module(f"bench.handlers.{command}").run(args)


def answer(store, capsys, command: str, *argv: str) -> str:
    """What a command prints, or its complaint."""
    try:
        call(command, store, *argv)
    except UsageError as error:
        return str(error)
    return str(capsys.readouterr().out)


def forge(store, run: Run) -> None:
    replace_record(store, run.id, msgspec.json.encode(run).decode())


def replace_record(store, run_id: str, record: str) -> None:
    with closing(sqlite3.connect(store.file)) as database:
        (seq,) = database.execute("SELECT seq FROM runs WHERE id = ?", (run_id,)).fetchone()
        row = sealed(RECORDS, {"seq": seq, "record": record})
        database.execute(
            "UPDATE records SET record = :record, checksum = :checksum WHERE seq = :seq", row
        )
        database.commit()


def test_show_draws_the_run(store, capsys):
    assert call("show", store, f"{SESSION}.anon.b01.u01") == 0
    out = capsys.readouterr().out
    assert f"{SESSION}.anon.b01.u01  FAILED" in out
    assert "TransferRefused: QEMU said no" in out
    assert "old: cannot load" in out
    assert out.isascii()


@pytest.mark.parametrize("words", [("show",), ("show", "worst"), ("why", "worst"), ("replay",)])
def test_a_calibration_afterwards_changes_nothing(store, capsys, words):
    """Its blackouts hold injected pauses."""
    valid = replace(
        judge(recording(1)), id=new_run_id(SESSION, "anon", 1, 3), outcome="completed",
        reason="", reasons=(), blackout_ns=4_000_000, blackout_start_ns=100,
    )  # fmt: skip
    store.add_run(valid, replace(recording(3), failure=""))
    before = answer(store, capsys, *words)
    later = "20261124-221500-0b1c"
    store.add_session(
        Session(later, 6, ("pausebench", "calibrate"), (), {"purpose": "calibration"})
    )
    injected = replace(valid, id=new_run_id(later, "anon", 1, 1), session=later,
                       blackout_ns=9_000_000)  # fmt: skip
    store.add_run(injected, replace(recording(1), id=injected.id, session=later))
    assert answer(store, capsys, *words) == before


def test_show_takes_the_last_run_by_default(store, capsys):
    assert call("show", store) == 0
    assert f"{SESSION}.anon.b01.u02" in capsys.readouterr().out


def test_show_json_is_one_document_in_the_shape_of_a_session(store, capsys):
    assert call("show", store, "last", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["session"] == SESSION
    assert [run["id"] for run in made["runs"]] == [f"{SESSION}.anon.b01.u02"]
    assert made["summary"][0]["failed"] == 1


def test_show_of_an_unknown_run_is_a_usage_error(store):
    with pytest.raises(UsageError, match="no run 'nope'"):
        call("show", store, "nope")


@pytest.mark.parametrize(
    "what", [[], [SESSION], ["20261123"], [f"{SESSION}.anon.b01.u01"], ["last"]]
)
def test_replay_gives_the_same_result(store, capsys, what):
    assert call("replay", store, *what) == 0
    out = capsys.readouterr().out
    count = 1 if what and ("anon" in what[0] or what[0] == "last") else 2
    assert f"{count} judged again, {count} same, 0 different" in out


def test_replay_names_every_field_that_differs(store, capsys):
    run = store.runs()[0]
    forge(store, replace(run, old_pid=99, reason="it was fine", blackout_ns=7))
    assert call("replay", store, SESSION) == 3
    out = capsys.readouterr().out
    assert f"{run.id}  different" in out
    assert "old_pid: stored 99\n" in out
    assert "judged 10\n" in out
    assert "reason: stored it was fine\n" in out
    assert "blackout_ns: stored 7\n" in out
    assert "boot:" not in out
    assert "2 judged again, 1 same, 1 different" in out


def test_replay_json(store, capsys):
    forge(store, replace(store.runs()[1], update=9))
    assert call("replay", store, "--json") == 3
    made = json.loads(capsys.readouterr().out)
    assert made["exit_code"] == 3
    assert [run["same"] for run in made["runs"]] == [True, False]
    assert made["runs"][1]["different"] == [{"field": "update", "stored": 9, "judged": 2}]


def test_replay_of_changed_evidence_differs(store, capsys):
    path = store.recording_path(f"{SESSION}.anon.b01.u01")
    raw = json.loads(gzip.decompress(path.read_bytes())) | {"failure": "something else"}
    path.write_bytes(gzip.compress(json.dumps(raw).encode()))
    assert call("replay", store) == 3
    assert "judged something else" in capsys.readouterr().out


# -- sentences in other words ----------------------------------------------------------------


@pytest.fixture
def harmed(tmp_path):
    """A store with one run whose guest was damaged, stored before runs had `reasons`."""
    found = replace(
        recording(1),
        failure="",
        probed=True,
        skipped=4,
        ram=RamCheck(100, 409_600, 2, "page 0x1234"),
        evidence=Evidence(Frames(pages=9, compared=9, differing=1, first=((1, 2, 3),))),
    )
    with open_store(tmp_path / "harmed") as opened:
        opened.add_session(Session(SESSION, 5, ("pausebench", "run"), (), {}))
        opened.add_run(judge(found), found)
        fields = json.loads(msgspec.json.encode(opened.runs()[0]))
        assert len(fields.pop("reasons")) == 7
        replace_record(opened, fields["id"], json.dumps(fields))
        yield opened


@pytest.fixture
def reworded(monkeypatch):
    """Reword every sentence that is named, with or without listing its former template."""

    def reword(*codes: str, listed: bool = True) -> None:
        for code in codes:
            old = KINDS[code]
            former = (old.template,) if listed else ()
            words = replace(old, template=f"in short: {old.template}", former=former)
            monkeypatch.setitem(KINDS, code, words)

    return reword


REWORDED = ("ram-changed", "mark-silent", "probes-skipped", "frames-differ", "memory-unread")


def test_a_run_stored_without_reasons_replays_as_the_same(harmed, capsys):
    assert harmed.runs()[0].reasons == ()
    assert call("replay", harmed) == 0
    assert "1 judged again, 1 same, 0 different" in capsys.readouterr().out


def test_it_replays_as_the_same_after_its_sentences_were_reworded(harmed, reworded, capsys):
    reworded(*REWORDED)
    judged = judge(harmed.recording(harmed.runs()[0].id))
    assert judged.reason.count("in short") == 2
    assert all(warning.startswith("in short") for warning in judged.warnings)
    assert [c.text.startswith("in short") for c in judged.proof.checks[:2]] == [True, True]
    assert call("replay", harmed) == 0
    assert "1 judged again, 1 same, 0 different" in capsys.readouterr().out


def test_a_former_template_that_is_not_listed_is_different(harmed, reworded, capsys):
    reworded("probes-skipped", listed=False)
    assert call("replay", harmed) == 3
    assert "warnings: stored" in capsys.readouterr().out


def test_a_run_stored_with_reasons_needs_no_former_template(harmed, reworded):
    run = harmed.runs()[0]
    forge(harmed, judge(harmed.recording(run.id)))
    reworded("ram-changed", listed=False)
    assert call("replay", harmed) == 0


def of_proof(**fields):
    return lambda run: {"proof": replace(run.proof, **{k: v(run.proof) for k, v in fields.items()})}


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("reason", lambda run: {"reason": run.reason.replace("2 of 100", "3 of 100")}),
        ("warnings", lambda run: {"warnings": run.warnings[:-1]}),
        ("disagreements", lambda _: {"disagreements": ("vCPU 0 was not watched",)}),
        ("proof", of_proof(reason=lambda proof: proof.reason.replace("1 of 9", "2 of 9"))),
        ("proof", of_proof(checks=lambda proof: proof.checks[:-1])),
        (
            "proof",
            of_proof(checks=lambda p: (replace(p.checks[0], text="all is well"), *p.checks[1:])),
        ),
    ],
    ids=["reason", "warnings", "disagreements", "proof-reason", "proof-checks", "proof-text"],
)
def test_a_figure_that_changed_is_different(harmed, reworded, capsys, field, changed):
    run = harmed.runs()[0]
    forge(harmed, replace(run, **changed(run)))
    reworded(*REWORDED)
    assert call("replay", harmed) == 3
    assert f"{field}: stored" in capsys.readouterr().out


def test_show_json_has_the_reasons_of_an_older_run_too(harmed, capsys):
    assert call("show", harmed, "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert {
        "code": "ram-changed",
        "figures": {"bad": 2, "pages": 100, "first": "page 0x1234"},
        "text": "2 of 100 checked pages of guest RAM changed, first page 0x1234",
    } in run["reasons"]
    assert "; ".join(reason["text"] for reason in run["reasons"]) == run["reason"]


def test_replay_of_a_corrupt_recording_names_the_file_and_judges_the_others(store, capsys):
    first, second = (f"{SESSION}.anon.b01.u0{n}" for n in (1, 2))
    path = store.recording_path(first)
    path.write_bytes(path.read_bytes()[:-9])
    assert call("replay", store) == 3
    said = capsys.readouterr()
    assert said.err == f"pausebench: {path}: is truncated\n"
    assert said.out == f"{second}  same\n1 judged again, 1 same, 0 different, 1 unreadable\n"
    assert call("replay", store, "--json") == 3
    made = json.loads(capsys.readouterr().out)
    assert [run["id"] for run in made["runs"]] == [second]
    assert made["unreadable"] == [{"id": first, "error": f"{path}: is truncated"}]


def test_replay_of_corrupt_recordings_only_is_rejected(store):
    path = store.recording_path(f"{SESSION}.anon.b01.u01")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordInvalid, match=f"{path}: is truncated"):
        call("replay", store, f"{SESSION}.anon.b01.u01")


def test_replay_does_not_list_all_of_many_corrupt_recordings(store, capsys):
    for update in range(3, 10):
        store.add_run(judge(recording(update)), recording(update))
        store.recording_path(new_run_id(SESSION, "anon", 1, update)).unlink()
    assert call("replay", store) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "pausebench: 2 more runs are unreadable"


def test_replay_of_a_damaged_recording_names_the_value(store):
    path = store.recording_path(f"{SESSION}.anon.b01.u01")
    recording = json.loads(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(json.dumps(recording | {"tick_ns": 1e308}).encode()))
    with pytest.raises(RecordInvalid, match=r"cannot be judged: tick_ns is 1e\+308") as caught:
        call("replay", store, f"{SESSION}.anon.b01.u01")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_recording_sends_nothing_to_the_terminal(store, capsys):
    path = store.recording_path(f"{SESSION}.anon.b01.u01")
    hostile = replace(recording(1), scenario=Scenario("anon", "anon", mode="\x1b[2J\u202e"))
    path.write_bytes(gzip.compress(msgspec.json.encode(hostile)))
    assert call("replay", store) == 3
    assert r"scenario.mode is '\x1b[2J\u202e', not one of" in capsys.readouterr().err


def test_replay_of_an_unknown_run_is_a_usage_error(store):
    with pytest.raises(UsageError, match="no session 'nope'"):
        call("replay", store, "nope")
