"""Values that cannot be true together, or at all, fail the run, each with its own reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from results.judgement.judge import judge
from results.records.observations import (
    DeviceCounts,
    DeviceWork,
    ObservedGap,
    RamCheck,
    StreamLog,
)
from results.records.recording import Recording, VcpuBracket

DATA = Path(__file__).parents[1] / "data"
MS, SECOND = 1_000_000, 1_000_000_000


@pytest.fixture
def recording() -> Recording:
    """A real transfer of a guest with two vCPUs."""
    text = (DATA / "handover-kvm.json").read_bytes()
    return msgspec.json.decode(text, type=Recording)


def codes(recording: Recording) -> list[str]:
    return [reason.code for reason in judge(recording).reasons]


def bracket(recording: Recording, vcpu: int, **fields: Any) -> Recording:
    changed = tuple(replace(b, **fields) if b.index == vcpu else b for b in recording.brackets)
    return replace(recording, brackets=changed)


def beats(recording: Recording, vcpu: int, **fields: Any) -> Recording:
    changed = tuple(replace(b, **fields) if b.index == vcpu else b for b in recording.beats)
    return replace(recording, beats=changed)


def steps(recording: Recording, **changes: int) -> Recording:
    """With steps moved by so many ns."""
    moved = {name: ns + changes.get(name, 0) for name, ns in recording.steps.items()}
    return replace(recording, steps=moved)


def test_a_real_transfer_is_consistent(real_recordings):
    assert all(codes(recording) == [] for recording in real_recordings)


# -- vCPUs and their threads ---------------------------------------------------------------------


def test_bracket_that_is_a_copy_of_another(recording):
    first = recording.brackets[0]
    times = {
        "run_last_exit_ns": first.run_last_exit_ns,
        "run_first_entry_ns": first.run_first_entry_ns,
    }
    run = judge(bracket(recording, 1, **times))
    assert run.outcome == "failed"
    assert "vCPU 1 left and entered the guest at the very times of vCPU 0" in run.reason
    copied = replace(recording, brackets=(first, replace(first, index=1)))
    assert codes(copied)[:2] == ["bracket-copied", "thread-unknown"]


def test_threads_of_another_process(recording):
    run = judge(bracket(recording, 1, old_tid=4_711))
    assert run.outcome == "failed"
    assert "vCPU 1 was recorded by thread 4711, which is not its thread in old QEMU" in run.reason
    assert codes(bracket(recording, 0, new_tid=recording.old.vcpu_tids[0])) == ["thread-unknown"]
    # The two QEMUs have no thread in common.
    new = replace(recording.new, vcpu_tids=recording.old.vcpu_tids)
    shared = replace(recording, new=new)
    for vcpu, tid in enumerate(new.vcpu_tids):
        shared = bracket(shared, vcpu, new_tid=tid)
    assert codes(shared) == ["threads-shared"]


def test_vcpus_that_the_guest_does_not_have_or_that_come_twice(recording):
    other = VcpuBracket(2, 7, 8, 1, 2)
    assert "bracket-unknown" in codes(replace(recording, brackets=(*recording.brackets, other)))
    twice = (*recording.brackets, recording.brackets[0])
    assert codes(replace(recording, brackets=twice)) == ["bracket-repeated"]
    same = replace(recording.beats[0], index=0)
    assert codes(replace(recording, beats=(same, same))) == ["beats-missing"]


# -- the guest -----------------------------------------------------------------------------------


def test_ram_of_which_no_page_was_checked(recording):
    run = judge(replace(recording, ram=RamCheck(pages=0, bytes=0, bad_pages=0)))
    assert (run.outcome, run.reason) == ("failed", "no page of guest RAM was checked")
    assert codes(replace(recording, ram=RamCheck(-1, 0, 0))) == ["ram-empty"]


def test_beats_that_run_backwards(recording):
    before = recording.beats[1].beats_before
    run = judge(beats(recording, 1, beats_after=before // 2))
    assert run.outcome == "failed"
    assert run.reason == (
        f"vCPU 1: its beats went back from {before} to {before // 2}: the guest was reset"
    )
    wrapped = beats(recording, 1, beats_before=(1 << 32) - 5, beats_after=900)
    assert codes(wrapped) == []


def test_samples_of_new_qemu_from_before_those_of_old(recording):
    early = recording.beats[0].before[0]
    assert "samples-disordered" in codes(beats(recording, 0, after=(early,)))


# -- times ---------------------------------------------------------------------------------------


def test_handover_that_ends_before_it_begins(recording):
    run = judge(steps(recording, migrate=SECOND))
    assert run.outcome == "failed"
    assert run.handover_ns is not None
    assert run.handover_ns < 0
    assert f"the guest entered new QEMU {-run.handover_ns} ns before `migrate` was sent" in (
        run.reason
    )


@pytest.mark.parametrize(
    ("moved", "first", "second"),
    [
        ({"monitor": -SECOND}, "migrate", "monitor"),
        ({"migrate_incoming": SECOND, "completed": SECOND // 2}, "migrate_incoming", "completed"),
        ({"done": -SECOND}, "completed", "done"),
    ],
)
def test_steps_out_of_order(recording, moved, first, second):
    run = judge(steps(recording, **moved))
    assert run.outcome == "failed"
    assert f"step {second} was taken before step {first}" in run.reason


def test_a_vcpu_that_enters_after_the_guest_was_seen_to_run(recording):
    late = bracket(recording, 0, run_first_entry_ns=recording.steps["done"] + MS)
    run = judge(replace(late, tick_ns=0.0))  # even where the guest cannot testify
    assert run.reason == "vCPU 0 entered the guest after it had been seen to run in new QEMU"


def test_a_vcpu_that_leaves_before_the_transfer_begins(recording):
    sent = recording.steps["migrate"]
    early = bracket(recording, 0, run_last_exit_ns=sent - MS)
    assert "left-before-migrate" in codes(replace(early, events=(), probed=True))


# -- devices and streams -------------------------------------------------------------------------

ZERO = DeviceCounts(10, 5, 0, 0, 0, 10, 0, 0)


@pytest.mark.parametrize("counter", ["operations", "wrong", "silent", "surplus", "interrupts"])
def test_counts_of_a_device_that_run_backwards(recording, counter):
    before = replace(ZERO, **{counter: 10})
    after = replace(ZERO, operations=14, **({counter: 3} if counter != "operations" else {}))
    after = replace(after, **{counter: 3})
    work = DeviceWork("0000:01:00.0", before, after, 10, 14, 0)
    run = judge(replace(recording, device=work))
    assert run.outcome == "failed"
    assert f"device 0000:01:00.0: its count of {counter} went back from 10 to 3" in run.reason
    assert "4294967" not in run.reason


def test_arrivals_that_are_not_in_order_of_time(recording):
    start = recording.steps["migrate"] - 100 * MS
    numbers = [(start + n * MS, n) for n in range(1, 400)]
    scenario = replace(recording.scenario, vcpus=2)
    good = replace(
        recording,
        scenario=scenario,
        beats=(),
        ram=None,
        streams=(StreamLog("net", tuple(numbers)),),
    )
    numbers[200], numbers[201] = (numbers[201][0], 201), (numbers[200][0], 202)
    bad = replace(good, streams=(StreamLog("net", tuple(numbers)),))
    assert "stream-disordered" in codes(bad)
    assert "stream-disordered" not in codes(good)


# -- values that are impossible by themselves ------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (lambda r: replace(r, lost=-1), "lost records"),
        (lambda r: replace(r, skipped=-1), "skipped probe calls"),
        (lambda r: replace(r, migrate_info={"downtime": -3}), "downtime"),
        (lambda r: replace(r, ram=RamCheck(10, 4, -2)), "changed pages"),
        (lambda r: beats(r, 0, pattern_errors=-1), "changed words"),
        (lambda r: bracket(r, 0, host_faults=-1), "host faults"),
        (lambda r: replace(r, observed=(ObservedGap(0, 9, 0, 5, 0),)), "gap of the observer"),
        (lambda r: replace(r, observed=(ObservedGap(0, 5, -1, 9, 0),)), "reach of the observer"),
    ],
)
def test_negative_values(recording, changed, field):
    run = judge(changed(recording))
    assert run.outcome == "failed"
    assert f"impossible value of {field}: -" in run.reason
