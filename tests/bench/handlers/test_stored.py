"""What commands report of a damaged store, and their exit status."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing

import msgspec
import pytest

from bench.cli import main
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, Run, Span
from results.records.scenario import Scenario, Session
from results.store.checksums import sealed
from results.store.recordings import write_recording
from results.store.schema import SESSIONS
from results.store.store import FILE_NAME, open_store

FIRST, LAST = "20261123-221500-3f2a", "20261124-221500-3f2a"
CASES = int(os.environ.get("PAUSEBENCH_FUZZ_CASES", "200")) // 8
PAGE = 4096


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    """The file of a store of two sessions with five boots each."""
    path = tmp_path_factory.mktemp("content")
    with open_store(path) as store:
        for session in (FIRST, LAST):
            store.add_session(Session(session, 5, ("pausebench", "run"), (), {"host": "h"}))
            for boot in range(1, 6):
                store.add_run(*run_and_recording(session, boot))
    return (path / FILE_NAME).read_bytes()


def run_and_recording(session: str, boot: int) -> tuple[Run, Recording]:
    blackout = 4_000_000 + boot
    run = Run(
        schema=SCHEMA, id=f"{session}.anon.b{boot:02d}.u01", session=session, scenario="anon",
        dimensions="id=anon vcpus=1", boot=boot, update=1, started_unix_ns=1,
        outcome="completed", reason="", old_build="system", new_build="system", old_pid=10,
        new_pid=11, blackout_ns=blackout, blackout_start_ns=100, vcpu_blackouts_ns=(blackout,),
        spans=tuple(Span(f"phase{n}", "old", 100, 200, 100) for n in range(20)),
    )  # fmt: skip
    process = Process(10, ("qemu",), (12,))
    recording = Recording(
        schema=SCHEMA, id=run.id, session=session, boot=boot, update=1, started_unix_ns=1,
        scenario=Scenario("anon", "anon"), old_build="system", new_build="system",
        old=process, new=process, steps={"migrate": 1},
    )  # fmt: skip
    return run, recording


@pytest.fixture
def store(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    return tmp_path


def edit(store, *statements):
    with closing(sqlite3.connect(store / FILE_NAME)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_a_lost_run_is_named_and_the_others_are_reported(store, capfdbinary):
    edit(store, "DELETE FROM runs WHERE seq = 9", "DELETE FROM records WHERE seq = 9")
    line = f"pausebench: {store / FILE_NAME} is damaged: lost 1 of 5 runs of session {LAST}"
    for words in (["report", "--format", "json", "-o", "-"], ["history", "anon", "--json"]):
        assert main([*words, "--store", str(store)]) == 3
        output = capfdbinary.readouterr()
        assert output.err.decode() == f"{line}\n"
    assert main(["report", "--format", "json", "-o", "-", "--store", str(store)]) == 3
    document = json.loads(capfdbinary.readouterr().out)
    assert [(cell["valid"], cell["failed"]) for cell in document["cells"]] == [(4, 0)]
    assert document["notes"] == [line.removeprefix("pausebench: ")]


def test_a_damaged_record_costs_the_run_its_details(store, capfdbinary):
    edit(store, "UPDATE records SET record = '{}' WHERE seq = 9")
    run = f"{LAST}.anon.b04.u01"
    assert main(["report", "--format", "json", "-o", "-", "--store", str(store)]) == 3
    output = capfdbinary.readouterr()
    assert f"lost all but the figures of 1 run of session {LAST}: {run}" in output.err.decode()
    assert json.loads(output.out)["cells"][0]["valid"] == 5
    assert main(["show", run, "--store", str(store)]) == 2
    assert "its record is damaged" in capfdbinary.readouterr().err.decode()
    assert main(["show", f"{LAST}.anon.b05.u01", "--store", str(store)]) == 0


@pytest.mark.parametrize("text", ["last", "worst"])
def test_the_last_and_the_worst_of_what_is_left_are_not_taken_for_those_of_all(
    store, capfdbinary, text
):
    edit(store, "DELETE FROM runs WHERE seq = 10", "DELETE FROM records WHERE seq = 10")
    assert main(["show", text, "--json", "--store", str(store)]) == 3
    output = capfdbinary.readouterr()
    assert json.loads(output.out)["runs"][0]["id"] == f"{LAST}.anon.b04.u01"
    assert f"lost 1 of 5 runs of session {LAST}" in output.err.decode()


@pytest.mark.parametrize(("bisect", "status"), [((), 3), (("--bisect",), 125)])
def test_a_comparison_of_what_is_left_is_no_success(store, capfdbinary, bisect, status):
    edit(store, "DELETE FROM runs WHERE seq = 9", "DELETE FROM records WHERE seq = 9")
    words = ("compare", "--stored", FIRST, LAST, "--json", *bisect, "--store", str(store))
    assert main(list(words)) == status
    output = capfdbinary.readouterr()
    assert json.loads(output.out)["exit_code"] == status
    assert f"lost 1 of 5 runs of session {LAST}" in output.err.decode()


def test_a_run_that_is_left_of_a_lost_session_is_judged_again(store, capfdbinary):
    edit(store, "DELETE FROM sessions WHERE seq = 2")
    (store / "raw" / LAST).mkdir(parents=True)
    run, recording = run_and_recording(LAST, 1)
    write_recording(store, recording)
    assert main(["replay", run.id, "--json", "--store", str(store)]) == 3
    found = json.loads(capfdbinary.readouterr().out)
    assert [judged["id"] for judged in found["runs"]] == [run.id]
    assert main(["replay", LAST, "--store", str(store)]) == 2
    assert f"session '{LAST}' is not in what is left of it" in capfdbinary.readouterr().err.decode()


def test_damage_that_took_nothing_is_reported_without_a_failure(store, capfdbinary):
    edit(store, "UPDATE runs SET blackout_ns = 7 WHERE seq = 9")
    assert main(["report", "--format", "json", "-o", "-", "--store", str(store)]) == 0
    output = capfdbinary.readouterr()
    assert output.err.decode().endswith("is damaged, but everything in it was recovered\n")
    assert json.loads(output.out)["cells"][0]["max_ns"] == 4_000_005


@pytest.mark.parametrize("session", ["../../x", "/etc/x", "<script>", "\x1b[2J"])
@pytest.mark.parametrize("command", ["report", "replay", "show worst", "history anon"])
def test_a_malformed_session_id_is_one_line_and_writes_nothing(
    store, capfdbinary, command, session
):
    with closing(sqlite3.connect(store / FILE_NAME)) as database:
        database.row_factory = sqlite3.Row
        row = dict(database.execute("SELECT * FROM sessions WHERE seq = 2").fetchone())
        record = Session(session, 5, (), (), {})
        row |= {"id": session, "record": msgspec.json.encode(record).decode()}
        database.execute(
            "UPDATE sessions SET id = :id, record = :record, checksum = :checksum WHERE seq = 2",
            sealed(SESSIONS, row),
        )
        database.commit()
    before = sorted(store.parent.parent.glob("*"))
    assert main([*command.split(), "--store", str(store)]) == 2
    output = capfdbinary.readouterr()
    assert output.out == b""
    assert output.err.decode().count("\n") == 1
    assert f"malformed session id {session!r}" in output.err.decode()
    assert not (store / "reports").exists()
    assert sorted(store.parent.parent.glob("*")) == before


@pytest.mark.parametrize("part", range(4))
def test_random_damage_is_never_silent(tmp_path, content, capfdbinary, part):
    for seed in range(part, CASES, 4):
        chance = random.Random(seed)
        changed = bytearray(content)
        one, other = chance.sample(range(len(content) // PAGE), 2)
        if chance.random() < 0.6:
            one, other = (slice(n * PAGE, (n + 1) * PAGE) for n in (one, other))
            changed[one], changed[other] = changed[other], changed[one]
        else:
            for _ in range(chance.choice([1, 10])):
                changed[one * PAGE + chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
        (tmp_path / FILE_NAME).write_bytes(changed)
        for session in (FIRST, LAST):
            words = ["report", session, "--format", "json", "-o", "-", "--store", str(tmp_path)]
            code = main(words)
            output = capfdbinary.readouterr()
            assert code in (0, 2, 3), (seed, output.err)
            runs = json.loads(output.out)["cells"][0]["valid"] if output.out else 0
            if runs < 5:
                assert code, (seed, output.err)
                assert str(tmp_path / FILE_NAME) in output.err.decode(), seed
