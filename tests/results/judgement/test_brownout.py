"""Brownouts of known length, from made-up rings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.judgement.brownout import (
    LEAST_WINDOWS,
    WINDOW,
    Brownout,
    follow,
    interval_of,
    restoration,
    worst,
)
from results.judgement.guest_clock import GuestView
from results.records.observations import Ring, VcpuBeats

SHIFT = 12
STEP = 1 << SHIFT
TICK_NS = 100.0
STEP_NS = round(STEP * TICK_NS)
USUAL = 30


def ring(after, before=(USUAL,) * 60, gap=10, first=1_000):
    """`before`, the interval of the last beat, a gap, the interval of the first beat, `after`."""
    counts = (*before, USUAL // 2, *(0,) * gap, USUAL // 3, *after)
    last = ((first + len(before)) * STEP + STEP // 2) % (1 << 32)
    start = ((first + len(before) + 1 + gap) * STEP + STEP // 4) % (1 << 32)
    return Ring(SHIFT, first, counts), last, start


def test_a_guest_that_recovers_at_once_has_no_brownout():
    found = follow(*ring((USUAL,) * 40), TICK_NS)
    assert found is not None
    assert (found.length_ns, found.beats_lost) == (0, 0)
    assert found.watched_ns == pytest.approx(STEP_NS * 40.75, abs=2)
    assert found.beats_per_s == pytest.approx(USUAL / STEP_NS * 1e9)


@pytest.mark.parametrize("slow", [1, 7, 30])
def test_time_at_half_rate_is_measured_to_one_interval(slow):
    found = follow(*ring((USUAL // 2,) * slow + (USUAL,) * 40), TICK_NS)
    assert found is not None
    # A window at 95 % holds no interval at half the rate.
    assert found.length_ns == pytest.approx((slow + 0.75) * STEP_NS, abs=2)
    assert found.beats_lost == slow * USUAL // 2


def test_a_guest_that_never_recovers_took_longer_than_it_was_watched():
    found = follow(*ring((USUAL // 2,) * 40), TICK_NS)
    assert found is not None
    assert found.length_ns is None
    assert found.watched_ns == pytest.approx(STEP_NS * 40.75, abs=2)
    assert found.beats_lost == 40 * USUAL // 2


def test_rate_just_below_and_at_95_percent():
    below, at = (follow(*ring((n,) * 40, (100,) * 60), TICK_NS) for n in (94, 95))
    assert below is not None
    assert below.length_ns is None
    assert at is not None
    assert at.length_ns == 0


def test_one_disturbed_window_does_not_change_the_usual_rate():
    before = [USUAL] * 60
    before[20:24] = [0] * 4
    found = follow(*ring((USUAL,) * 40, tuple(before)), TICK_NS)
    assert found is not None
    assert found.beats_per_s == pytest.approx(USUAL / STEP_NS * 1e9)


def test_time_before_the_boot_does_not_count_for_the_rate():
    found = follow(*ring((USUAL,) * 40, (0,) * 100 + (USUAL,) * 50), TICK_NS)
    assert found is not None
    assert found.beats_per_s == pytest.approx(USUAL / STEP_NS * 1e9)
    short = (0,) * 100 + (USUAL,) * (LEAST_WINDOWS * WINDOW - 1)
    assert follow(*ring((USUAL,) * 40, short), TICK_NS) is None


def test_unknown_with_too_few_intervals():
    assert follow(*ring((USUAL,) * (WINDOW - 1)), TICK_NS) is None
    assert follow(*ring((USUAL,) * 40), 0.0) is None
    assert follow(*ring((USUAL,) * 40, (0,) * 60), TICK_NS) is None


@given(start=st.integers(0, (1 << 20) - 1), slow=st.integers(0, 20))
def test_interval_numbers_may_wrap(start, slow):
    after = (USUAL // 2,) * slow + (USUAL,) * 40
    assert follow(*ring(after, first=start), TICK_NS) == follow(*ring(after), TICK_NS)


def test_interval_of_a_wrapped_tick():
    assert interval_of((1 << 32) + 5 * STEP, SHIFT) == 5


def test_the_slowest_vcpu_counts():
    quick, slow = Brownout(5, 100, 1, 1.0, 1), Brownout(50, 100, 2, 1.0, 1)
    never = Brownout(None, 40, 3, 1.0, 1)
    assert worst([quick, None, slow]) == slow
    assert worst([slow, never]) == never
    assert worst([None]) is None


def test_a_vcpu_without_brownout_is_not_the_slowest(make_run, make_recording):
    """One vCPU recovers at once, the other after 5 ms: the VM's brownout is 5 ms."""
    rings = [ring((USUAL,) * 40), ring((USUAL // 2,) * 12 + (USUAL,) * 28)]
    beats = tuple(VcpuBeats(v, (), (), (), 0, 1, ring=found[0]) for v, found in enumerate(rings))
    views = {
        v: GuestView("runs", 0, 4_000_000, 0, 4_000_000, (last, first))
        for v, (_, last, first) in enumerate(rings)
    }
    recording = replace(make_recording(make_run()), beats=beats, tick_ns=TICK_NS)
    found = restoration(recording, views)
    assert found.brownout_ns == pytest.approx(12.75 * STEP_NS, abs=2)  # 5.2 ms
    assert found.beats_lost == 12 * USUAL // 2
    assert restoration(replace(recording, beats=beats[::-1]), views) == found
