"""A driven device: losses are reported, its gap is measured, counters may wrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from results.judgement.dma_device import check_device, device_continuity
from results.records.observations import DeviceCounts, DeviceWork
from results.records.recording import Event, Recording
from results.records.run import Run

ADDRESS = "0000:01:00.0"
ZERO = DeviceCounts(10, 5, 0, 0, 0, 10, 0, 0)


@pytest.fixture
def recorded(
    make_run: Callable[..., Run], make_recording: Callable[[Run], Recording]
) -> Callable[..., Recording]:
    def make(times: tuple[int, ...] = (), faults: int | None = 0, **after: int) -> Recording:
        grown = replace(ZERO, **({"operations": 14, "interrupts": 14} | after))
        work = DeviceWork(ADDRESS, ZERO, grown, 10, 14, faults)
        events = tuple(Event(ns, 0, 0, "interrupt", "enter", {"number": 40}) for ns in times)
        return replace(make_recording(make_run()), device=work, events=events)

    return make


def test_a_device_that_continues_holds(recorded: Callable[..., Recording]) -> None:
    found = device_continuity(recorded((150, 250, 450, 550)), (260, 460))
    assert found is not None
    assert (found.operations, found.during, found.troubles) == (4, 1, ())
    assert (found.longest_gap_ns, found.usual_gap_ns) == (200, 100)
    assert check_device(found).state == "held"


def test_gaps_before_the_transfer_do_not_count(recorded: Callable[..., Recording]) -> None:
    found = device_continuity(recorded((1, 90, 150, 210)), None)  # `migrate` was sent at 100
    assert found is not None
    assert (found.longest_gap_ns, found.during) == (60, None)


def test_gap_that_began_before_the_transfer_counts(recorded: Callable[..., Recording]) -> None:
    """Interrupts 50 before and 350 after `migrate` was sent are 400 apart."""
    found = device_continuity(recorded((20, 50, 450, 550)), (260, 440))
    assert found is not None
    assert (found.longest_gap_ns, found.usual_gap_ns, found.during) == (400, 100, 0)


def test_a_device_that_stops_for_good_is_idle(recorded: Callable[..., Recording]) -> None:
    """It completed operations after the first reading, but none in new QEMU."""
    found = device_continuity(recorded((150, 200, 250)), (260, 460))
    assert found is not None
    assert found.operations == 4
    assert found.troubles == (f"device {ADDRESS} completed no operation in new QEMU",)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"operations": 10}, "completed no operation in new QEMU"),
        ({"wrong": 2, "wrong_seen": 3, "wrong_expected": 4}, "2 numbers came back changed"),
        ({"silent": 1}, "1 operations completed without an interrupt"),
        ({"faults": 3}, "the IOMMU logged 3 faults"),
    ],
)
def test_a_faulty_device_breaks_the_proof(
    recorded: Callable[..., Recording], after: dict[str, Any], words: str
) -> None:
    found = device_continuity(recorded(**after), None)
    assert found is not None
    assert words in found.troubles[0]
    assert check_device(found).state == "broken"


def test_an_unreadable_kernel_log_leaves_the_proof_unproven(
    recorded: Callable[..., Recording],
) -> None:
    found = device_continuity(recorded(faults=None), None)
    assert found is not None
    assert check_device(found).state == "missing"


def test_counters_may_wrap(recorded: Callable[..., Recording]) -> None:
    recording = recorded()
    assert recording.device is not None
    early = replace(recording.device.before, operations=(1 << 32) - 2)
    late = replace(recording.device.after, operations=3)
    work = replace(recording.device, before=early, after=late)
    found = device_continuity(replace(recording, device=work), None)
    assert found is not None
    assert found.operations == 5


def test_a_transfer_without_a_device_has_none(
    make_run: Callable[..., Run], make_recording: Callable[[Run], Recording]
) -> None:
    assert device_continuity(make_recording(make_run()), None) is None
