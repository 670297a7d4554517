"""The complete blackout by cause: a made-up transfer with round numbers, and its judgement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.causes.attribution import OURSELVES, attribute, critical_path, cut, summarise
from results.causes.critical_path import Piece
from results.judgement.judge import judge
from results.records.recording import Event, Process, Recording, VcpuBracket
from results.records.run import SCHEMA, Run
from results.records.scenario import Scenario
from results.records.scheduler import Attribution, Cause, SchedulerEvent, Scheduling, WatchedThread

OLD, NEW, OLD_VCPU, NEW_VCPU, MIGRATION, OURS = 100, 200, 101, 201, 150, 900
FUTEX, POLL, SENDMSG = 202, 271, 46
WINDOW = (2_600, 6_000)


def mark(ns: int, pid: int, name: str, edge: str = "enter", tid: int = 0) -> Event:
    return Event(ns, pid, tid or pid, name, edge)  # type: ignore[arg-type]


MARKS = (
    mark(2_500, OLD, "vm_stop"),
    mark(2_700, OLD, "pause_vcpus", "return"),
    mark(3_000, OLD, "vm_stop", "return"),
    mark(3_100, OLD, "setup", tid=MIGRATION),
    mark(3_500, OLD, "setup", "return", tid=MIGRATION),
    mark(3_900, NEW, "load"),
    mark(4_000, NEW, "load_main"),
    mark(4_500, OLD, "complete", "return", tid=MIGRATION),
    mark(5_000, NEW, "loaded"),
    mark(5_200, NEW, "vm_start"),
    mark(5_600, NEW, "resume_vcpus", "return"),
)


def switch(
    ns: int, left: int, came: int, state: int = 0, call: int = -1, name: str = ""
) -> SchedulerEvent:
    return SchedulerEvent(ns, "switch", 0, left, came, state, call, name=name)


# The vCPU stops, main begins the migration thread, which sends to new's main thread, which is kept
# from its CPU by us and then wakes its vCPU.
SCHEDULE = (
    switch(2_000, 0, OLD_VCPU),
    switch(2_550, OLD, 0, state=1, call=FUTEX),
    switch(2_560, NEW, 0, state=1, call=POLL),
    switch(2_570, NEW_VCPU, 0, state=1, call=FUTEX),
    SchedulerEvent(2_650, "wake", 0, OLD_VCPU, OLD, call=FUTEX),
    switch(2_680, OLD_VCPU, OLD, state=1, call=FUTEX),
    SchedulerEvent(3_050, "fork", 0, OLD, MIGRATION),
    switch(3_080, OLD, MIGRATION, state=1, call=POLL),
    SchedulerEvent(4_200, "wake", 0, MIGRATION, NEW, call=SENDMSG),
    switch(4_210, MIGRATION, OURS, name="python"),
    switch(4_700, OURS, NEW, name="python"),
    SchedulerEvent(5_700, "wake", 0, NEW, NEW_VCPU, call=FUTEX),
    switch(5_750, NEW, NEW_VCPU, state=1, call=POLL),
)
SCHEDULING = Scheduling(
    1_000,
    SCHEDULE,
    (
        WatchedThread(OLD, OLD, "qemu-system-x86"),
        WatchedThread(OLD_VCPU, OLD, "CPU 0/KVM"),
        WatchedThread(NEW, NEW, "qemu-system-x86"),
        WatchedThread(NEW_VCPU, NEW, "CPU 0/KVM"),
        WatchedThread(205, NEW, "qemu-system-x86"),
    ),
    own=(OURS,),
)
RECORDING = Recording(
    schema=SCHEMA,
    id="s.anon.b01.u01",
    session="s",
    boot=1,
    update=1,
    started_unix_ns=1,
    scenario=Scenario("anon", "anon", accel="kvm"),
    old_build="system",
    new_build="system",
    old=Process(OLD, ("qemu",), (OLD_VCPU,), "postmigrate"),
    new=Process(NEW, ("qemu",), (NEW_VCPU,), "running"),
    steps={"migrate": 1, "monitor": 2_000, "migrate_incoming": 2_080},
    events=MARKS,
    brackets=(VcpuBracket(0, OLD_VCPU, NEW_VCPU, *WINDOW),),
    scheduling=SCHEDULING,
)


def found(recording: Recording = RECORDING) -> Attribution:
    made = attribute(recording, WINDOW, NEW_VCPU)
    assert made is not None
    return made


def test_every_segment_has_its_thread_state_and_phase() -> None:
    path = critical_path(RECORDING, WINDOW, NEW_VCPU)
    assert [(s.start_ns, s.end_ns, f"{s.side} {s.thread}", s.state, s.phase) for s in path] == [
        (2_600, 2_650, "old vCPU 0", "on-cpu", "vcpu_stop"),
        (2_650, 2_680, "old main thread", "runnable", "vcpu_stop"),
        (2_680, 2_700, "old main thread", "on-cpu", "vcpu_stop"),
        (2_700, 3_000, "old main thread", "on-cpu", "quiesce"),
        (3_000, 3_050, "old main thread", "on-cpu", "save_start"),
        (3_050, 3_080, "old migration thread", "runnable", "save_start"),
        (3_080, 3_100, "old migration thread", "on-cpu", "save_start"),
        (3_100, 3_500, "old migration thread", "on-cpu", "ram_setup"),
        (3_500, 4_000, "old migration thread", "on-cpu", "state_save"),
        (4_000, 4_200, "old migration thread", "on-cpu", "state_load"),
        (4_200, 4_700, "new main thread", "runnable", "state_load"),
        (4_700, 5_000, "new main thread", "on-cpu", "state_load"),
        (5_000, 5_200, "new main thread", "on-cpu", "activation"),
        (5_200, 5_600, "new main thread", "on-cpu", "vm_start"),
        (5_600, 5_700, "new main thread", "on-cpu", "first_entry"),
        (5_700, 5_750, "new vCPU 0", "runnable", "first_entry"),
        (5_750, 6_000, "new vCPU 0", "on-cpu", "first_entry"),
    ]


def test_pausebench_itself_is_named_as_a_cause() -> None:
    waits = [c for c in found().causes if c.state == "runnable" and c.phase == "state_load"]
    assert waits == [Cause("state_load", "new", "main thread", "runnable", "", OURSELVES, 500, 1)]


def test_causes_add_up_to_the_blackout_and_the_longest_comes_first() -> None:
    made = found()
    assert sum(c.ns for c in made.causes) == WINDOW[1] - WINDOW[0]
    assert [c.ns for c in made.causes] == sorted((c.ns for c in made.causes), reverse=True)
    assert made.unattributed_ns == 0


def test_time_without_a_phase_is_unattributed() -> None:
    blind = replace(RECORDING, events=tuple(e for e in MARKS if e.mark != "vm_start"))
    made = found(blind)
    assert sum(c.ns for c in made.causes) == WINDOW[1] - WINDOW[0]
    # Without vm_start neither the load's end nor activation is known.
    assert made.unattributed_ns == sum(c.ns for c in made.causes if not c.phase) > 0


def test_a_thread_without_records_is_unattributed() -> None:
    silent = replace(RECORDING, scheduling=replace(SCHEDULING, events=()))
    assert found(silent).unattributed_ns == WINDOW[1] - WINDOW[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda s: replace(s, lost=3), "3 records of the scheduler were lost"),
        (lambda s: Scheduling(missing="no BTF"), "no BTF"),
        (lambda s: replace(s, since_ns=2_601), "after the blackout had begun"),
    ],
)
def test_without_all_the_evidence_there_is_no_attribution(
    change: Callable[[Scheduling], Scheduling], why: str
) -> None:
    made = found(replace(RECORDING, scheduling=change(SCHEDULING)))
    assert why in made.missing
    assert made.causes == ()


def test_lost_records_of_the_scheduler_do_not_fail_a_run() -> None:
    reasons = judge(RECORDING).reason
    lost = replace(RECORDING, scheduling=replace(SCHEDULING, lost=3))
    assert judge(lost).reason == reasons
    assert judge(lost).attribution == Attribution(missing="3 records of the scheduler were lost")


def test_a_run_is_judged_with_its_attribution_and_the_same_again_from_disk() -> None:
    run = judge(RECORDING)
    assert run.attribution == found()
    stored = msgspec.json.decode(msgspec.json.encode(RECORDING), type=Recording)
    assert judge(stored).attribution == run.attribution
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run


def test_older_recordings_are_read_and_have_no_attribution() -> None:
    old = msgspec.json.decode(msgspec.json.encode(RECORDING), type=dict)
    del old["scheduling"]
    assert judge(msgspec.convert(old, Recording)).attribution is None


PIECES = st.lists(
    st.tuples(
        st.integers(1, 50),
        st.sampled_from([OLD, NEW, 0]),
        st.sampled_from(["on-cpu", "runnable", "blocked", "stopped", "unknown"]),
        st.sampled_from(["", "futex"]),
    ),
    min_size=1,
    max_size=30,
)


@given(PIECES, st.lists(st.tuples(st.integers(0, 1_500), st.sampled_from(["", "a", "b"]))))
def test_no_ns_is_lost_for_any_pieces_and_phases(
    lengths: list[tuple[int, int, str, str]], edges: list[tuple[int, str]]
) -> None:
    pieces, now = [], 0
    for length, tid, state, on in lengths:
        pieces.append(Piece(tid, now, now + length, state, on))  # type: ignore[arg-type]
        now += length
    starts = dict(edges) | {0: "a"}
    ends = [*sorted(starts)[1:], max(now, 1_501)]
    owners = [(s, e, starts[s]) for s, e in zip(sorted(starts), ends, strict=True)]
    segments = cut(pieces, owners, {OLD: ("old", "main thread"), NEW: ("new", "main thread")})
    made = summarise(segments)
    assert sum(c.ns for c in made.causes) == now
    assert [s.start_ns for s in segments[1:]] == [s.end_ns for s in segments[:-1]]
    assert all(c.ns > 0 and c.count > 0 for c in made.causes)
    for segment in segments:
        owner = next(o for o in owners if o[0] <= segment.start_ns < o[1])
        assert segment.end_ns <= owner[1]
        assert segment.phase == owner[2]
    unknown = sum(s.length_ns for s in segments if not s.phase or s.state == "unknown")
    assert made.unattributed_ns == unknown
