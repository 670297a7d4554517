"""The guest's clock mapped to the host's: rates, steps, and which gap was the pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.judgement.guest_clock import (
    STEP_NOISE_NS,
    best_sample,
    guest_views,
    tick_difference,
    tick_rate,
)
from results.records.observations import Gap, VcpuBeats

WRAP = 1 << 32
US, MS = 1_000, 1_000_000
TICK_NS = 100.0
HOST = 9_000_000_000


class GuestClock:
    """A guest whose tick was `tick` at host time HOST, and which loses `step_ns` from then on."""

    def __init__(self, tick: int = 5_000_000, step_ns: int = 0) -> None:
        self.tick, self.step_ns = tick, step_ns

    def __call__(self, us: float, after: bool = False) -> int:
        ns = us * US - (self.step_ns if after else 0)
        return (self.tick + round(ns / TICK_NS)) % WRAP

    def beats(
        self, gaps: list[tuple[float, float]], index: int = 0, late_us: float = 0
    ) -> VcpuBeats:
        """`gaps` in µs of host time, each from before the pause to after it."""

        def sample(us: float, after: bool) -> tuple[int, int]:
            return HOST + round((us + late_us) * US), self(us, after)

        return VcpuBeats(
            index=index,
            before=tuple(sample(us, after=False) for us in (-900, -850, -800)),
            after=tuple(sample(us, after=True) for us in (9_000, 9_050)),
            gaps=tuple(Gap(self(a), self(b, after=True)) for a, b in gaps),
            beats_before=1,
            beats_after=2,
        )


def bracket(start_us: int = 0, end_us: int = 4_000) -> tuple[int, int]:
    return HOST + start_us * US, HOST + end_us * US


# -- ticks and samples ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "earlier", "difference"),
    [
        (10, 3, 7),
        (3, 10, -7),
        (5, WRAP - 5, 10),
        (WRAP - 5, 5, -10),
        (WRAP // 2 - 1, 0, WRAP // 2 - 1),
        (WRAP // 2, 0, -WRAP // 2),
    ],
)
def test_difference_of_ticks_that_wrap(later: int, earlier: int, difference: int) -> None:
    assert tick_difference(later, earlier) == difference


@given(tick=st.integers(0, WRAP - 1), step=st.integers(-(WRAP // 2), WRAP // 2 - 1))
def test_difference_undoes_a_step_over_the_wrap(tick: int, step: int) -> None:
    assert tick_difference((tick + step) % WRAP, tick) == step


def test_best_sample_is_the_one_least_behind_its_tick() -> None:
    origin = (HOST, WRAP - 10)
    samples = [
        (HOST + 1_000 + 300, 0),  # tick 10 after the origin, read 300 ns late
        (HOST + 2_000 + 20, 10),
        (HOST + 3_000 + 90_000, 20),
    ]
    assert best_sample(samples, TICK_NS, origin) == samples[1]


@given(
    tick=st.integers(0, WRAP - 1),
    rate=st.floats(60.0, 200.0),
    late=st.lists(st.integers(0, 2 * MS), min_size=6, max_size=6),
)
def test_rate_is_found_from_late_samples(tick: int, rate: float, late: list[int]) -> None:
    """One fresh sample at each end is enough."""

    def sample(ticks: int, behind: int) -> tuple[int, int]:
        return HOST + round(ticks * rate) + behind, (tick + ticks) % WRAP

    first = [sample(n * 500, behind) for n, behind in enumerate((*late[:3], 0))]
    last = [sample(3_000_000 + n * 500, behind) for n, behind in enumerate((0, *late[3:]))]
    assert tick_rate([(first, last)]) == pytest.approx(rate, rel=2e-4)


def test_rate_pools_its_segments() -> None:
    def segment(start: int, ticks: int, late: int) -> tuple[list[tuple[int, int]], ...]:
        return [(start, 0)], [(start + ticks * 100 + late, ticks)]

    # one late end weighs as much as its stretch is long
    rate = tick_rate([segment(HOST, 1_000, 1_000), segment(2 * HOST, 999_000, 0)])
    assert rate == pytest.approx(100.001)


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [([], [(1, 1)])],
        [([(1, 1)], [])],
        [([(HOST, 100)], [(HOST + 1_000, 100)])],  # a guest that stood still
        [([(HOST, 100)], [(HOST + 1_000, 50)])],  # a clock that ran backwards
    ],
)
def test_rate_is_zero_if_unknown(segments: list[object]) -> None:
    assert tick_rate(segments) == 0.0  # type: ignore[arg-type]


# -- the pause as the guest saw it ----------------------------------------------------------------


def test_clock_that_runs_through_the_pause() -> None:
    clock = GuestClock()
    view = guest_views([clock.beats([(-10, 4_200)])], TICK_NS, {0: bracket()})[0]
    assert view is not None
    assert (view.clock, view.step_ns) == ("runs", 0)
    assert view.gap_ns == 4_210 * US
    assert (view.last_beat_ns, view.first_beat_ns) == (HOST - 10 * US, HOST + 4_200 * US)


@pytest.mark.parametrize("step_us", [3_950, 4_100, 2_500])
def test_clock_that_freezes_loses_what_was_injected(step_us: int) -> None:
    clock = GuestClock(step_ns=step_us * US)
    view = guest_views([clock.beats([(-10, 4_200)])], TICK_NS, {0: bracket()})[0]
    assert view is not None
    assert (view.clock, view.step_ns) == ("freezes", step_us * US)
    assert view.gap_ns == 4_210 * US  # seen on the host's clock all the same


@pytest.mark.parametrize("tick", [WRAP - 1, WRAP - 20_000, 0, WRAP // 2])
@pytest.mark.parametrize("step_us", [0, 3_900])
def test_pause_in_which_ticks_wrap(tick: int, step_us: int) -> None:
    clock = GuestClock(tick, step_us * US)
    view = guest_views([clock.beats([(-10, 4_200)])], TICK_NS, {0: bracket()})[0]
    assert view is not None
    assert view.gap_ns == 4_210 * US


def test_shift_within_the_noise_is_not_a_step() -> None:
    clock = GuestClock(step_ns=STEP_NOISE_NS - 1_000)
    view = guest_views([clock.beats([(-10, 4_200)])], TICK_NS, {0: bracket()})[0]
    assert view is not None
    assert view.clock == "runs"
    assert view.gap_ns == 4_210 * US - (STEP_NOISE_NS - 1_000)


@pytest.mark.parametrize("step_us", [300, -3_000])
def test_an_odd_step_does_not_silence_the_guest(step_us: int) -> None:
    """Neither noise nor most of the pause: each end still has the mapping of its own side."""
    clock = GuestClock(step_ns=step_us * US)
    view = guest_views([clock.beats([(-10, 4_200)])], TICK_NS, {0: bracket()})[0]
    assert view is not None
    assert (view.clock, view.step_ns, view.gap_ns) == ("unknown", step_us * US, 4_210 * US)


@pytest.mark.parametrize("tick_ns", [0.0, -1.0])
def test_with_an_unknown_rate_the_guest_does_not_testify(tick_ns: float) -> None:
    assert guest_views([GuestClock().beats([(-10, 4_200)])], tick_ns, {0: bracket()}) == {}


def test_guest_without_samples_does_not_testify() -> None:
    beats = VcpuBeats(0, (), ((HOST, 5),), (Gap(1, 2),), 1, 2)
    assert guest_views([beats], TICK_NS, {0: bracket()}) == {}
    assert guest_views([], TICK_NS, {0: bracket()}) == {}


def test_gap_that_covers_the_blackout_is_chosen_over_the_longest() -> None:
    """A long wait for a CPU just before is not mistaken for the blackout."""
    gaps = [(-9_000.0, -1_000.0), (-50.0, 4_150.0), (4_300.0, 4_500.0)]
    view = guest_views([GuestClock().beats(gaps)], TICK_NS, {0: bracket()})[0]
    assert view is not None
    assert view.gap_ns == 4_200 * US


@pytest.mark.parametrize("gaps", [[], [(200.0, 3_000.0)], [(-10.0, 3_500.0)], [(500.0, 9_000.0)]])
def test_no_gap_covers_the_blackout(gaps: list[tuple[float, float]]) -> None:
    assert guest_views([GuestClock().beats(gaps)], TICK_NS, {0: bracket()}) == {0: None}


def test_without_a_blackout_to_cover_the_longest_gap_is_taken() -> None:
    gaps = [(-300.0, -100.0), (-50.0, 4_150.0), (4_300.0, 4_500.0)]
    view = guest_views([GuestClock().beats(gaps)], TICK_NS, {})[0]
    assert view is not None
    assert view.gap_ns == 4_200 * US


def test_pause_below_the_threshold_of_a_frozen_clock_is_its_step() -> None:
    """The part of the pause that the guest's clock saw was too short to be logged."""
    clock = GuestClock(step_ns=3_960 * US)
    view = guest_views([clock.beats([])], TICK_NS, {0: bracket()})[0]
    assert view is not None
    assert (view.clock, view.gap_ns) == ("freezes", 3_960 * US)
    assert view.last_beat_ns == HOST


def test_vcpus_share_one_clock_so_a_late_sampled_one_is_corrected_by_the_other() -> None:
    clock = GuestClock()
    prompt = clock.beats([(-10, 4_200)], index=0)
    late = clock.beats([(-20, 4_300)], index=1, late_us=3_000)  # it waited for a CPU
    views = guest_views([late, prompt], TICK_NS, {0: bracket(), 1: bracket(100, 4_100)})
    assert [views[v].gap_ns if views[v] else None for v in (0, 1)] == [4_210 * US, 4_320 * US]
    assert [views[v].first_beat_ns - HOST for v in (0, 1)] == [4_200 * US, 4_300 * US]


def test_each_vcpu_is_judged_by_its_own_blackout() -> None:
    clock = GuestClock()
    beats = [clock.beats([(-10, 4_200)], 0), clock.beats([(-10, 2_000)], 1)]
    views = guest_views(beats, TICK_NS, {0: bracket(), 1: bracket()})
    assert views[0] is not None
    assert views[1] is None
