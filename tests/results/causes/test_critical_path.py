"""Timelines from scheduler events, and the critical path through them: made up, and random."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from results.causes.critical_path import BEFORE, Piece, Stretch, time_lines, walk_back
from results.records.scheduler import SchedulerEvent, Scheduling, WatchedThread

MAIN, VCPU, OLD, STRANGER = 201, 202, 101, 900
FUTEX, POLL, SENDMSG, IOCTL, KILL = 202, 271, 46, 16, 62
NAMES = {MAIN: "main", VCPU: "vcpu", OLD: "old", 0: "idle"}


def switch(
    ns: int, left: int, came: int, state: int = 0, call: int = -1, name: str = "", **more: object
) -> SchedulerEvent:
    return SchedulerEvent(ns, "switch", 0, left, came, state, call, name=name, **more)  # type: ignore[arg-type]


def wake(ns: int, waker: int, woken: int, call: int = -1, name: str = "") -> SchedulerEvent:
    return SchedulerEvent(ns, "wake", 0, waker, woken, call=call, name=name)


def lines(
    *events: SchedulerEvent, end: int = 1_000, tids: tuple[int, ...] = (MAIN, VCPU, OLD)
) -> dict[int, list[Stretch]]:
    threads = tuple(WatchedThread(tid, tid, "qemu") for tid in tids)
    scheduling = Scheduling(0, events, threads)
    return time_lines(scheduling, end, lambda tid, name: NAMES.get(tid, name))


def states(stretches: list[Stretch]) -> list[tuple[int, int, str]]:
    return [(s.start_ns, s.end_ns, s.state) for s in stretches]


def path(*events: SchedulerEvent, tid: int = VCPU, start: int = 0, end: int = 1_000) -> list[Piece]:
    return walk_back(lines(*events, end=end), tid, start, end)


# -- time lines ----------------------------------------------------------------------------------


def test_a_thread_blocks_is_woken_waits_for_a_cpu_and_runs() -> None:
    found = lines(
        switch(100, MAIN, STRANGER, state=1, call=FUTEX, name="hog"),
        wake(400, OLD, MAIN, FUTEX),
        switch(700, STRANGER, MAIN, name="hog"),
    )[MAIN]
    assert states(found) == [
        (0, 100, "on-cpu"),
        (100, 400, "blocked"),
        (400, 700, "runnable"),
        (700, 1_000, "on-cpu"),
    ]
    assert (found[1].on, found[1].by) == ("futex", "old")
    assert found[2].by == "hog"


def test_a_wait_names_who_had_the_cpu_for_most_of_it() -> None:
    found = lines(
        switch(100, MAIN, STRANGER, name="hog"),
        switch(350, STRANGER, 901, name="cron"),
        switch(495, 901, 902, name="ksoftirqd"),
        switch(500, 902, MAIN, name="ksoftirqd"),
    )[MAIN]
    assert states(found)[1] == (100, 500, "runnable")
    assert found[1].by == "hog and cron"


def test_a_woken_thread_does_not_name_who_had_the_cpu_before_the_wakeup() -> None:
    found = lines(
        switch(100, MAIN, STRANGER, state=1, call=FUTEX, name="hog"),
        switch(300, STRANGER, VCPU),
        wake(310, OLD, MAIN, FUTEX),
        switch(400, VCPU, MAIN),
    )[MAIN]
    assert (states(found)[2], found[2].by) == ((310, 400, "runnable"), "vcpu")


def test_a_thread_that_ran_without_a_wakeup_had_waited_for_a_cpu() -> None:
    found = lines(switch(100, STRANGER, MAIN, name="hog"))[MAIN]
    assert (states(found)[0], found[0].by) == ((0, 100, "runnable"), "hog")


def test_a_thread_first_seen_in_a_wakeup_was_blocked_before_tracing() -> None:
    found = lines(wake(100, OLD, MAIN, SENDMSG), switch(150, 0, MAIN))[MAIN]
    assert states(found)[:2] == [(0, 100, "blocked"), (100, 150, "runnable")]
    assert found[0].on == BEFORE


def test_a_stopped_thread_is_not_called_blocked() -> None:
    found = lines(
        switch(100, MAIN, 0, state=4, call=-1),
        wake(600, STRANGER, MAIN, name="injector"),
        switch(650, 0, MAIN),
    )[MAIN]
    assert (found[1].state, found[1].by) == ("stopped", "injector")


def test_a_thread_woken_before_it_was_switched_out_did_not_block() -> None:
    found = lines(
        switch(50, 0, MAIN),
        wake(99, OLD, MAIN, FUTEX),
        switch(100, MAIN, 0, state=1, call=FUTEX),
        switch(130, 0, MAIN),
    )[MAIN]
    assert states(found)[2] == (100, 130, "runnable")


def test_an_early_wakeup_does_not_hide_a_real_wait() -> None:
    found = lines(
        switch(50, 0, MAIN),
        wake(60, OLD, MAIN, FUTEX),  # it looked again and went on
        switch(100, MAIN, 0, state=1, call=POLL),
        wake(500, OLD, MAIN, SENDMSG),
        switch(510, 0, MAIN),
    )[MAIN]
    assert states(found)[2:4] == [(100, 500, "blocked"), (500, 510, "runnable")]


def test_one_early_wakeup_ends_one_wait_only() -> None:
    found = lines(
        switch(50, 0, MAIN),
        wake(99, OLD, MAIN, FUTEX),
        switch(100, MAIN, 0, state=1, call=FUTEX),
        switch(130, 0, MAIN),
        switch(200, MAIN, 0, state=1, call=FUTEX),
        switch(500, 0, MAIN),  # its wake was not seen
    )[MAIN]
    assert states(found)[4] == (200, 500, "blocked")


def test_a_contradiction_is_unknown_not_guessed() -> None:
    found = lines(switch(100, 0, MAIN), switch(300, 0, MAIN))[MAIN]  # it never left
    assert states(found)[1] == (100, 300, "unknown")


# -- the walk ------------------------------------------------------------------------------------


def test_the_path_continues_in_the_waker_and_in_the_other_process() -> None:
    found = path(
        switch(10, 0, OLD),
        switch(20, MAIN, 0, state=1, call=POLL),
        switch(30, VCPU, 0, state=1, call=FUTEX),
        wake(400, OLD, MAIN, SENDMSG),  # old writes to the socket
        switch(450, 0, MAIN),
        wake(800, MAIN, VCPU, FUTEX),
        switch(900, 0, VCPU),
        start=100,
    )
    assert [(p.tid, p.start_ns, p.end_ns, p.state) for p in found] == [
        (OLD, 100, 400, "on-cpu"),
        (MAIN, 400, 450, "runnable"),
        (MAIN, 450, 800, "on-cpu"),
        (VCPU, 800, 900, "runnable"),
        (VCPU, 900, 1_000, "on-cpu"),
    ]


def test_a_wait_ended_by_an_unwatched_thread_is_blocked_time() -> None:
    found = path(
        switch(100, VCPU, 0, state=2, call=IOCTL, args=(3, 0x4020AE46)),
        wake(600, STRANGER, VCPU, name="kworker/0:1"),
        switch(600, 0, VCPU),
    )
    assert [(p.state, p.on, p.by) for p in found] == [
        ("on-cpu", "", ""),
        ("blocked", "ioctl KVM_SET_USER_MEMORY_REGION", "kworker/0:1"),
        ("on-cpu", "", ""),
    ]


def test_a_timer_interrupt_in_a_watched_thread_is_not_followed() -> None:
    found = path(
        switch(10, 0, OLD),
        switch(100, VCPU, 0, state=1, call=FUTEX),
        wake(600, OLD, VCPU, -1),
        switch(610, 0, VCPU),
    )
    assert found[1].tid == VCPU
    assert (found[1].state, found[1].end_ns - found[1].start_ns) == ("blocked", 500)


def test_a_thread_without_events_is_unknown() -> None:
    assert path() == [Piece(VCPU, 0, 1_000, "unknown")]
    assert walk_back({}, 5, 0, 10) == [Piece(0, 0, 10, "unknown")]


TIDS = st.sampled_from([MAIN, VCPU, OLD, STRANGER, 0])
EVENTS = st.lists(
    st.builds(
        SchedulerEvent,
        ns=st.integers(0, 300),
        kind=st.sampled_from(["switch", "wake", "fork"]),
        cpu=st.integers(0, 1),
        tid=TIDS,
        other=TIDS,
        state=st.sampled_from([0, 1, 2, 4, 16]),
        call=st.sampled_from([-1, FUTEX, POLL, SENDMSG, IOCTL, KILL]),
        args=st.tuples(st.integers(0, 9), st.integers(0, 2**64 - 1)),
        name=st.sampled_from(["", "hog"]),
    ),
    max_size=40,
)


@given(EVENTS, st.integers(0, 150), st.integers(1, 200), TIDS)
def test_the_path_never_has_a_gap_or_an_overlap(
    events: list[SchedulerEvent], start: int, length: int, tid: int
) -> None:
    events.sort(key=lambda e: e.ns)
    end = start + length
    found = path(*events, tid=tid, start=start, end=end)
    assert found[0].start_ns == start
    assert found[-1].end_ns == end
    assert all(a.end_ns == b.start_ns for a, b in pairwise(found))
    assert all(p.end_ns > p.start_ns for p in found)


@given(EVENTS)
def test_timelines_cover_the_traced_time_without_gap(events: list[SchedulerEvent]) -> None:
    events.sort(key=lambda e: e.ns)
    for stretches in lines(*events, end=400).values():
        assert stretches[0].start_ns == 0
        assert stretches[-1].end_ns == 400
        assert all(a.end_ns == b.start_ns for a, b in pairwise(stretches))


@st.composite
def schedules(draw: st.DrawFn) -> list[SchedulerEvent]:
    """A consistent schedule of one CPU: threads take turns, block, are woken by the running one."""
    running, blocked, queued = STRANGER, set[int](), [MAIN, VCPU, OLD]
    events: list[SchedulerEvent] = [switch(0, STRANGER, MAIN)]
    queued.remove(MAIN)
    running = MAIN
    for ns in range(1, draw(st.integers(5, 60))):
        if blocked and draw(st.booleans()):
            woken = draw(st.sampled_from(sorted(blocked)))
            blocked.remove(woken)
            queued.append(woken)
            events.append(wake(ns, running, woken, FUTEX))
            continue
        blocks = bool(queued) and draw(st.booleans())
        if not queued:
            continue
        came = queued.pop(0)
        if blocks and running != STRANGER:
            blocked.add(running)
            events.append(switch(ns, running, came, state=1, call=FUTEX))
        else:
            queued.append(running)
            events.append(switch(ns, running, came))
        running = came
    return events


@given(schedules())
def test_on_a_consistent_schedule_the_path_is_known_and_one_thread_runs_at_a_time(
    events: list[SchedulerEvent],
) -> None:
    end = events[-1].ns + 1
    last = next((e.other for e in reversed(events) if e.kind == "switch"), MAIN)
    if last == STRANGER:
        return
    first_seen = {tid: min((e.ns for e in events if tid in (e.tid, e.other)), default=0)
                  for tid in (MAIN, VCPU, OLD)}  # fmt: skip
    made = lines(*events, end=end)
    for tid, stretches in made.items():
        known = [s for s in stretches if s.start_ns >= first_seen[tid]]
        if first_seen[tid] or tid == MAIN:
            assert not [s for s in known if s.state == "unknown"]
    on_cpu = sorted((s.start_ns, s.end_ns) for v in made.values() for s in v if s.state == "on-cpu")
    assert all(a[1] <= b[0] for a, b in pairwise(on_cpu))
    assert sum(p.end_ns - p.start_ns for p in walk_back(made, last, 0, end)) == end
