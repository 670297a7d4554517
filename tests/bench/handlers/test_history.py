"""`pausebench history`, as typed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.cli import main
from results.errors import UsageError
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, Run
from results.records.scenario import Build, Scenario, Session
from results.store.store import open_store

DAY = 86_400 * 10**9
START = 1_795_472_100_000_000_000


def session_of(number, labels=("system",), suffix="3f2a", **facts):
    builds = tuple(Build(label, "q", "11.1.2", "id", "aa", ("q",)) for label in labels)
    return Session(
        f"202611{10 + number}-221500-{suffix}", START + number * DAY, ("pausebench", "run"), builds,
        {"host": "h"} | facts, "uprobe",
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    """Fourteen nights, slower from the ninth on, and the self-check of one of them."""
    path = tmp_path / "store"
    with open_store(path) as store:
        nights = [(session_of(night), 6.0 if night >= 8 else 4.0) for night in range(14)]
        again = ("system", "system-again")
        nights.append((session_of(13, again, "aaaa", night="job"), 9.0))
        for session, ms in nights:
            store.add_session(session)
            for build in session.builds:
                run = Run(
                    SCHEMA, f"{session.id}.anon+{build.label}.b01.u01", session.id, "anon",
                    "id=anon vcpus=1", 1, 1, session.started_unix_ns, "completed", "", build.label,
                    build.label, 1, 2, blackout_ns=round(ms * 1e6),
                )  # fmt: skip
                process = Process(1, ("q",), (2,))
                recording = Recording(
                    schema=SCHEMA, id=run.id, session=run.session, boot=1, update=1,
                    started_unix_ns=1, scenario=Scenario("anon", "anon"), old_build=build.label,
                    new_build=build.label, old=process, new=replace(process), steps={},
                )  # fmt: skip
                store.add_run(run, recording)
    return path


def test_the_history_is_printed_and_what_it_announces_is_kept(store, capsys):
    assert main(["history", "anon", "--store", str(store)]) == 0
    said = capsys.readouterr().out
    assert "changed: 4.00 -> 6.00 ms (+50 %); nothing that is recorded changed" in said
    assert "now at 6.00 ms; last change: a step of +50 %" in said
    assert "again" not in said
    assert "9.00" not in said
    (kept,) = (store / "history").iterdir()
    before = kept.read_bytes()
    assert main(["history", "anon", "--store", str(store)]) == 0
    assert kept.read_bytes() == before


def test_a_part_of_the_history_keeps_all_of_it(store, capsys, tmp_path):
    page = tmp_path / "page.html"
    words = ["--since", "2026-12-02", "--json", "-o", str(page), "--store", str(store)]
    assert main(["history", "anon", *words]) == 0
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert len(line["points"]) < 14
    (kept,) = (store / "history").iterdir()
    assert len(json.loads(kept.read_text())["changes"]) == 1
    assert "<svg" in page.read_text()


def test_a_store_that_cannot_be_written_is_shown(store, capsys, monkeypatch):
    def refuse(path, document):
        raise UsageError(f"cannot write {path}: Permission denied")

    monkeypatch.setattr("results.history.kept.write_document", refuse)
    assert main(["history", "anon", "--store", str(store)]) == 0
    shown = capsys.readouterr()
    assert "changed: 4.00" in shown.out
    assert shown.err == ""
    assert not (store / "history").exists()


def test_another_scenario_and_a_late_day_are_usage_errors(store, capsys):
    assert main(["history", "shm", "--store", str(store)]) == 2
    assert "no run of 'shm'" in capsys.readouterr().err
    assert main(["history", "anon", "--since", "2030-01-01", "--store", str(store)]) == 2
    assert "no run of 'anon' since 2030-01-01" in capsys.readouterr().err
