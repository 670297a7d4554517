"""Whatever a store, a file, QEMU or a command line holds: an error of ours, or a sound answer.

Some 5,000 cases, the same in every run; `--fuzz-cases 100000` tries more. Each must end within two
seconds of CPU time and 1 GiB, without a traceback, and write nothing outside of its directory.
"""

from __future__ import annotations

import asyncio
import gzip
import importlib
import io
import json
import shutil
import sqlite3
import tarfile
import types
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hostile import CHANGES, NUMBERS, TEXTS, VALUES, changed, share, within_bounds
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import main
from bench.measurement.scenarios import load_scenarios
from bench.nightly.config import load_config
from reports.formats.junit import junit
from reports.formats.markdown import markdown
from reports.formats.openmetrics import openmetrics
from reports.formats.report_json import report_json
from reports.terminal.style import Look
from reports.terminal.waterfall import waterfall
from results.claims.document import read_claims
from results.errors import HostUnfit
from results.history.lines import read_lines
from results.instrument.certificates import known_so_far
from results.judgement.judge import judge
from results.qemu.failures import recognise
from results.qemu.log import error_messages, last_message
from results.records.recording import Event, Recording
from results.records.scenario import Build, Session
from results.store.recordings import raw_path
from results.store.store import FILE_NAME, new_run_id, open_store
from results.store.tables.checksums import sealed
from results.store.tables.schema import RECORDS, RUNS, SESSIONS
from results.summary.report_data import read_report_data
from results.timeline.cpr_channel import carried_descriptors
from runners.builds import discover
from runners.builds.machine_types import machine_names, newest_common
from runners.devices.hotplug import dimm_placement
from runners.qemu.answers import integers
from runners.qemu.guest import vcpu_tids
from runners.qemu.migration import failed_migration, migration_status, runstate
from runners.qemu.process import _as_stamp
from runners.transfer.precopy import _migration_info

RECORDED = Path(__file__).parents[1] / "recorded" / "stores.tar.xz"
SESSION = "20261123-221500-3f2a"
RUN = f"{SESSION}.anon.b01.u01"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


# -- recordings -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documents():
    """Real recordings as JSON, the smallest of some modes: a case then takes some 10 ms."""
    with tarfile.open(RECORDED) as tar:
        texts = [
            tar.extractfile(member).read()
            for member in tar
            if member.name.lstrip("./").startswith("modes/") and member.name.endswith(".json")
        ]
    found = [json.loads(text) for text in sorted(texts, key=len)]
    found = [document for document in found if "steps" in document]
    modes = {document["scenario"].get("mode", ""): document for document in reversed(found)}
    return [document | {"id": RUN, "session": SESSION} for document in modes.values()]


@pytest.fixture(scope="module")
def recordings(place):
    """A store that holds no run but a directory of recordings."""
    with open_store(place / "recordings") as store:
        path = raw_path(store.path, RUN)
        path.parent.mkdir(parents=True)
        yield store, path


@share(0.1)
@given(number=st.integers(0, 20), changes=CHANGES)
def test_recordings(documents, recordings, number, changes):
    store, path = recordings
    document = changed(documents[number % len(documents)], changes)
    path.write_bytes(gzip.compress(_json(document), 1))
    with within_bounds(store.path):
        run = judge(store.recording(RUN))
        assert waterfall(run, Look()).plain.isascii()
        msgspec.json.encode(run)


@share(0.12)
@given(at=st.integers(0, 1 << 20), data=st.binary(max_size=64), kept=st.integers(0, 1 << 20))
def test_files_of_recordings(documents, recordings, at, data, kept):
    store, path = recordings
    whole = gzip.compress(_json(documents[0]), 1)
    at %= len(whole)
    path.write_bytes((whole[:at] + data + whole[at + len(data) :])[: kept % (2 * len(whole))])
    with within_bounds(store.path):
        store.recording(RUN)


