"""The table of marks and phases is consistent with itself, the modes and what is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from results.records.modes import MODES, PROMISES
from results.records.recording import Event
from results.timeline import moments, phases
from results.timeline.marks import (
    CPR_CHANNEL,
    MARK_NAMES,
    MARKS,
    PHASE_NAMES,
    PHASE_SIDES,
    PHASES,
    SHARING_PHASES,
    STOPS_FIRST,
    SUCCEEDS,
    At,
    Derived,
    Phase,
    expected_marks,
)
from results.timeline.moments import Marks
from results.timeline.phases import build_spans

OLD, NEW = 100, 200
RETURNED = {mark.name for mark in MARKS if mark.returns}


def bounds():
    """Every mark that bounds a phase."""
    waiting = [m for p in PHASES for m in (p.start, p.end, p.share_from)]
    found = [moment for moment in waiting if isinstance(moment, At)]
    return found + [moment.after for moment in found if moment.after is not None]


def test_names_are_unique():
    assert len(set(MARK_NAMES)) == len(MARKS)
    assert len(set(PHASE_NAMES)) == len(PHASES)


@pytest.mark.parametrize("moment", bounds())
def test_phases_are_bounded_by_probed_marks(moment):
    assert moment.mark in MARK_NAMES
    assert moment.edge == "enter" or moment.mark in RETURNED


def test_every_derived_moment_can_be_found_and_bounds_a_phase():
    named = {m for p in PHASES for m in (p.start, p.end, p.share_from) if isinstance(m, str)}
    assert named == set(get_args(Derived)) == set(moments._DERIVED)


def test_sides_are_known():
    assert {phase.side for phase in PHASES} == set(PHASE_SIDES)


def names(mode):
    return {mark.name for mark in expected_marks(mode)}


def test_marks_of_the_cpr_channel_are_expected_in_modes_that_have_one():
    for mode in MODES:
        assert ("cpr_save" in names(mode)) == PROMISES[mode].descriptors
    assert "complete" not in names("postcopy")
    assert names("cpr-transfer") == set(MARK_NAMES) - {"tcg_exec"}


def test_sets_of_modes_agree_with_their_contracts():
    for mode, promise in PROMISES.items():
        assert (mode in SUCCEEDS) == (not promise.held)
        assert (mode in STOPS_FIRST) == mode.startswith("cpr-")
        assert (mode in CPR_CHANNEL) == promise.descriptors


def test_yielding_phases_come_first_and_the_others_keep_their_order():
    measured = [phase.name for phase in phases._MEASURED]
    assert measured[:2] == ["source_quit", "target_start"]
    assert measured[2:] == [name for name in PHASE_NAMES if name not in measured[:2]]


def test_a_new_phase_needs_only_its_entry(monkeypatch):
    added = Phase("drain", "old", At("old", "vm_stop"), At("old", "vm_stop", "return"))
    monkeypatch.setattr(phases, "_MEASURED", (added,))
    monkeypatch.setattr(phases, "_BY_NAME", {"drain": added})
    stop = Event(50, OLD, OLD, "vm_stop", "enter")
    events = (stop, replace(stop, ns=80, edge="return"))
    (span,) = build_spans(Marks(events, OLD, NEW), {}, "cpr-transfer", (40, 100))
    assert (span.name, span.side, span.start_ns, span.end_ns) == ("drain", "old", 50, 80)
    assert span.blackout_ns == 30


def test_phases_with_a_share_are_those_that_are_waited_for():
    assert set(PHASE_NAMES) - set(SHARING_PHASES) == {"hold", "source_end", "vfio_handover"}
