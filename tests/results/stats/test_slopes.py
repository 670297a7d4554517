"""Sweeps with a known slope, and with none."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from results.records.run import Span
from results.stats.slopes import SizedBoot, boot_of, boots_needed, growth


def boots(
    slope, phase=0.0, values=(0.25, 0.5, 1.0, 2.0), count=4, noise=20_000, mode="cpr-transfer"
):
    chance = random.Random(3)
    return [
        SizedBoot(
            "anon",
            mode,
            value,
            {
                "blackout": round(4_000_000 + slope * value + chance.gauss(0, noise)),
                "handover": round(90_000_000 + 10 * slope * value + chance.gauss(0, noise)),
            },
            {"state_load": round(1_000_000 + phase * value + chance.gauss(0, noise / 10))},
        )
        for value in values
        for _ in range(count)
    ]


def slope_of(found, name, mode="cpr-transfer"):
    (slope,) = [s for s in found.slopes if (s.name, s.mode) == (name, mode)]
    return slope


@pytest.mark.parametrize("slope", [-500_000, 0, 300_000, 400_000_000])
def test_a_known_slope_lies_within_its_interval(slope):
    found = growth("ram", boots(slope))
    seen = slope_of(found, "blackout")
    assert seen.low_ns <= slope <= seen.high_ns
    assert abs(seen.slope_ns - slope) < 60_000
    assert seen.clear == bool(slope)
    assert found.unit == "GiB"


def test_points_are_medians_over_boots():
    found = growth("vcpus", boots(1_000_000, noise=0), failed=2)
    assert [(p.value, p.boots, p.metrics["blackout"]) for p in found.points] == [
        (0.25, 4, 4_250_000),
        (0.5, 4, 4_500_000),
        (1.0, 4, 5_000_000),
        (2.0, 4, 6_000_000),
    ]
    assert found.failed == 2


def test_both_modes_stand_side_by_side():
    found = growth("ram", [*boots(0), *boots(300_000_000, mode="precopy")])
    assert not slope_of(found, "blackout").clear
    assert slope_of(found, "blackout", "precopy").clear


def test_phases_are_named_only_where_the_blackout_grows():
    grows = growth("ram", boots(300_000, phase=300_000))
    assert [s.name for s in grows.phases_of("anon", "cpr-transfer")] == ["state_load"]
    still = growth("ram", boots(0, phase=300_000, noise=200_000))
    assert not slope_of(still, "blackout").clear
    assert slope_of(still, "state_load").clear
    assert still.phases_of("anon", "cpr-transfer") == ()


def test_two_values_make_no_slope():
    assert growth("ram", boots(1_000, values=(1.0, 2.0))).slopes == ()


def test_a_metric_that_some_boots_lack(make_run):
    some = boots(0)
    some[3].metrics.pop("handover")
    assert slope_of(growth("ram", some), "handover")


def test_a_boot_is_the_median_of_its_valid_runs(make_run):
    def run(update, ns, **fields):
        spans = (Span("quiesce", "old", 1, 2, ns // 10),)
        return make_run(update=update, blackout_ns=ns, handover_ns=9 * ns, spans=spans, **fields)

    runs = [run(1, 100), run(2, 300), run(3, 200), run(4, 9_000, outcome="failed")]
    seen = boot_of("anon", "cpr-transfer", 1.0, runs)
    assert seen.metrics == {"blackout": 200, "handover": 1_800}
    assert seen.phases == {"quiesce": 20}
    assert boot_of("anon", "precopy", 1.0, runs).phases == {}
    assert boot_of("anon", "precopy", 1.0, runs[3:]) is None


# -- brownouts that had not ended ------------------------------------------------------------------


def brownout_boot(make_run, *lengths_ms):
    """A boot whose runs took so long to be back; None: not within the 28 ms that were watched."""
    runs = [
        make_run(
            update=n,
            blackout_ns=2_000_000,
            brownout_ns=None if ms is None else ms * 1_000_000,
            brownout_watched_ns=28_000_000,
        )
        for n, ms in enumerate(lengths_ms, 1)
    ]
    return boot_of("anon", "cpr-transfer", 1.0, runs)


def test_a_run_that_was_not_back_counts_with_what_was_watched(make_run):
    boot = brownout_boot(make_run, None, None, 1)
    assert (boot.metrics["brownout"], boot.at_least) == (28_000_000, ("brownout",))
    (point,) = growth("ram", [boot]).points
    assert (point.metrics["brownout"], point.at_least) == (28_000_000, ("brownout",))


@pytest.mark.parametrize(
    ("lengths_ms", "middle_ms", "at_least"),
    [
        ((None, 1, 2), 2, ()),  # longer than any that was back, however long
        ((None, 1), 14, ("brownout",)),
        ((None, 40, 50), 40, ("brownout",)),  # may be longer than those too
        ((3, 1, 2), 2, ()),
    ],
)
def test_a_median_is_exact_where_the_unended_cannot_move_it(
    make_run, lengths_ms, middle_ms, at_least
):
    boot = brownout_boot(make_run, *lengths_ms)
    assert boot.metrics["brownout"] // 1_000_000 == middle_ms
    assert boot.at_least == at_least


def test_a_lower_bound_among_boots_makes_one_of_their_median(make_run):
    each = [(None,), (None,), (1,)]
    (point,) = growth("ram", [brownout_boot(make_run, *ms) for ms in each]).points
    assert (point.metrics["brownout"], point.at_least) == (28_000_000, ("brownout",))
    each = [(None,), (1,), (2,)]
    (point,) = growth("ram", [brownout_boot(make_run, *ms) for ms in each]).points
    assert (point.metrics["brownout"], point.at_least) == (2_000_000, ())


def test_lower_bounds_have_no_slope():
    measured = boots(0)
    for boot in measured:
        boot.metrics["brownout"] = 28_000_000
    measured[0] = replace(measured[0], at_least=("brownout",))
    found = growth("ram", measured)
    assert "brownout" not in {slope.name for slope in found.slopes}
    (missing,) = found.missing
    assert (missing.name, missing.reason) == (
        "brownout", "in 1 of 16 boots it had not ended when watching did",
    )  # fmt: skip


# -- too few boots ---------------------------------------------------------------------------------


def test_boots_that_are_said_to_be_needed_are_enough():
    assert [boots_needed(values) for values in (3, 4, 5)] == [2, 2, 1]
    enough = growth("ram", boots(300_000, values=(1, 2, 3), count=boots_needed(3)))
    assert slope_of(enough, "blackout")
    few = growth("ram", boots(300_000, values=(1, 2, 3), count=boots_needed(3) - 1))
    assert few.slopes == ()
    assert {m.reason for m in few.missing} == {"3 boots are too few for an interval"}
