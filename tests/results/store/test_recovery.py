"""A damaged store loses no run silently: what is sound is read, and what is lost is named.

PAUSEBENCH_FUZZ_CASES=5000 pytest tests/results/store/test_recovery.py    more random damage
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from results.errors import PausebenchError, RecordInvalid
from results.records.run import Span
from results.store.column_reader import read_columns
from results.store.store import FILE_NAME, AaEntry, open_store

PAGE = 4096
CASES = int(os.environ.get("PAUSEBENCH_FUZZ_CASES", "200"))
SESSIONS = [f"2026112{day}-221500-3f2a" for day in range(3, 7)]
ENTRY = AaEntry("host", "vcpus=2", 4, 7, "same")


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Callable[[], bytes]:
    """Fills a store once for all tests of this module."""
    made: list[bytes] = []
    path = tmp_path_factory.mktemp("filled")

    def fill(make_session, make_run, make_recording):
        if not made:
            spans = tuple(Span(f"phase{n}", "old", 5, 9, n) for n in range(20))
            with open_store(path) as store:
                for session in SESSIONS:
                    store.add_session(make_session(session))
                    for update in range(1, 6):
                        run = make_run(update=update, session=session, spans=spans)
                        store.add_run(run, make_recording(run))
                    store.add_aa(session, ENTRY)
            made.append((path / FILE_NAME).read_bytes())
        return path, made[0]

    return fill


@pytest.fixture
def sound(filled, make_session, make_run, make_recording):
    """Directory of a store of 20 runs in 4 sessions, and the content of its file."""
    path, content = filled(make_session, make_run, make_recording)
    (path / FILE_NAME).write_bytes(content)
    return path, content


def damaged(content: bytes, seed: int) -> bytes:
    """Pages swapped, overwritten by others, zeroed or with flipped bits."""
    chance = random.Random(seed)
    pages = len(content) // PAGE
    changed = bytearray(content)
    how = chance.choice(["swap", "swap", "copy", "zero", "flip", "flip"])
    one, other = (slice(n * PAGE, (n + 1) * PAGE) for n in chance.sample(range(pages), 2))
    if how == "swap":
        changed[one], changed[other] = changed[other], changed[one]
    elif how == "copy":
        changed[one] = changed[other]
    elif how == "zero":
        changed[one] = bytes(PAGE)
    else:
        for _ in range(chance.choice([1, 1, 3, 40])):
            changed[one.start + chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def runs_read(store) -> dict[str, int]:
    """By session: runs that come back with their right values, by each way of reading."""
    found = {}
    for session in store.session_ids():
        runs = store.runs(session=session)
        columns = read_columns(store, [session])
        blackouts = columns.numbers["blackout_ns"].tolist()
        assert blackouts == [4_420_000] * len(blackouts)
        assert all(store.run(run.id) == run for run in runs)
        assert len(runs) <= len(columns) <= 5
        found[session] = len(runs)
    return found


@pytest.mark.parametrize("part", range(8))
def test_random_damage_never_loses_a_run_silently(sound, part):
    path, content = sound
    for seed in range(part, CASES, 8):
        (path / FILE_NAME).write_bytes(damaged(content, seed))
        try:
            with open_store(path, create=False) as store:
                found = runs_read(store)
                entries = store.aa("host")
                report = " ".join(damage.text for damage in store.damages if damage.lost)
        except PausebenchError as error:
            if str(path / FILE_NAME) not in str(error):
                raise
            continue
        for session in SESSIONS:
            if found.get(session) != 5:
                assert session in report or "number of runs in it is unknown" in report, (
                    seed,
                    report,
                )
        if len(entries) != len(SESSIONS):
            assert "A/A" in report, (seed, report)


def edit(path, statement, *values):
    with closing(sqlite3.connect(path / FILE_NAME)) as database:
        database.execute(statement, values)
        database.commit()


def lines(store) -> list[str]:
    prefix = f"{store.file} is damaged"
    assert all(damage.text.startswith(prefix) for damage in store.damages)
    return [damage.text.removeprefix(prefix) for damage in store.damages]


def test_a_sound_store_is_read_as_it_is(sound):
    path, _ = sound
    with open_store(path, create=False) as store:
        assert runs_read(store) == dict.fromkeys(SESSIONS, 5)
        assert store.aa("host") == [ENTRY] * 4
        assert not store.database.recovered
        assert store.damages == ()


def test_a_damaged_row_of_figures_is_rebuilt_from_its_record(sound):
    path, _ = sound
    edit(path, "UPDATE runs SET blackout_ns = 1 WHERE seq = 2")
    with open_store(path, create=False) as store:
        assert runs_read(store) == dict.fromkeys(SESSIONS, 5)
        (damage,) = store.damages
    assert not damage.lost
    assert damage.text == f"{store.file} is damaged, but everything in it was recovered"


def test_a_damaged_record_leaves_the_figures(sound):
    path, _ = sound
    edit(path, "UPDATE records SET record = replace(record, 'quotes', 'quoted') WHERE seq = 2")
    lost = f"{SESSIONS[0]}.anon.b01.u02"
    with open_store(path, create=False) as store:
        assert [run.update for run in store.runs(session=SESSIONS[0])] == [1, 3, 4, 5]
        assert len(read_columns(store, [SESSIONS[0]])) == 5
        assert lines(store) == [
            f": lost all but the figures of 1 run of session {SESSIONS[0]}: {lost}"
        ]
        with pytest.raises(RecordInvalid, match="its record is damaged") as caught:
            store.run(lost)
    assert lost in str(caught.value)


def test_a_run_that_vanished_is_named_by_its_evidence(sound):
    path, _ = sound
    edit(path, "DELETE FROM records WHERE seq IN (2, 3)")
    edit(path, "DELETE FROM runs WHERE seq IN (2, 3)")
    with open_store(path, create=False) as store:
        assert len(read_columns(store, SESSIONS)) == 18
        first, second = (f"{SESSIONS[0]}.anon.b01.u0{n}" for n in (2, 3))
        assert lines(store) == [f": lost 2 of 5 runs of session {SESSIONS[0]}: {first}, {second}"]
        assert store.runs(session=SESSIONS[1]) != []
        with pytest.raises(RecordInvalid, match="is not in what is left"):
            store.run(first)


def test_a_session_that_vanished_is_named_by_its_runs(sound):
    path, _ = sound
    edit(path, "DELETE FROM sessions WHERE id = ?", SESSIONS[1])
    with open_store(path, create=False) as store:
        assert store.session_ids() == [SESSIONS[0], *SESSIONS[2:]]
        assert lines(store) == [f": session {SESSIONS[1]} is lost, with 5 runs of it left"]
        for call in (store.session, store.resolve_session):
            with pytest.raises(RecordInvalid, match="is not in what is left"):
                call(SESSIONS[1])


def test_a_session_without_runs_that_vanished_is_counted(sound, make_session):
    path, _ = sound
    with open_store(path) as store:
        store.add_session(make_session("20261130-221500-3f2a"))
    edit(path, "DELETE FROM sessions WHERE seq = 5")
    with open_store(path, create=False) as store:
        assert len(store.sessions()) == 4
        assert lines(store) == [": lost 1 session"]


def test_aa_comparisons_that_vanished_are_counted(sound):
    path, _ = sound
    edit(path, "DELETE FROM aa WHERE seq > 2")
    with open_store(path, create=False) as store:
        assert len(store.aa("host")) == 2
        assert lines(store) == [": lost 2 A/A comparisons"]


def test_a_tally_that_vanished_leaves_the_number_unknown(sound):
    path, _ = sound
    edit(path, "DELETE FROM tallies")
    with open_store(path, create=False) as store:
        assert runs_read(store) == dict.fromkeys(SESSIONS, 5)
        assert lines(store) == [
            ": the number of sessions in it is unknown; found 4",
            ": the number of runs in it is unknown; found 20",
            ": the number of A/A comparisons in it is unknown; found 4",
        ]


def test_nothing_but_zeros_is_rejected(sound):
    path, content = sound
    (path / FILE_NAME).write_bytes(content[:PAGE] + bytes(len(content) - PAGE))
    with open_store(path, create=False) as store:
        with pytest.raises(RecordInvalid, match="nothing in it can be read"):
            store.sessions()


def test_a_truncated_file_is_rejected(sound):
    path, content = sound
    for pages in range(1, len(content) // PAGE, 3):
        (path / FILE_NAME).write_bytes(content[: pages * PAGE])
        with pytest.raises(PausebenchError, match=f"{FILE_NAME}.* malformed"):
            open_store(path, create=False)


def test_the_damaged_file_is_not_touched(sound):
    path, content = sound
    changed = damaged(content, 1)
    (path / FILE_NAME).write_bytes(changed)
    with open_store(path, create=False) as store:
        runs_read(store)
    assert (path / FILE_NAME).read_bytes() == changed
