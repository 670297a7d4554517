"""Reasons as sentences: which thread did what, for how long, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.terminal.style import Look
from reports.terminal.why import (
    budget_notes,
    budget_of,
    reason_line,
    sentence,
    why_document,
    why_page,
)
from results.causes.explain import explain
from results.records.run import Run
from results.records.scheduler import Attribution, Cause, Segment

MS = 1_000_000
WAIT = Cause("state_load", "new", "main thread", "runnable", "", "hog", 3 * MS, 1)
WORK = Cause("ram_setup", "old", "migration thread", "on-cpu", "", "", 1 * MS, 4)


@pytest.fixture
def make_run(good_run: Run) -> Callable[..., Run]:
    """Runs of one session that differ only in the given fields."""

    def make(update: int = 1, **fields: Any) -> Run:
        run_id = f"{good_run.session}.anon.b01.u{update:02d}"
        return replace(good_run, id=run_id, update=update, **fields)

    return make


def run_with(make_run: Callable[..., Run], *causes: Cause, **fields: object) -> Run:
    blackout = sum(cause.ns for cause in causes)
    run = make_run(blackout_ns=blackout, **fields)
    return replace(run, attribution=Attribution(tuple(causes)))


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (WAIT, "new QEMU's main thread waited 3.00 ms for a CPU, in state load, while hog ran"),
        (WORK, "old QEMU's migration thread ran for 1.00 ms, 4 times, in ram setup"),
        (
            Cause("vm_start", "new", "vCPU 0", "blocked", "ioctl KVM_RUN", "kworker/0:1", MS, 1),
            "new QEMU's vCPU 0 was blocked 1.00 ms in ioctl KVM_RUN, in vm start, "
            "until kworker/0:1 woke it",
        ),
        (
            Cause("vm_start", "new", "main thread", "stopped", "", "pausebench itself", MS, 1),
            "new QEMU's main thread was stopped by a signal for 1.00 ms, in vm start, "
            "until pausebench itself continued it",
        ),
        (
            Cause("", "", "", "unknown", "", "", MS, 1),
            "an unknown thread was in an unknown state for 1.00 ms, in no phase",
        ),
        (
            Cause("vm_start", "new", "vCPU 0", "runnable", "", "an interrupt", MS, 1),
            "new QEMU's vCPU 0 waited 1.00 ms for a CPU, in vm start, while its CPU was idle",
        ),
    ],
)
def test_a_cause_as_a_sentence(cause: Cause, said: str) -> None:
    assert sentence(cause) == said


def test_the_page_is_about_five_lines_and_names_the_excess(make_run: Callable[..., Run]) -> None:
    usual = run_with(make_run, replace(WAIT, ns=20_000), WORK, update=1)
    slow = run_with(make_run, WAIT, WORK, update=2)
    lines = why_page(explain(slow, [usual]), Look(width=200)).plain.splitlines()
    assert lines == [
        f"{slow.id}: blackout 4.00 ms, 2.98 ms longer than the median of 1 other run "
        "(1.02 ms, anon.b01.u01)",
        "  1. new QEMU's main thread waited 3.00 ms for a CPU, in state load, while hog ran "
        "(median run: 0.020 ms)",
        "all of it: on a CPU 1.00 ms (+0), waiting for a CPU 3.00 ms (+2.98); "
        "unattributed 0 ms (0.0 %)",
    ]


def test_a_run_without_others_has_its_largest_causes(make_run: Callable[..., Run]) -> None:
    alone = run_with(make_run, WORK, WAIT)
    page = why_page(explain(alone, []), Look(width=200)).plain
    assert "no other valid run to compare with" in page
    assert page.index("waited 3.00 ms") < page.index("ran for 1.00 ms")
    assert "median run" not in page


def test_what_is_not_attributed_is_printed(make_run: Callable[..., Run]) -> None:
    run = run_with(make_run, WORK)
    run = replace(run, attribution=Attribution((WORK,), unattributed_ns=10_000))
    assert "unattributed 0.010 ms (1.0 %)" in why_page(explain(run, []), Look(width=200)).plain


def test_the_path_lists_every_segment(make_run: Callable[..., Run]) -> None:
    run = run_with(make_run, WAIT)
    path = (
        Segment(5, 1_000_005, "old", "vCPU 0", 7, "on-cpu", "", "", "vcpu_stop"),
        Segment(1_000_005, 3_000_005, "new", "main thread", 8, "blocked", "futex", "kworker", ""),
    )
    lines = why_page(explain(run, []), Look(width=200), path).plain.splitlines()
    assert lines[-2:] == [
        "   0.000    1.000  vcpu stop, old vCPU 0, on a CPU",
        "   1.000    2.000  no phase, new main thread, blocked: futex < kworker",
    ]
    made = why_document(explain(run, []), path)
    assert [piece["on"] for piece in made["path"]] == ["", "futex"]
    assert made["reason"] == reason_line(explain(run, []))
    assert made["states"]["runnable"] == made["blackout_ns"] == 3 * MS


def test_control_characters_in_thread_names_are_not_printed(
    make_run: Callable[..., Run],
) -> None:
    evil = run_with(make_run, replace(WAIT, by="\x1b[2Jhog"))
    assert "\x1b" not in why_page(explain(evil, []), Look()).plain


def test_a_run_of_exactly_its_budget_is_over_it(make_run: Callable[..., Run]) -> None:
    """As in a comparison and in a report: results.stats.proportions.is_within."""
    report = budget_of([make_run(blackout_ns=2 * MS)], 2 * MS)
    assert (report.within, report.total, len(report.over)) == (0, 1, 1)


def test_over_budget_runs_get_their_reason(make_run: Callable[..., Run]) -> None:
    runs = [
        run_with(make_run, WORK, update=1),
        run_with(make_run, WORK, WAIT, update=2),
        replace(run_with(make_run, WORK, WAIT, WAIT, update=3), outcome="failed"),
        replace(make_run(update=4, blackout_ns=9 * MS), attribution=None),
        replace(make_run(update=5, blackout_ns=8 * MS), attribution=Attribution(missing="lost")),
    ]
    report = budget_of(runs, 2 * MS)
    assert (report.within, report.total, report.failed) == (1, 5, 1)
    assert [over.run[-3:] for over in report.over] == ["u04", "u05", "u02"]
    notes = budget_notes(report, Path("out"))
    assert notes[0] == "budget 2.00 ms: kept by 1 of 5 runs (1 failed)"
    assert notes[1].endswith("9.00 ms: the scheduler was not traced")
    assert notes[2].endswith("8.00 ms: unknown: lost")
    assert "waited 3.00 ms for a CPU, in state load, while hog ran" in notes[3]
    assert notes[4] == "their raw traces are kept: pausebench why RUN --path"
    assert budget_notes(budget_of(runs[:1], 2 * MS), Path("out")) == [
        "budget 2.00 ms: kept by 1 of 1 runs"
    ]