def _json(document):
    """As JSON, in which numbers and texts that JSON has not are what Python makes of them."""
    return json.dumps(document).encode("utf-8", "surrogatepass")


# -- rows of a store ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(place, documents):
    """The directory of a store of a few runs."""
    path = place / "sound"
    build = Build("system", "/usr/bin/qemu", "10.0.2", "ab", "cd", ("/usr/bin/qemu",))
    facts = {"host": "h", "kernel": "k", "cmdline": "quiet"}
    with open_store(path) as store:
        store.add_session(Session(SESSION, 1, ("pausebench", "run"), (build,), facts))
        for number, document in enumerate(documents[:4]):
            recording = msgspec.json.decode(_json(document), type=Recording)
            boot, update = 1 + number // 2, 1 + number % 2
            run_id = new_run_id(SESSION, "anon", boot, update)
            recording = replace(recording, id=run_id, boot=boot, update=update)
            store.add_run(judge(recording), recording)
        store.finish_session(SESSION, 2_000_000_000_000_000_000, 0)
    return path


TABLES = {table.name: table for table in (SESSIONS, RUNS, RECORDS)}


@share(0.03)
@given(
    table=st.sampled_from(sorted(TABLES)),
    column=st.integers(0, 100),
    value=st.one_of(TEXTS, NUMBERS, st.none(), st.binary(max_size=20)),
    changes=CHANGES,
    seals=st.booleans(),
)
def test_rows(place, sound, table, column, value, changes, seals):
    path = place / "changed"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(sound, path)
    with closing(sqlite3.connect(path / FILE_NAME, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute(f"SELECT * FROM {table} ORDER BY seq").fetchone())
        name = sorted(row)[column % len(row)]
        if name == "record":
            value = _json(changed(json.loads(row[name]), changes)).decode("utf-8", "replace")
        changed_row = row | {name: _as_sql(value)}
        if seals:  # whoever makes such a store makes its checksums too
            with suppress(TypeError, ValueError, AttributeError, KeyError):
                changed_row = sealed(TABLES[table], changed_row)
        setting = ", ".join(f"{column} = ?" for column in changed_row)
        values = (*changed_row.values(), row["seq"])
        with suppress(sqlite3.Error, OverflowError):  # the schema itself refuses some
            connection.execute(f"UPDATE {table} SET {setting} WHERE seq = ?", values)
    with within_bounds(path), open_store(path, create=False) as store:
        for session in store.sessions():
            data = read_report_data(store, [session.id])
            for form in (markdown, junit, openmetrics, report_json):
                form(data)
        read_lines(store)


def _as_sql(value):
    """A value that SQLite's driver takes."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return str(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@share(0.08)
@given(text=st.one_of(st.binary(max_size=200), VALUES.map(_json)), deep=st.integers(0, 30_000))
def test_documents_beside_a_store(place, text, deep):
    directory = place / "documents"
    content = text if deep % 3 else b"[" * deep
    build = Build("system", "/q", "10.0", "ab", "cd", ("/q",))
    session = Session(SESSION, 1, (), (build,), {"host": "h", "kernel": "k"})
    for name in ("certificates", "claims"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "claims" / f"{SESSION}.json").write_bytes(content)
    for file in (directory / "certificates").glob("*"):
        file.write_bytes(content)
    (directory / "certificates" / "h.json").write_bytes(content)
    with within_bounds(directory):
        read_claims(directory, SESSION)
    with within_bounds(directory):
        known_so_far(directory, session, build)


# -- TOML -----------------------------------------------------------------------------------------

SCENARIO = {
    "scenario": {
        "mine": {"like": "anon", "ram": "1G", "touched": 0.5, "vcpus": 2, "cpu": "max", "mode": "x"}
    }
}
JOB = {
    "name": "night",
    "builds": {"baseline": "system", "candidate": "newest:builds"},
    "measure": {"scenarios": ["anon"], "boots": 24, "updates": 4},
    "budgets": {"anon": "5ms:99"},
    "quiet": {"wait": "30m", "busy_percent": 15.0},
    "mail": {"to": "a@b"},
    "outputs": {"formats": ["html"]},
    "self_check": {"scenarios": ["anon"], "boots": 8},
}
PUNCTUATION = st.text(alphabet="[]{}=\"'.\n#a1", max_size=60)


@share(0.18)
@given(
    document=st.sampled_from([SCENARIO, JOB]),
    changes=CHANGES,
    junk=st.one_of(st.just(b""), st.binary(max_size=60), PUNCTUATION.map(str.encode)),
    at=st.integers(0, 400),
    deep=st.integers(0, 60_000),
)
def test_toml(place, document, changes, junk, at, deep):
    text = _toml(changed(document, changes)).encode("utf-8", "replace")
    text = text[:at] + junk + text[at:]
    if deep % 5 == 0:
        text += b"deep = " + b"[" * deep
    file = place / "case.toml"
    file.write_bytes(text)
    with within_bounds(place):
        load_scenarios(file)
    with within_bounds(place):
        load_config(file)


def _toml(value):
    """As TOML where it can be; what cannot is refused, which is what is tested."""
    if not isinstance(value, dict):
        return f"x = {_inline(value)}\n"
    return "".join(f"{json.dumps(str(key))} = {_inline(each)}\n" for key, each in value.items())


def _inline(value):
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(str(k))} = {_inline(v)}" for k, v in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return "''" if value is None else json.dumps(value)


# -- QEMU -----------------------------------------------------------------------------------------


class Answers:
    """A QEMU that answers every command with one value."""

    pid = 4100
    stamps = ()
    silent = False

    def __init__(self, answer):
        self._answer = answer

    def alive(self):
        return True

    def stopped(self):
        return False

    async def execute(self, command, arguments=None, **kwargs):
        return self._answer


QUERIES = {
    "query-status": ({"status": "running", "running": True}, runstate),
    "query-migrate": (
        {"status": "completed", "downtime": 2, "ram": {"transferred": 1, "total": 2}},
        _migration_info,
    ),
    "query-cpus-fast": (
        [{"cpu-index": 0, "thread-id": 7}, {"cpu-index": 1, "thread-id": 8}],
        lambda qemu: vcpu_tids(qemu, 2),
    ),
    "query-memory-devices": (
        [{"type": "dimm", "data": {"id": "d", "memdev": "/o/m", "addr": 1, "slot": 0}}],
        dimm_placement,
    ),
}


@share(0.16)
@given(name=st.sampled_from(sorted(QUERIES)), changes=CHANGES)
def test_answers_of_qemu(place, name, changes):
    answer, read = QUERIES[name]
    hostile = changed(answer, changes)
    with within_bounds(place):
        found = asyncio.run(read(Answers(hostile)))
        msgspec.json.encode(found)


@share(0.08)
@given(changes=CHANGES)
def test_a_failed_migration_and_events(place, changes):
    info = changed({"status": "failed", "error-desc": "no", "ram": {"total": 1}}, changes)
    stamp = {"seconds": 1, "microseconds": 2}
    event = changed({"event": "MIGRATION", "data": {"status": "x"}, "timestamp": stamp}, changes)
    with within_bounds(place):
        raise failed_migration("old QEMU", info)
    with within_bounds(place):
        integers(info)
        if isinstance(event, dict):  # what the monitor passes on
            migration_status(event)
            msgspec.json.encode(_as_stamp(1, "old", event))


SCHEMA = [
    {"meta-type": "enum", "name": "7", "values": ["normal", "cpr-reboot", "cpr-transfer"]},
    {"meta-type": "object", "name": "8", "members": []},
]


@share(0.06)
@given(changes=CHANGES, line=st.one_of(st.none(), st.text(max_size=80)), deep=st.booleans())
def test_the_schema_of_qmp(place, changes, line, deep):
    answer = json.dumps({"return": changed(SCHEMA, changes)})
    lines = ['{"QMP": {}}', "[" * 50_000 if deep else "{}", line or answer, answer]
    qemu = types.SimpleNamespace(
        stdin=io.StringIO(), stdout=io.StringIO("\n".join(lines)), kill=lambda: None
    )
    with within_bounds(place):
        schema = discover._query_schema(qemu)
        if schema is not None:
            assert all(isinstance(mode, str) for mode in discover.modes_of_schema(schema))


@share(0.05)
@given(text=st.text(max_size=300), names=st.lists(TEXTS, max_size=4))
def test_what_qemu_prints(place, text, names):
    with within_bounds(place):
        machine_names(text)
        error_messages(text)
        last_message(text)
        recognise(text, vfio=True)
        newest_common({"a": tuple(names), "b": tuple(reversed(names))}, (names or ["q35"])[0])


# -- the cpr channel ------------------------------------------------------------------------------

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["sendmsg", "recvmsg"]),
        st.one_of(
            st.binary(max_size=400),
            st.builds(
                lambda length, name, number: length.to_bytes(4, "big") + name + b"\0" + number,
                st.integers(0, 2**32 - 1),
                st.binary(max_size=260),
                st.binary(min_size=4, max_size=5),
            ),
        ),
        st.integers(0, 253),
    ),
    max_size=12,
)


@share(0.08)
@given(messages=MESSAGES)
def test_streams_of_the_cpr_channel(place, messages):
    events = [
        Event(number, 10 if mark == "sendmsg" else 11, 10, mark, "return", {"fds": fds}, data.hex())
        for number, (mark, data, fds) in enumerate(messages)
    ]
    with within_bounds(place):
        found, doubts = carried_descriptors(events, 10, 11)
        sent = sum(fds for mark, _, fds in messages if mark == "sendmsg")
        assert len(found) == sent
        assert len(doubts) <= 2 * sum(fds for _, _, fds in messages)


# -- command lines --------------------------------------------------------------------------------

WORDS = st.one_of(
    TEXTS.filter(lambda text: "\0" not in text),
    st.sampled_from(
        [
            "run", "list", "report", "show", "compare", "sweep", "history", "replay", "why", "anon",
            "last", "worst", "--ram", "--boots", "--store", "--budget", "--json", "--format", "-o",
            "--seed", "--mode", "--stored", "--since", "--build", "--scenarios", "--", "--touched",
            "--values", "ram", "hugetlb-2m", "precopy", "anon=5ms:99", "1G", "--precision", "--aa",
        ]
    ),
)  # fmt: skip
LAST = {"report": ("--format", "json")}  # to draw a page of HTML takes a second
COMMANDS = ("run", "list", "report", "show", "compare", "sweep", "history", "replay", "why")


@share(0.06)
@given(command=st.sampled_from(COMMANDS), words=st.lists(WORDS, max_size=6))
def test_command_lines(sound, no_measurement, capsys, command, words):
    with within_bounds(no_measurement):
        try:
            status = main([command, *words, *LAST.get(command, ()), "--store", str(sound)])
        except SystemExit as ended:
            status = ended.code
    out, err = capsys.readouterr()
    assert status in (0, 1, 2, 3, 4, 5, 125)
    assert "internal error" not in err
    assert status == 0 or err.count("\n") <= 1 or out
    assert all(len(line) <= 1_100 for line in err.splitlines())


@pytest.fixture(scope="module")
def no_measurement(place, sound):
    """A directory to run in, of which nothing is measured."""

    def stop(*_, **__):
        raise HostUnfit("nothing is measured in this test")

    with pytest.MonkeyPatch.context() as patch:
        for handler in ("run", "compare", "sweep"):
            patch.setattr(f"bench.handlers.{handler}.require_host", stop)
        patch.chdir(place)
        # Imports take seconds, once.
        for command in COMMANDS:
            importlib.import_module(f"bench.handlers.{command}")
        main(["report", "--format", "json", "--store", str(sound)])
        patch.delenv("PAUSEBENCH_DEBUG", raising=False)
        yield place
