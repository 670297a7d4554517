"""One run compared with the median of its session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from results.causes.explain import explain
from results.records.run import Run
from results.records.scheduler import Attribution, Cause


def cause(state: str, ns: int, phase: str = "state_load", **fields: str) -> Cause:
    made = {"side": "new", "thread": "main thread", "on": "", "by": "hog"} | fields
    return Cause(phase, made["side"], made["thread"], state, made["on"], made["by"], ns, 1)  # type: ignore[arg-type]


def with_causes(run: Run, *causes: Cause) -> Run:
    return replace(
        run, blackout_ns=sum(c.ns for c in causes), attribution=Attribution(tuple(causes))
    )


def test_it_is_compared_with_the_median_of_the_others(make_run: Callable[..., Run]) -> None:
    others = [
        with_causes(make_run(update=n), cause("on-cpu", ns))
        for n, ns in ((1, 10), (2, 30), (3, 20))
    ]
    slow = with_causes(make_run(update=4), cause("on-cpu", 25), cause("runnable", 100))
    made = explain(slow, [*others, slow])
    assert made.usual == others[2]
    assert made.compared_with == 3
    assert [(c.cause.state, c.cause.ns, c.usual_ns, c.more_ns) for c in made.causes] == [
        ("runnable", 100, 0, 100),
        ("on-cpu", 25, 20, 5),
    ]


def test_excesses_add_up_to_the_difference(make_run: Callable[..., Run]) -> None:
    usual = with_causes(
        make_run(update=1),
        cause("on-cpu", 50),
        cause("blocked", 7, on="futex"),
        cause("runnable", 3),
    )
    slow = with_causes(make_run(update=2), cause("on-cpu", 40), cause("runnable", 90))
    made = explain(slow, [usual])
    assert sum(c.more_ns for c in made.causes) == slow.blackout_ns - usual.blackout_ns
    assert made.in_state("blocked") == (0, 7)
    assert made.in_state("runnable") == (90, 3)


def test_who_ran_meanwhile_does_not_distinguish_causes(make_run: Callable[..., Run]) -> None:
    usual = with_causes(make_run(update=1), cause("runnable", 40, by="python"))
    slow = with_causes(make_run(update=2), cause("runnable", 90))
    assert [c.usual_ns for c in explain(slow, [usual]).causes] == [40]


def test_only_valid_runs_of_the_same_cell_are_compared(make_run: Callable[..., Run]) -> None:
    slow = with_causes(make_run(update=9), cause("on-cpu", 100))
    alike = with_causes(make_run(update=1), cause("on-cpu", 10))
    assert explain(slow, [slow]).usual is None
    for change in (
        {"outcome": "failed"},
        {"dimensions": "vcpus=4"},
        {"new_build": "next"},
        {"old_build": "next"},
        {"blackout_ns": None},
        {"attribution": None},
        {"attribution": Attribution(missing="lost")},
    ):
        assert explain(slow, [replace(alike, **change)]).usual is None
    assert explain(slow, [alike]).usual == alike
