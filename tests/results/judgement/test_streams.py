"""Streams of numbers: complete ones pass, and each kind of fault fails the run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.judgement.streams import judge_stream
from results.records.observations import StreamLog
from results.summary.run_line import stream_line

MS = 1_000_000
BLACKOUT = (100 * MS, 110 * MS)
BEFORE = [(n * MS, n) for n in range(1, 100)]
AFTER = [(111 * MS + n * MS, 99 + n) for n in range(1, 60)]


def log(arrivals: list[tuple[int, int]], **more: int) -> StreamLog:
    return StreamLog("virtio-net", tuple(arrivals), **more)


def test_a_complete_stream_has_no_troubles() -> None:
    found = judge_stream(log(BEFORE + AFTER), BLACKOUT, 0)
    assert found.troubles == ()
    assert (found.first, found.last, found.lost, found.repeated) == (1, 158, 0, 0)
    assert found.after == 59
    assert found.longest_gap_ns == 13 * MS
    assert found.usual_gap_ns == MS
    assert "0 lost, 0 repeated, longest gap 13.00 ms, usually 1.00 ms" in stream_line(found)


@pytest.mark.parametrize(
    ("arrivals", "more", "trouble"),
    [
        (BEFORE[:50] + BEFORE[51:] + AFTER, {}, "1 of the numbers 1 to 158 were lost"),
        (BEFORE + AFTER[3:], {}, "3 of the numbers 1 to 158 were lost"),
        ([*BEFORE, (112 * MS, 99), *AFTER], {}, "1 numbers arrived twice"),
        (
            [*BEFORE[:-2], BEFORE[-1], BEFORE[-2], *AFTER],
            {},
            "1 numbers arrived twice or out of order",
        ),
        (BEFORE, {}, "does not continue in new QEMU: 0 numbers"),
        (BEFORE + AFTER[:9], {}, "does not continue in new QEMU: 9 numbers"),
        ([], {}, "does not continue in new QEMU"),
        (BEFORE + AFTER, {"wrong": 2}, "2 blocks came back with other contents"),
        (BEFORE + AFTER, {"torn": 4}, "4 bytes were cut off"),
        # A guest that sends while no vCPU runs: clocks or brackets are wrong.
        (
            [*BEFORE, (105 * MS, 100), *((ns, n + 1) for ns, n in AFTER)],
            {},
            "longest gap of 7000000 ns is shorter than the blackout of 10000000",
        ),
    ],
)
def test_faults_of_a_stream(
    arrivals: list[tuple[int, int]], more: dict[str, int], trouble: str
) -> None:
    found = judge_stream(log(arrivals, **more), BLACKOUT, 0)
    assert any(trouble in text for text in found.troubles), found.troubles


def test_a_late_arrival_within_the_tolerance_is_allowed() -> None:
    late = [*BEFORE, (100 * MS + 900_000, 100), *((ns, n + 1) for ns, n in AFTER)]
    assert judge_stream(log(late), BLACKOUT, 0).troubles == ()


def test_without_a_blackout_the_longest_of_all_gaps_counts() -> None:
    found = judge_stream(log(BEFORE + AFTER), None, 111 * MS)
    assert found.longest_gap_ns == 13 * MS
    assert found.after == 59
    assert replace(found, troubles=()) == found


def test_a_longer_gap_outside_the_blackout_does_not_count() -> None:
    paused = [(ns - 40 * MS, n) for ns, n in BEFORE[:50]] + BEFORE[50:] + AFTER
    assert judge_stream(log(paused), BLACKOUT, 0).longest_gap_ns == 13 * MS
