"""Every field of every record survives the store: each has a value of its own, not its default."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import MISSING, Field, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from results.records.observations import Ring
from results.records.recording import Event, Recording
from results.records.run import SCHEMA, Run, Span
from results.records.scenario import Build, Scenario, Session
from results.store.column_reader import read_columns
from results.store.store import open_store
from results.store.tables.columns import columns_of
from results.store.tables.rows import AaEntry, SessionEnd
from results.store.tables.schema import AA, CHECKSUMS, NUMBERS, RUNS, TEXTS

SESSION = "20261123-221500-3f2a"
RUN = f"{SESSION}.anon.b01.u01"

# What is checked when a record is read leaves no choice, or little.
GIVEN: dict[tuple[type, str], Any] = {
    (Session, "id"): SESSION,
    (Run, "schema"): SCHEMA,
    (Run, "id"): RUN,
    (Run, "session"): SESSION,
    (Recording, "schema"): SCHEMA,
    (Recording, "id"): RUN,
    (Recording, "session"): SESSION,
    (Scenario, "mode"): "precopy",
    (Event, "data"): "00ff",
    (Ring, "shift"): 7,
}
# Names of scenarios, builds and phases, which are checked too.
NAMES = {
    (Build, "label"), (Scenario, "id"), (Span, "name"), (Run, "scenario"), (Run, "old_build"),
    (Run, "new_build"), (Recording, "old_build"), (Recording, "new_build"),
}  # fmt: skip


class Maker:
    """Makes records whose numbers and texts are all different, with nothing at its default."""

    def __init__(self) -> None:
        self._numbers = itertools.count(101)

    def record(self, kind: type[Any]) -> Any:
        hints = get_type_hints(kind)
        made = {}
        for field in fields(kind):
            key = (kind, field.name)
            if key in NAMES:
                made[field.name] = f"name-{next(self._numbers)}"
            else:
                made[field.name] = GIVEN.get(key) or self.value(
                    hints[field.name], default_of(field)
                )
        return kind(**made)

    def value(self, hint: Any, default: Any = MISSING) -> Any:
        kind, inner = get_origin(hint), get_args(hint)
        if kind in (Union, UnionType):
            return self.value(next(each for each in inner if each is not type(None)), default)
        if kind is Literal:
            return next(word for word in reversed(inner) if word != default)
        if kind is tuple:
            several = (inner[0], inner[0]) if inner[-1] is Ellipsis else inner
            return tuple(map(self.value, several))
        if kind is dict:
            return dict([tuple(map(self.value, inner))])
        if is_dataclass(hint):
            return self.record(hint)
        number = next(self._numbers)
        simple: dict[Any, Any] = {
            bool: default is not True,
            int: number,
            float: 1 / number,
            str: f"text {number} \x1b µ\u2028",
        }
        return simple[hint]


def default_of(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def records_in(value: Any) -> Iterator[Any]:
    """All records in a value, itself included."""
    if is_dataclass(value):
        yield value
        for field in fields(value):
            yield from records_in(getattr(value, field.name))
    elif isinstance(value, tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from records_in(each)


@pytest.fixture
def full():
    """A store of one session with one run, and what was stored."""
    maker = Maker()
    return maker.record(Session), maker.record(Run), maker.record(Recording)


@pytest.fixture
def store(tmp_path, full):
    session, run, recording = full
    with open_store(tmp_path) as opened:
        opened.add_session(session)
        opened.add_run(run, recording)
        opened.finish_session(SESSION, 7, 3)
    with open_store(tmp_path, create=False) as opened:
        yield opened


def test_no_field_has_its_default(full):
    for record in records_in(full):
        for field in fields(record):
            value = getattr(record, field.name)
            assert value != default_of(field), (type(record).__name__, field.name)
            assert value or value is False, (type(record).__name__, field.name)


def test_every_field_survives(store, full):
    session, run, recording = full
    for mine, back in (
        (session, store.session(SESSION)),
        (run, store.run(RUN)),
        (run, store.run_by_seq(1)),
        (run, *store.runs()),
        (recording, store.recording(RUN)),
    ):
        for field in fields(mine):
            assert getattr(back, field.name) == getattr(mine, field.name), field.name
    assert store.session_end(SESSION) == SessionEnd(7, 3)


# Columns that are not a field of Run by their name.
COLUMNS: dict[str, Callable[[Run], Any]] = {
    "seq": lambda _: 1,
    "qemu_ns": lambda run: run.witnesses.qemu,
    "kvm_entry_ns": lambda run: run.witnesses.kvm_entry,
    "uprobe_ns": lambda run: run.witnesses.uprobe,
    "qmp_ns": lambda run: run.witnesses.qmp,
    "guest_ns": lambda run: run.witnesses.guest,
    "phases": lambda run: json_of({span.name: span.blackout_ns for span in run.spans}),
    "shares": lambda run: json_of({span.name: span.blackout_ns for span in run.spans}),
    "vcpu_blackouts": lambda run: json_of(run.vcpu_blackouts_ns),
    "proof": lambda run: run.proof.verdict if run.proof else None,
    "device_operations": lambda run: run.device.operations if run.device else None,
    "device_troubles": lambda run: len(run.device.troubles) if run.device else None,
    "device_gap_ns": lambda run: run.device.longest_gap_ns if run.device else None,
}


def json_of(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def test_every_column_holds_its_field(store, full):
    _, run, _ = full
    with closing(sqlite3.connect(store.file)) as database:
        database.row_factory = sqlite3.Row
        row = database.execute("SELECT * FROM runs").fetchone()
    expected = {
        column.name: COLUMNS.get(column.name, lambda run, n=column.name: getattr(run, n))(run)
        for column in RUNS.columns
        if column.name not in CHECKSUMS
    }
    assert {name: row[name] for name in expected} == expected


def test_every_column_is_read(store, full):
    _, run, _ = full
    read, made = read_columns(store, [SESSION]), columns_of([run])
    for name in TEXTS:
        assert read.words(name) == made.words(name), name
        assert made.words(name)[0] == COLUMNS.get(name, lambda r, n=name: getattr(r, n))(run)
    for name in NUMBERS:
        expected = COLUMNS.get(name, lambda r, n=name: getattr(r, n))(run)
        assert read.numbers[name].tolist() == [expected], name
    assert {name: each.tolist() for name, each in read.shares.items()} == {
        span.name: [span.blackout_ns] for span in run.spans
    }
    assert [each.tolist() for each in read.vcpus] == [[ns] for ns in run.vcpu_blackouts_ns]


def test_every_field_of_an_aa_comparison_survives(store):
    entry = Maker().record(AaEntry)
    with open_store(store.path) as opened:
        opened.add_aa(SESSION, entry)
    assert store.aa(entry.host) == [entry]
    assert {field.name for field in fields(AaEntry)} < {column.name for column in AA.columns}
