"""What a user types finds one run or session, or the candidates are named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.errors import UsageError
from results.store.store import open_store

SESSION = "20261123-221500-3f2a"
LATER = "20261124-221500-0b1c"


@pytest.fixture
def filled(store, make_session, make_run, add):
    store.add_session(make_session(LATER))
    add(
        store,
        make_run(update=1, blackout_ns=9_000_000),
        make_run(update=2),
        make_run(session=LATER, update=1, blackout_ns=5_000_000),
        make_run(session=LATER, update=2, blackout_ns=7_000_000),
        make_run(session=LATER, update=3, outcome="failed", reason="lost", blackout_ns=8_000_000),
        make_run(session=LATER, update=4, blackout_ns=6_000_000),
    )
    return store


@pytest.mark.parametrize(
    ("text", "means"),
    [
        (f"{SESSION}.anon.b01.u02", f"{SESSION}.anon.b01.u02"),
        (f"{LATER}.anon.b01.u01", f"{LATER}.anon.b01.u01"),
    ],
)
def test_a_run_is_found_by_what_a_user_types(filled, text, means):
    assert filled.resolve_run(text) == means


def test_a_prefix_is_enough_when_it_is_unique(filled, make_run, add):
    assert filled.resolve_session("20261124") == LATER
    longer = replace(make_run(), id=f"{SESSION}.anon.b01.u022")
    add(filled, longer)
    assert filled.resolve_run(f"{SESSION}.anon.b01.u022") == longer.id
    assert filled.resolve_run(f"{SESSION}.anon.b01.u02") == f"{SESSION}.anon.b01.u02"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SESSION, f"more than one run: {SESSION}.anon.b01.u01, {SESSION}.anon.b01.u02"),
        ("anon.b01.u03", f"close: {LATER}.anon.b01.u03"),
        (f"{LATER}.anom.b01.u03", f"close: {LATER}.anon.b01.u03"),
        ("%", "no run '%'"),
        ("\udcff", "no run"),
        ("", "more than one run"),
    ],
)
def test_a_name_of_none_or_several_lists_candidates(filled, text, message):
    with pytest.raises(UsageError) as caught:
        filled.resolve_run(text)
    assert message in str(caught.value)


def test_a_prefix_of_several_sessions_is_refused(tmp_path, make_session):
    with open_store(tmp_path) as opened:
        with pytest.raises(UsageError, match="no session '2026'"):
            opened.resolve_session("2026")
        opened.add_session(make_session())
        opened.add_session(make_session(LATER))
        with pytest.raises(UsageError, match="more than one session"):
            opened.resolve_session("2026")
