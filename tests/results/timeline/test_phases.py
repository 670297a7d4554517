"""Phases on one clock, and the distribution of the blackout over them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.records.recording import Event
from results.records.run import Span
from results.timeline.marks import MARK_NAMES, MARKS, choose_function, missing_marks
from results.timeline.moments import Marks
from results.timeline.phases import build_spans, phase_owners

OLD, NEW = 100, 200


def event(
    ns: int, pid: int, mark: str, edge: Literal["enter", "return"] = "enter", **counters: int
) -> Event:
    return Event(ns, pid, pid, mark, edge, counters=counters)


TRANSFER = (
    event(50, NEW, "cpr_load"),
    event(100, OLD, "cpr_save"),
    event(300, OLD, "cpr_save", "return"),
    event(400, NEW, "cpr_load", "return"),
    event(1_950, NEW, "cpr_close"),  # of another descriptor: before new QEMU listens
    event(2_100, NEW, "main_listen", "return"),
    event(2_200, NEW, "cpr_close"),
    event(2_300, OLD, "outgoing"),
    event(2_400, OLD, "connected"),
    event(2_450, NEW, "load"),
    event(2_500, OLD, "vm_stop"),
    event(2_700, OLD, "pause_vcpus", "return"),
    event(3_000, OLD, "vm_stop", "return"),
    event(3_100, OLD, "setup"),
    event(3_500, OLD, "setup", "return"),
    event(4_000, NEW, "load_main"),
    event(4_500, OLD, "complete", "return"),
    event(4_600, OLD, "runstate"),
    event(5_000, NEW, "loaded"),
    event(5_200, NEW, "vm_start"),
    event(5_600, NEW, "resume_vcpus", "return"),
)
STEPS = {"monitor": 2_000, "migrate_incoming": 2_080}
WINDOW = (2_600, 6_000)


def spans(
    events: tuple[Event, ...] = TRANSFER,
    window: tuple[int, int] | None = WINDOW,
    steps: dict[str, int] = STEPS,
) -> dict[str, Span]:
    marks = Marks(events, OLD, NEW)
    return {s.name: s for s in build_spans(marks, steps, "cpr-transfer", window)}


def without(*names: str) -> tuple[Event, ...]:
    return tuple(e for e in TRANSFER if e.mark not in names)


def shares(found: dict[str, Span]) -> dict[str, int]:
    return {name: span.blackout_ns for name, span in found.items() if span.blackout_ns}


# -- bounds ---------------------------------------------------------------------------------------


def test_every_phase_has_its_two_ends() -> None:
    assert {name: (s.side, s.start_ns, s.end_ns) for name, s in spans().items()} == {
        "cpr_save": ("old", 100, 300),
        "cpr_load": ("new", 100, 400),  # not from 50: it waited for old QEMU until 100
        "target_init": ("new", 400, 2_000),
        "hold": ("controller", 2_000, 2_080),
        "hang_up": ("both", 2_200, 2_300),
        "main_connect": ("old", 2_300, 2_400),
        "vcpu_stop": ("old", 2_500, 2_700),
        "quiesce": ("old", 2_700, 3_000),
        "save_start": ("old", 3_000, 3_100),
        "ram_setup": ("old", 3_100, 3_500),
        "state_save": ("old", 3_500, 4_500),
        "state_load": ("new", 2_450, 5_000),
        "activation": ("new", 5_000, 5_200),
        "vm_start": ("new", 5_200, 5_600),
        "first_entry": ("new", 5_600, 6_000),
        "source_end": ("old", 4_500, 4_600),
    }


def test_time_in_which_new_qemu_only_waits_is_not_loading() -> None:
    events = (
        event(100, OLD, "cpr_save"),
        event(150, NEW, "cpr_load"),
        event(400, NEW, "cpr_load", "return"),
    )
    assert spans(events, None)["cpr_load"].start_ns == 150


@pytest.mark.parametrize(
    ("mark", "gone"),
    [
        ("cpr_save", {"cpr_save", "cpr_load"}),
        ("cpr_load", {"cpr_load", "target_init"}),
        ("cpr_close", {"hang_up"}),
        ("outgoing", {"hang_up", "main_connect"}),
        ("connected", {"main_connect"}),
        ("vm_stop", {"vcpu_stop", "quiesce", "save_start"}),
        ("pause_vcpus", {"vcpu_stop", "quiesce"}),
        ("setup", {"save_start", "ram_setup", "state_save"}),
        ("complete", {"state_save", "source_end"}),
        ("load", {"state_load"}),
        ("load_main", {"state_load"}),
        ("loaded", {"state_load", "activation"}),
        ("vm_start", {"state_load", "activation", "vm_start"}),
        ("resume_vcpus", {"vm_start", "first_entry"}),
        ("runstate", {"source_end"}),
    ],
)
def test_phases_of_a_missing_mark_are_missing(mark: str, gone: set[str]) -> None:
    assert set(spans()) - set(spans(without(mark))) == gone


def test_steps_of_the_controller_bound_the_hold() -> None:
    assert set(spans()) - set(spans(steps={})) == {"target_init", "hold"}


def test_post_init_at_machine_creation_is_not_the_end_of_loading() -> None:
    """cpu_synchronize_all_post_init is also called when new QEMU creates its machine."""
    early = (event(1_000, NEW, "loaded"), *TRANSFER)
    assert spans(early)["state_load"].end_ns == 5_000
    only_early = (event(1_000, NEW, "loaded"), *without("loaded"))
    assert not {"state_load", "activation"} & set(spans(only_early))


def test_events_of_other_processes_are_ignored() -> None:
    stranger = tuple(event(e.ns + 7, 999, e.mark, e.edge) for e in TRANSFER)
    assert spans((*TRANSFER, *stranger)) == spans()


def test_counters_are_differences_between_two_events_of_one_process() -> None:
    events = (
        event(2_500, OLD, "vm_stop", switches=10, faults=100, task_ns=1_000),
        event(2_700, OLD, "pause_vcpus", "return", switches=13, faults=100, task_ns=1_150),
        event(3_000, OLD, "vm_stop", "return", switches=12, faults=107, task_ns=1_400),
        event(2_200, NEW, "cpr_close", switches=5),
        event(2_300, OLD, "outgoing", switches=9),
    )
    found = spans(events)
    assert found["vcpu_stop"].counters == {"switches": 3, "faults": 0, "task_ns": 150}
    # A total that falls is one that started anew; it is no negative effort.
    assert found["quiesce"].counters == {"switches": 0, "faults": 7, "task_ns": 250}
    assert found["hang_up"].counters == {}  # two processes


@pytest.mark.parametrize(
    ("stop", "save", "position"),
    [
        (2_500, 100, "after-cpr-save"),
        (50, 100, "before-cpr-save"),
        (None, 100, "unknown"),
        (2_500, None, "unknown"),
    ],
)
def test_where_the_vm_stops(stop: int | None, save: int | None, position: str) -> None:
    events = [event(ns, OLD, m) for ns, m in ((stop, "vm_stop"), (save, "cpr_save")) if ns]
    assert Marks(tuple(events), OLD, NEW).stop_position() == position


# -- shares of the blackout -----------------------------------------------------------------------


def test_shares_are_exclusive_and_fill_the_blackout() -> None:
    assert shares(spans()) == {
        "vcpu_stop": 100,  # of 200: the blackout began in its midst
        "quiesce": 300,
        "save_start": 100,
        "ram_setup": 400,
        "state_save": 500,  # of 1,000: from its first section on the guest waits for new QEMU
        "state_load": 1_000,  # of 2,550
        "activation": 200,
        "vm_start": 400,
        "first_entry": 400,
    }
    assert sum(shares(spans()).values()) == WINDOW[1] - WINDOW[0]


def test_loading_owns_the_time_once_saving_has_ended_early() -> None:
    """Between old's end of saving and new's first section new takes over its vCPUs' state.

    Seen on real transfers of two vCPUs on a busy host: 0.8 ms in which none but new QEMU's threads
    were on the critical path.
    """
    events = tuple(
        event(3_800, OLD, "complete", "return") if e.mark == "complete" else e for e in TRANSFER
    )
    found = shares(spans(events))
    assert found["state_save"] == 300
    assert found["state_load"] == 1_200
    assert sum(found.values()) == WINDOW[1] - WINDOW[0]


def test_without_the_first_section_the_share_of_loading_is_unknown() -> None:
    found = spans(without("load_main"))
    assert "state_load" not in found
    assert {name: share for name, share in shares(spans()).items() if name in found} == {
        name: share - 500 * (name == "state_save") for name, share in shares(found).items()
    }  # saving went on until 4,500, but nobody knows how long the guest waited for it


def test_hold_and_source_end_are_never_waited_for() -> None:
    found = spans(window=(0, 10_000))
    assert found["hold"].blackout_ns == 0
    assert found["source_end"].blackout_ns == 0


def test_stop_before_the_cpr_save_puts_target_init_into_the_blackout() -> None:
    """A pending series of QEMU stops the VM first: phases 1 to 5 then belong to the blackout."""
    found = shares(spans(window=(60, 6_000)))
    assert found["cpr_load"] == 300  # cpr_save lies within it
    assert found["target_init"] == 1_600
    assert found["main_connect"] == 100


def test_without_a_blackout_nothing_has_a_share() -> None:
    found = spans(window=None)
    assert "first_entry" not in found
    assert shares(found) == {}


def test_residual_is_the_time_of_a_phase_that_was_not_seen() -> None:
    found = shares(spans(without("setup")))
    assert WINDOW[1] - WINDOW[0] - sum(found.values()) == 1_000  # 3,000 to 4,000


EVENTS = st.lists(
    st.builds(
        event,
        st.integers(0, 10_000),
        st.sampled_from((OLD, NEW, 999)),
        st.sampled_from(MARK_NAMES),
        st.sampled_from(("enter", "return")),
        faults=st.integers(0, 1 << 63),
    ),
    max_size=80,
)


@given(
    events=EVENTS,
    start=st.integers(0, 10_000),
    length=st.integers(1, 10_000),
    steps=st.dictionaries(st.sampled_from(("monitor", "migrate_incoming")), st.integers(0, 9_999)),
)
def test_shares_always_lie_within_their_phase_and_the_blackout(
    events: list[Event], start: int, length: int, steps: dict[str, int]
) -> None:
    found = spans(tuple(events), (start, start + length), steps)
    assert sum(s.blackout_ns for s in found.values()) <= length
    for span in found.values():
        inside = min(span.end_ns, start + length) - max(span.start_ns, start)
        assert 0 <= span.blackout_ns <= max(0, inside)
        assert all(v >= 0 for v in span.counters.values())


@given(start=st.integers(1_000, 2_499), end=st.integers(5_601, 9_000))
def test_a_blackout_whose_phases_all_fired_has_no_residual_from_stop_to_entry(
    start: int, end: int
) -> None:
    found = shares(spans(window=(start, end)))
    inner = {n: v for n, v in found.items() if n not in ("target_init", "hang_up", "main_connect")}
    assert sum(inner.values()) == end - 2_500


# -- names of functions ---------------------------------------------------------------------------


def test_newer_name_of_a_function_is_preferred() -> None:
    connected = next(m for m in MARKS if m.name == "connected")
    both: dict[str, Any] = {"migration_connect": 1, "migration_start_outgoing": 2}
    assert choose_function(connected, both) == "migration_start_outgoing"
    assert choose_function(connected, {"migrate_fd_connect": 3}) == "migrate_fd_connect"
    assert choose_function(connected, {}) is None


def test_marks_without_a_symbol_in_a_build_are_listed() -> None:
    everything = {m.functions[0]: 1 for m in MARKS}
    assert missing_marks(everything) == ()
    everything.pop("vm_start")
    everything.pop("cpu_exec")  # only TCG needs it
    assert missing_marks(everything) == ("vm_start",)


def test_owners_fill_the_window_without_gaps_and_alternate() -> None:
    owners = phase_owners(Marks(TRANSFER, OLD, NEW), STEPS, "cpr-transfer", WINDOW)
    assert (owners[0][0], owners[-1][1]) == WINDOW
    for before, after in pairwise(owners):
        assert before[1] == after[0]
        assert before[2] != after[2]
    owned: dict[str, int] = {}
    for start, end, name in owners:
        owned[name] = owned.get(name, 0) + end - start
    assert owned == shares(spans())
