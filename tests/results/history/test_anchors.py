"""A night against earlier ones: the anchor, and the last nights of a stable level."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.history import anchors
from results.history.anchors import ANCHOR_BOOTS, KNOWN_NIGHTS, STRETCH_NIGHTS, with_anchors
from results.history.kept import read_history
from results.summary.report_data import read_report_data

from .conftest import build

PAIR = (build("baseline"), build("candidate"))
NIGHT = {"night": "job", "order": "blocks of A B B A", "builds": PAIR, "boots": 8,
         "command": ("pausebench", "nightly")}  # fmt: skip


def report(nights, session):
    lines = read_history(nights.store, until_unix_ns=session.started_unix_ns)
    return with_anchors(nights.store, read_report_data(nights.store, [session.id]), lines)


def tonight(nights, ms, number=20, before=20, **facts):
    """Nights at 4 ms, then one at `ms` in both builds: a comparison within it shows nothing."""
    nights.add_level(0, before, 4.0, **NIGHT)
    return report(nights, nights.add(number, ms, **(NIGHT | facts)))


def test_a_night_is_compared_with_the_anchor_and_the_last_stable_nights(nights):
    data = tonight(nights, 4.8)
    assert [cell.verdict for each in data.comparisons for cell in each.cells] == ["same"]
    anchor, stretch = data.anchors
    sessions = nights.store.sessions()
    assert anchor.label_a == "the anchor of 2026-11-23"
    assert sessions[0].id.startswith("20261123")
    assert stretch.label_a == "the last stable nights of 2026-12-10 to 2026-12-12"
    assert sessions[-2].id.startswith("20261212")
    for comparison, boots in ((anchor, 8), (stretch, 8 * STRETCH_NIGHTS)):
        assert comparison.label_b == "candidate"
        assert comparison.comparisons == 3
        (cell,) = comparison.cells
        assert (cell.verdict, cell.n_a, cell.n_b) == ("regressed", boots, 8)
        assert cell.noise_source == "what nights differ by on this host"
    assert len(data.worse_than_before) == 2
    assert sum("anon on baseline moved by +" in note for note in data.notes) == 2


@pytest.mark.parametrize("ms", [4.0, 4.08])
def test_what_nights_differ_by_anyway_is_no_finding(nights, ms):
    data = tonight(nights, ms)
    assert len(data.anchors) == 2
    assert data.worse_than_before == ()


def test_the_anchor_is_the_first_night_with_enough_boots_on_this_kernel(nights):
    assert ANCHOR_BOOTS == 6
    nights.add(-3, 4.0, **(NIGHT | {"boots": 8, "kernel": "6.11"}))
    nights.add(-2, 4.0, **(NIGHT | {"boots": 5}))
    nights.add(-1, 4.0, **(NIGHT | {"boots": 6}))
    data = tonight(nights, 4.0)
    assert data.anchors[0].label_a == "the anchor of 2026-11-22"


def test_the_user_names_the_anchor(nights):
    nights.add_level(0, 20, 4.0, **NIGHT)
    named = nights.store.sessions()[7].id
    data = report(nights, nights.add(20, 4.0, **NIGHT, anchor=named))
    assert data.anchors[0].label_a == "the anchor of 2026-11-30"
    data = report(nights, nights.add(21, 4.0, **NIGHT, anchor="20200101-000000-aaaa"))
    assert len(data.anchors) == 1
    assert "not compared with the anchor: session 20200101-000000-aaaa did not measure it " in (
        "\n".join(data.notes)
    )


def test_another_kernel_is_not_compared_and_another_setting_is_told(nights):
    data = tonight(nights, 4.8, kernel="6.13", anchor="")
    assert data.anchors == ()
    assert sum("on this host and kernel (anon on candidate)" in each for each in data.notes) == 2
    data = report(nights, nights.add(21, 4.8, **NIGHT, microcode="0x2"))
    assert len(data.anchors) == 2
    assert "microcode: 0x1 in A, 0x2 in B" in "\n".join(data.notes)


def test_a_named_anchor_on_another_kernel_is_refused_by_name(nights):
    nights.add_level(0, 20, 4.0, **NIGHT)
    named = nights.store.sessions()[0].id
    data = report(nights, nights.add(20, 4.0, **NIGHT, kernel="6.13", anchor=named))
    assert "not compared with the anchor: kernel: 6.12 in A, 6.13 in B (anon on candidate)" in (
        data.notes
    )


def test_too_few_nights_do_not_tell_how_much_nights_differ(nights):
    data = tonight(nights, 4.8, before=KNOWN_NIGHTS - 1, number=KNOWN_NIGHTS - 1)
    assert data.anchors == ()
    assert f"it takes {KNOWN_NIGHTS} nights of one level" in data.notes[-1]
    data = report(nights, nights.add(KNOWN_NIGHTS, 4.0, **NIGHT))
    assert len(data.anchors) == 2


def test_after_a_confirmed_change_the_stretch_is_the_new_level_and_the_anchor_stays(nights):
    nights.add_level(0, 20, 4.0, **NIGHT)
    nights.add_level(20, 10, 4.8, seed=2, **NIGHT)
    data = report(nights, nights.add(30, 4.8, **NIGHT))
    anchor, stretch = data.anchors
    assert [each.cells[0].verdict for each in (anchor, stretch)] == ["regressed", "undecided"]
    assert stretch.cells[0].median_a_ns == pytest.approx(4.8e6, rel=0.02)


def test_what_a_provisional_change_may_have_moved_is_not_stable(nights):
    nights.add_level(0, 20, 4.0, **NIGHT)
    nights.add_level(20, 3, 4.8, seed=2, **NIGHT)
    (line,) = [line for line in read_history(nights.store) if line.key.new_build == "candidate"]
    assert [change.state for change in line.changes] == ["provisional"]
    data = report(nights, nights.add(23, 4.8, **NIGHT))
    assert data.anchors[1].cells[0].median_a_ns == pytest.approx(4.0e6, rel=0.02)
    assert data.anchors[1].cells[0].verdict == "regressed"


def test_a_drift_that_no_night_shows_is_found_against_the_anchor(nights):
    nights.add_level(0, 40, 4.0, **NIGHT)
    for night in range(40, 96):
        nights.add(night, 4.0 * 1.01 ** ((night - 39) / 7.0), **NIGHT)
    (line,) = [line for line in read_history(nights.store) if line.key.new_build == "candidate"]
    (drift,) = line.confirmed
    assert drift.kind == "drift"
    data = report(nights, nights.store.sessions()[-1])
    assert data.anchors[0].cells[0].verdict == "regressed"


def test_sessions_that_are_no_nights_are_not_compared(nights, monkeypatch):
    nights.add_level(0, 20, 4.0, **NIGHT)
    session = nights.add(20, 4.8, **(NIGHT | {"command": ("pausebench", "compare")}))
    data = read_report_data(nights.store, [session.id])
    plain = replace(data, sessions=(replace(session, environment={"host": "h"}),))
    monkeypatch.setattr(anchors, "_tonight", None)
    assert with_anchors(nights.store, plain, ()) is plain
