"""Calls on DMA mappings: those of a handover, and those that must not occur."""

from __future__ import annotations

import dataclasses

import pytest

from results.judgement.proof import judge_proof, needed_controls
from results.judgement.vfio import check_locked_moved, check_mappings, check_paths
from results.records.evidence import Accounts, Control, Evidence, Frames, PinEvents, SameFile
from results.records.recording import Event
from results.records.scenario import MIB, Scenario
from results.timeline.moments import Marks
from results.timeline.phases import build_spans
from results.timeline.vfio_calls import (
    CHANGE_PROCESS,
    MAP_DMA,
    UNMAP_DMA,
    VADDR,
    VfioCalls,
    vfio_calls,
)

OLD, NEW = 10, 11
RAM = 256 * MIB
TYPE1 = Scenario("vfio-type1", "anon", ram_bytes=RAM, accel="kvm", vfio="type1")
IOMMUFD = dataclasses.replace(TYPE1, id="vfio-iommufd", vfio="iommufd")
GOOD = VfioCalls(given_up=1, taken=2, taken_bytes=RAM)


def call(ns: int, pid: int, command: int, flags: int = 0, length: int = 0) -> Event:
    values = {"command": command, "flags": flags, "iova": 0, "length": length}
    return Event(ns, pid, pid, "vfio_ioctl", "enter", values)


def answer(ns: int, pid: int, command: int, result: int = 0) -> Event:
    return Event(ns, pid, pid, "vfio_ioctl", "return", {"command": command, "result": result})


TRANSFER = (
    call(100, OLD, UNMAP_DMA, VADDR | 2),
    answer(110, OLD, UNMAP_DMA),
    call(200, NEW, MAP_DMA, VADDR, RAM - MIB),
    answer(210, NEW, MAP_DMA),
    call(220, NEW, MAP_DMA, VADDR, MIB),
    answer(230, NEW, MAP_DMA),
)


def test_a_transfer_changes_addresses_only() -> None:
    assert vfio_calls(TRANSFER, OLD, NEW) == GOOD
    assert check_mappings(TYPE1, GOOD).state == "held"


def test_recreated_mappings_break_the_proof() -> None:
    more = (call(150, OLD, UNMAP_DMA, 0, RAM), call(160, NEW, MAP_DMA, 3, RAM))
    calls = vfio_calls((*TRANSFER, *more), OLD, NEW)
    assert (calls.unmapped, calls.mapped) == (1, 1)
    assert check_mappings(TYPE1, calls).state == "broken"


def test_a_failed_call_leaves_the_run_unproven() -> None:
    minus_one = (1 << 64) - 1  # as a probe sees it
    calls = vfio_calls((*TRANSFER, answer(240, NEW, MAP_DMA, minus_one)), OLD, NEW)
    assert calls.failed == 1
    assert check_mappings(TYPE1, calls).state == "missing"


def test_addresses_for_less_than_ram_break_the_proof() -> None:
    calls = vfio_calls(TRANSFER[:4], OLD, NEW)
    check = check_mappings(TYPE1, calls)
    assert check.state == "broken"
    assert "255 of 256 MiB" in check.text


def test_with_iommufd_new_qemu_must_become_the_owner() -> None:
    # Old makes the same call to see whether it may go on.
    of_old = (call(50, OLD, CHANGE_PROCESS),)
    calls = vfio_calls((*of_old, call(200, NEW, CHANGE_PROCESS)), OLD, NEW)
    assert check_mappings(IOMMUFD, calls).state == "held"
    other = dataclasses.replace(calls, owners=0, given_up=1)
    assert check_mappings(IOMMUFD, other).state == "broken"
    assert vfio_calls(of_old, OLD, NEW).owners == 0


def test_other_processes_do_not_count() -> None:
    assert vfio_calls((call(1, 99, UNMAP_DMA, 0),), OLD, NEW) == VfioCalls()


def test_without_calls_evidence_is_missing() -> None:
    assert check_mappings(TYPE1, None).state == "missing"
    assert check_mappings(TYPE1, VfioCalls()).state == "missing"


def test_absence_of_calls_counts_only_if_the_functions_are_traced() -> None:
    seen = PinEvents("kprobes", {"vfio_unpin_pages_remote": 0, "iommu_unmap": 0})
    assert check_paths(TYPE1, seen).state == "held"
    assert check_paths(IOMMUFD, seen).state == "missing"  # needs batch_unpin
    assert check_paths(TYPE1, PinEvents("tracepoints", {"iommu_unmap": 0})).state == "missing"
    assert check_paths(TYPE1, None).state == "missing"


def locked(old: int, new: int, rest: int = 0) -> tuple[Accounts, ...]:
    return (
        Accounts("before", {"old": {"VmLck": old}}),
        Accounts("resumed", {"old": {"VmLck": rest}, "new": {"VmLck": new}}),
        Accounts("end", {"new": {"VmLck": new}}),
    )


@pytest.mark.parametrize(
    ("points", "state"),
    [
        (locked(RAM, RAM), "held"),
        (locked(RAM, RAM - MIB), "broken"),
        (locked(RAM - MIB, RAM), "broken"),
        (locked(RAM, RAM, RAM), "broken"),
        ((), "missing"),
    ],
)
def test_locked_memory_moves_from_old_to_new(points: tuple[Accounts, ...], state: str) -> None:
    assert check_locked_moved(points, RAM).state == state


def test_the_proof_of_a_vfio_scenario_needs_its_own_control() -> None:
    assert "VFIO pins let go" in needed_controls(TYPE1)
    assert "pins let go" not in needed_controls(TYPE1)
    controls = tuple(Control(name, True, "seen") for name in needed_controls(TYPE1))
    points = tuple(
        dataclasses.replace(
            point,
            processes={side: fields | {"RssAnon": MIB} for side, fields in point.processes.items()},
        )
        for point in locked(RAM, RAM)
    )
    evidence = Evidence(
        frames=Frames(pages=1, compared=1, old_address=1, new_address=2),
        files=(SameFile("ram0", 0, 3, 4, True),),
        accounts=points,
        pin_events=PinEvents("kprobes", {"vfio_unpin_pages_remote": 0, "iommu_unmap": 0}),
        controls=controls,
    )
    assert judge_proof(evidence, TYPE1, GOOD).verdict == "held"
    without = dataclasses.replace(evidence, controls=controls[:-1])
    assert judge_proof(without, TYPE1, GOOD).verdict == "unproven"
    unseen = dataclasses.replace(evidence, pin_events=None)
    assert judge_proof(unseen, TYPE1, GOOD).verdict == "unproven"
    unpinned = PinEvents("kprobes", {"vfio_unpin_pages_remote": 1, "iommu_unmap": 0})
    broken = dataclasses.replace(evidence, pin_events=unpinned)
    assert judge_proof(broken, TYPE1, GOOD).verdict == "broken"


def test_handover_of_devices_is_a_phase_from_the_first_call_of_old_to_the_last_of_new() -> None:
    stop = Event(90, OLD, OLD, "vm_stop", "enter")
    tried = (call(10, NEW, CHANGE_PROCESS), answer(11, NEW, CHANGE_PROCESS))  # before the stop
    marks = Marks((stop, *tried, *TRANSFER), OLD, NEW)
    spans = {s.name: s for s in build_spans(marks, {}, "cpr-transfer", (0, 300))}
    whole, remap = spans["vfio_handover"], spans["vfio_remap"]
    assert (whole.start_ns, whole.end_ns, whole.blackout_ns) == (100, 230, 0)
    assert (remap.start_ns, remap.end_ns, remap.blackout_ns) == (200, 230, 30)
