"""The pause of a guest whose update failed, from the bracket in old QEMU alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.judgement.judge import judge
from results.judgement.rollback import rollback
from results.records.observations import RamCheck
from results.records.recording import Event, Process, QmpStamp, Recording, VcpuBracket
from results.records.rollback import FAILING, FAILURE
from results.records.run import SCHEMA
from results.records.scenario import Scenario
from results.timeline.moments import Marks

OLD, NEW = 100, 200
STOP = 5_000_000


def event(mark: str, ns: int, edge: str = "enter", pid: int = OLD) -> Event:
    return Event(ns, pid, pid, mark, edge)  # type: ignore[arg-type]


def stamp(name: str, wall_us: int, side: str = "old", **data: str) -> QmpStamp:
    return QmpStamp(wall_us * 1000, side, name, wall_us, data)  # type: ignore[arg-type]


BRACKETS = (
    VcpuBracket(0, 1, 11, STOP - 40_000, 900, longest_left_ns=STOP - 20_000,
                longest_entered_ns=STOP + 8_000_000),
    VcpuBracket(1, 2, 12, STOP - 40_000, 900, longest_left_ns=STOP - 50_000,
                longest_entered_ns=STOP + 9_000_000),
)  # fmt: skip
EVENTS = (event("vm_stop", STOP - 100_000), event("pause_vcpus", STOP, "return"))


@pytest.fixture
def failed() -> Recording:
    """An update that failed after the guest was stopped; the guest came back."""
    return Recording(
        schema=SCHEMA, id="s.a.b01.u01", session="s", boot=1, update=1, started_unix_ns=0,
        scenario=Scenario("anon", "anon", vcpus=2), old_build="b", new_build="b",
        old=Process(OLD, (), (1, 2), "running"), new=Process(NEW, (), (11, 12), "gone"),
        steps={"migrate": 1}, events=EVENTS, brackets=BRACKETS, continued_in="old",
        ram=RamCheck(10, 40_960, 0),
        failure="new QEMU was killed by signal 9 (SIGKILL) 3.1 ms after `migrate-incoming`",
    )  # fmt: skip


def back(recording: Recording):
    return rollback(recording, Marks(recording.events, OLD, NEW))


def test_the_pause_is_that_of_the_vcpu_that_stood_still_longest(failed) -> None:
    found = back(failed)
    assert found.where == "old"
    assert found.vcpu_pauses_ns == (8_020_000, 9_050_000)
    assert (found.pause_ns, found.start_ns) == (9_050_000, STOP - 50_000)


def test_it_enters_no_blackout(failed) -> None:
    run = judge(failed)
    assert (run.outcome, run.blackout_ns) == ("failed", None)
    assert run.rollback == back(failed)
    assert run.witnesses.kvm is None


def test_a_guest_that_was_never_stopped_has_no_pause(failed) -> None:
    found = back(replace(failed, events=(event("cpr_save", 3),)))
    assert (found.where, found.pause_ns, found.vcpu_pauses_ns) == ("old", 0, (0, 0))


@pytest.mark.parametrize(
    "changes",
    [
        {"brackets": (BRACKETS[0], replace(BRACKETS[1], longest_entered_ns=None))},
        # That vCPU waited for a CPU before the stop, for longer than it stood still.
        {"brackets": (replace(BRACKETS[0], longest_left_ns=1, longest_entered_ns=STOP - 9),) * 2},
        {"brackets": ()},
        {"lost": 3},
        {"probed": False},
    ],
)
def test_a_pause_that_the_bracket_does_not_hold_is_unknown(failed, changes) -> None:
    assert back(replace(failed, **changes)).pause_ns is None


@pytest.mark.parametrize("where", ["new", "nowhere"])
def test_a_guest_that_did_not_come_back_has_no_pause(failed, where) -> None:
    found = back(replace(failed, continued_in=where))
    assert (found.where, found.pause_ns) == (where, None)


def test_a_completed_update_and_a_guest_that_was_not_examined_have_none(failed) -> None:
    assert back(replace(failed, failure="")) is None
    assert back(replace(failed, continued_in="unknown")) is None, "as recorded before"


def test_the_phase_is_from_failing_to_failed_by_qemus_own_clock(failed) -> None:
    status = [
        stamp("MIGRATION", 100, status="active"),
        stamp("MIGRATION", 1_000, status="failing"),
        stamp("RESUME", 1_400),
        stamp("MIGRATION", 1_700, status="failed"),
    ]
    found = back(replace(failed, qmp=tuple(status)))
    assert (found.phase, found.phase_ns) == (FAILING, 700_000)


def test_before_qemu_11_the_phase_is_from_the_failure_to_resume(failed) -> None:
    status = (stamp("MIGRATION", 1_000, status="failed"), stamp("RESUME", 1_055))
    found = back(replace(failed, qmp=status))
    assert (found.phase, found.phase_ns) == (FAILURE, 55_000)
    only = back(replace(failed, qmp=status[:1]))
    assert (only.phase, only.phase_ns) == ("", None)
    # Events of an earlier attempt, and of new QEMU, are not of this one.
    earlier = (stamp("MIGRATION", 0, status="failing"), stamp("RESUME", 1_055, side="new"))
    assert back(replace(failed, qmp=(*earlier, *status[:1]))).phase == ""


def test_ram_that_changed_in_a_failed_update_is_a_reason_too(failed) -> None:
    run = judge(replace(failed, ram=RamCheck(10, 40_960, 1, "page 0x7")))
    assert [reason.code for reason in run.reasons] == ["qemu-killed", "ram-changed"]
