"""A session that Ctrl-C or a full disk ends: what is stored, what is printed, the exit status."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bench.cli
from bench.cli import main
from bench.measurement.session import open_session
from bench.unfinished import show_unfinished
from results.errors import (
    Interrupted,
    SessionNotKept,
    UsageError,
    WriteFailed,
    error_status,
)
from results.judgement.judge import judge
from results.records.recording import Process, Recording
from results.records.run import SCHEMA
from results.records.scenario import Scenario, Session
from results.store.store import new_run_id, open_store

ROOT = Path(bench.cli.__file__).parents[1]


class Silent:
    planned = 40

    def doing(self, what): ...
    def note(self, text): ...
    def finished(self, run): ...
    def skipped(self, updates): ...


def full_store() -> UsageError:
    """What the store raises when SQLite reports a full disk."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    refused = UsageError("pausebench.sqlite cannot be used now: database or disk is full")
    refused.__cause__ = error
    return refused


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (KeyboardInterrupt(), Interrupted, 130),
        (WriteFailed("cannot write x: No space left on device"), SessionNotKept, 3),
        (full_store(), SessionNotKept, 3),
        (UsageError("a name"), UsageError, 2),
        (ValueError("a fault of ours"), ValueError, 70),
    ],
)
def test_the_store_has_the_true_status(tmp_path, error, raised, status):
    with open_store(tmp_path) as store:
        with (
            pytest.raises(raised) as caught,
            open_session([Scenario("anon", "anon")], [], store, Silent(), ["x"], {}, None),
        ):
            raise error
        session = store.session(store.sessions()[-1].id)
        assert store.session_end(session.id).exit_code == status
        assert session.planned_updates == 40
    assert error_status(caught.value) == status
    if raised in (Interrupted, SessionNotKept):
        assert (caught.value.session, caught.value.store) == (session.id, tmp_path)


def test_an_end_that_cannot_be_stored(tmp_path, monkeypatch):
    with open_store(tmp_path) as store:

        def full(*_):
            raise full_store()

        monkeypatch.setattr(store, "finish_session", full)
        with (
            pytest.raises(SessionNotKept, match="disk is full"),
            open_session([Scenario("anon", "anon")], [], store, Silent(), ["x"], {}, None) as live,
        ):
            live.status = 0


@pytest.fixture
def ended(tmp_path):
    """A session with two runs, of forty that were planned."""
    session = Session("20261123-221500-3f2a", 5, ("x",), (), {}, planned_updates=40)
    process = Process(10, ("qemu",), ())
    with open_store(tmp_path) as store:
        store.add_session(session)
        for update in (1, 2):
            recording = Recording(
                schema=SCHEMA, id=new_run_id(session.id, "anon", 1, update), session=session.id,
                boot=1, update=update, started_unix_ns=5, scenario=Scenario("anon", "anon"),
                old_build="system", new_build="system", old=process, new=process, steps={},
                failure="QEMU said no",
            )  # fmt: skip
            store.add_run(judge(recording), recording)
        store.finish_session(session.id, 6, 130)
    return Interrupted(session.id, tmp_path)


@pytest.mark.parametrize("command", ["run", "compare", "matrix", "sweep"])
def test_what_is_stored_is_printed_with_the_session(ended, command, capsys):
    args = argparse.Namespace(command=command, json=False)
    assert show_unfinished(ended, 130, args) == 130
    out, err = capsys.readouterr()
    assert "median" in out
    assert f"session {ended.session} is stored in {ended.store}" in out
    assert err == (
        f"pausebench: interrupted: 2 of 40 updates, kept as session {ended.session} in "
        f"{ended.store}\n"
    )


def test_as_json_and_quietly(ended, capsys):
    show_unfinished(ended, 130, argparse.Namespace(command="run", json=True))
    document = json.loads(capsys.readouterr().out)
    assert (document["updates"], document["planned_updates"]) == (2, 40)
    assert (document["exit_code"], len(document["runs"])) == (130, 2)
    show_unfinished(ended, 130, argparse.Namespace(command="run", quiet=True))
    assert capsys.readouterr().out == ""


def test_a_full_disk_names_itself_and_the_session(ended, capsys):
    error = SessionNotKept("cannot write x: No space left", ended.session, ended.store)
    assert show_unfinished(error, 3, argparse.Namespace(command="run")) == 3
    err = capsys.readouterr().err
    assert "No space left: 2 of 40 updates, kept as session" in err
    gone = SessionNotKept("cannot write x: No space left", ended.session, ended.store / "gone")
    assert show_unfinished(gone, 3, argparse.Namespace(command="run")) == 3
    assert f"No space left; session {ended.session}: no store in" in capsys.readouterr().err


def test_a_second_interrupt_while_it_is_printed(monkeypatch):
    def run(args):
        raise Interrupted("20261123-221500-3f2a", Path("out"))

    def again(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.handlers.list.run", run)
    monkeypatch.setattr("bench.unfinished.show_unfinished", again)
    assert main(["list"]) == 130


# -- on real guests -------------------------------------------------------------------------------


def pausebench(*words, cwd, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *words], cwd=cwd, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


@pytest.mark.kvm
@pytest.mark.qemu
@pytest.mark.bpf
@pytest.mark.slow
def test_ctrl_c_amid_a_measurement(tmp_path):
    words = ("run", "anon", "--boots", "8", "--updates", "5", "--store", "out")
    running = pausebench(*words, cwd=tmp_path)
    raw = tmp_path / "out" / "raw"
    deadline = time.monotonic() + 120
    while len(list(raw.glob("*/*"))) < 7 and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert re.search(r"interrupted: [0-9]+ of 40 updates, kept as session ", err)
    assert "median" in out
    assert "next: pausebench show worst" in out
    for form in ("markdown", "junit", "json", "openmetrics"):
        done = pausebench("report", "--format", form, "-o", "-", "--store", "out", cwd=tmp_path)
        text, _ = done.communicate(timeout=60)
        assert "interrupted" in text
        assert "130" in text


@pytest.mark.kvm
@pytest.mark.qemu
@pytest.mark.bpf
@pytest.mark.slow
def test_a_disk_that_fills_up_amid_a_measurement(tmp_path):
    """A store on a tmpfs that has room for a few runs."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    try:
        words = ("run", "anon", "--boots", "8", "--updates", "5", "--store", "small/out")
        running = pausebench(*words, cwd=tmp_path)
        _, err = running.communicate(timeout=180)
        assert running.returncode == 3, err
        (line,) = [line for line in err.splitlines() if line.startswith("pausebench: ")]
        assert re.search("No space left|disk is full", line)
        assert re.search(r"[0-9]+ of 40 updates, kept as session |session [0-9]+-", line)
        assert "internal error" not in line
    finally:
        subprocess.run(["umount", str(place)], check=True)


# -- output that is lost --------------------------------------------------------------------------


@pytest.mark.kvm
@pytest.mark.qemu
@pytest.mark.bpf
@pytest.mark.slow
@pytest.mark.parametrize("to", [">/dev/full 2>/dev/full", "2>&- | true"])
def test_a_measurement_whose_output_is_lost(tmp_path, to):
    line = f"{sys.executable} -m bench run anon --boots 2 --updates 2 --store out {to}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, env=environment,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    with open_store(tmp_path / "out", create=False) as store:
        session = store.sessions()[-1].id
        assert len(store.runs(session=session, outcome="completed")) == 4
        assert store.session_end(session).exit_code == 0
