"""`show` and `replay` on a small store, without QEMU, root or bcc."""

from __future__ import annotations

import argparse
import gzip
import json
import sqlite3
from dataclasses import replace
from importlib import import_module

import msgspec
import pytest

from results.errors import RecordInvalid, UsageError
from results.judgement.judge import judge
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, Run
from results.records.scenario import Scenario, Session
from results.store.store import new_run_id, open_store

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


def forge(store, run: Run) -> None:
    with sqlite3.connect(store.file) as database:
        database.execute(
            "UPDATE records SET record = ? WHERE seq = (SELECT seq FROM runs WHERE id = ?)",
            [msgspec.json.encode(run).decode(), run.id],
        )
    database.close()


def test_show_draws_the_run(store, capsys):
    assert call("show", store, f"{SESSION}.anon.b01.u01") == 0
    out = capsys.readouterr().out
    assert f"{SESSION}.anon.b01.u01  FAILED" in out
    assert "TransferRefused: QEMU said no" in out
    assert "old: cannot load" in out
    assert out.isascii()


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
def test_replay_gives_the_same_numbers(store, capsys, what):
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


def test_replay_of_a_corrupt_recording_names_the_file(store):
    path = store.recording_path(f"{SESSION}.anon.b01.u01")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordInvalid, match="truncated") as caught:
        call("replay", store)
    assert str(path) in str(caught.value)


def test_replay_of_nothing_known_is_a_usage_error(store):
    with pytest.raises(UsageError, match="no run 'nope'"):
        call("replay", store, "nope")
