"""What commands report of a damaged store, and their exit status."""

from __future__ import annotations

import gzip
import json
import os
import random
import sqlite3
from contextlib import closing
from dataclasses import replace

import msgspec
import pytest

from bench.cli import main
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, Run, Span
from results.records.scenario import Build, Scenario, Session
from results.store.recordings import raw_path, write_recording
from results.store.store import FILE_NAME, open_store
from results.store.tables.checksums import sealed
from results.store.tables.schema import RECORDS, RUNS, SESSIONS

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
    path = tmp_path / "place" / "out"
    path.mkdir(parents=True)
    (path / FILE_NAME).write_bytes(content)
    return path


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
    record = msgspec.json.encode(Session(session, 5, (), (), {})).decode()
    forge(store, SESSIONS, 2, id=session, record=record)
    before = sorted(store.parent.parent.rglob("*"))
    assert main([*command.split(), "--store", str(store)]) == 2
    output = capfdbinary.readouterr()
    assert output.out == b""
    assert output.err.decode().count("\n") == 1
    assert f"malformed session id {session!r}" in output.err.decode()
    assert sorted(store.parent.parent.rglob("*")) == before


NAMES = ["../../x", "/etc/x", "<script>", "\x1bc", "a\nb", ""]


def forge(store, table, seq, **values):
    """Changes a row, with a checksum that matches."""
    with closing(sqlite3.connect(store / FILE_NAME)) as database:
        database.row_factory = sqlite3.Row
        found = database.execute(f"SELECT * FROM {table.name} WHERE seq = ?", (seq,)).fetchone()
        row = sealed(table, dict(found) | values)
        columns = ", ".join(f'"{name}" = :{name}' for name in row)
        database.execute(f"UPDATE {table.name} SET {columns} WHERE seq = :seq", row)
        database.commit()


def forge_label(store, name):
    build = Build(name, "/qemu", "11.1.3", "", "", ("/qemu",))
    record = msgspec.json.encode(Session(LAST, 5, (), (build,), {})).decode()
    forge(store, SESSIONS, 2, record=record)


def forge_record(store, **fields):
    run = replace(run_and_recording(LAST, 5)[0], **fields)
    forge(store, RECORDS, 10, record=msgspec.json.encode(run).decode())


REPORT, CSV, SHOW = ("report",), ("report", "--format", "csv"), ("show", "worst")
HISTORY, COMPARE = ("history", "anon"), ("compare", "--stored", FIRST, LAST)
# Where a name may stand, and who reads it there.
FORGERIES = {
    "label": (forge_label, (REPORT, CSV, SHOW, HISTORY, COMPARE, ("replay",))),
    "old_build": (
        lambda store, name: forge(store, RUNS, 10, old_build=name), (REPORT, CSV, SHOW, HISTORY)
    ),
    "share": (
        lambda store, name: forge(store, RUNS, 10, shares=json.dumps({name: 1})),
        (REPORT, CSV, SHOW, HISTORY),
    ),
    "scenario": (
        lambda store, name: forge_record(store, scenario=name), (REPORT, CSV, SHOW, COMPARE)
    ),
    "new_build": (
        lambda store, name: forge_record(store, new_build=name), (REPORT, CSV, SHOW, COMPARE)
    ),
    "phase": (
        lambda store, name: forge_record(store, spans=(Span(name, "old", 1, 2, 1),)),
        (REPORT, CSV, SHOW, COMPARE),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", FORGERIES)
def test_a_malformed_name_is_one_line_and_writes_nothing(store, capfdbinary, where, name):
    change, commands = FORGERIES[where]
    change(store, name)
    before = sorted(store.parent.parent.rglob("*"))
    for words in commands:
        assert main([*words, "--store", str(store)]) == 2, words
        output = capfdbinary.readouterr()
        assert output.out == b"", words
        (line,) = output.err.decode().splitlines()
        assert line.startswith(f"pausebench: {store / FILE_NAME}"), words
        assert "malformed" in line, words
        assert repr(name) in line, words
    assert sorted(store.parent.parent.rglob("*")) == before


def test_a_malformed_name_in_a_recording_is_one_line(store, capfdbinary):
    run, recording = run_and_recording(LAST, 5)
    path = raw_path(store, run.id)
    path.parent.mkdir(parents=True)
    hostile = replace(recording, new_build="\x1b[2J")
    path.write_bytes(gzip.compress(msgspec.json.encode(hostile)))
    assert main(["replay", run.id, "--store", str(store)]) == 2
    (line,) = capfdbinary.readouterr().err.decode().splitlines()
    assert line.startswith(f"pausebench: {path}: malformed build label '\\x1b[2J'")


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
