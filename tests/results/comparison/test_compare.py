"""Verdicts: by hand, by properties, and by simulated hosts that drift and boots that differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.comparison.compare import Thresholds, blocks_by_boot, compare
from results.comparison.noise_floor import NoiseFloor, false_alarms
from results.comparison.verdict import (
    Cell,
    PhaseShift,
    bisect_code,
    exit_code,
    judge_cells,
    measure_against,
)
from results.errors import UsageError
from results.records.run import Span
from results.stats.boots import boot_values, count_failures, joined, strata, strata_sizes
from results.stats.proportions import Failures

PAUSE = 4_420_000
MS = 1_000_000


@pytest.fixture
def make_side(make_run):
    """Runs of one side: for each boot the blackouts of its updates in ns, None for a failed run."""

    def make(boots, build="10.0.2", **fields):
        return [
            make_run(
                boot=boot,
                update=update,
                old_build=build,
                new_build=build,
                blackout_ns=value,
                outcome="failed" if value is None else "completed",
                **fields,
            )
            for boot, values in enumerate(boots, 1)
            for update, value in enumerate(values, 1)
        ]

    return make


def one_each(values):
    return [[v] for v in values]


A6 = [4_400_000, 4_410_000, 4_420_000, 4_430_000, 4_440_000, 4_450_000]


def plus(ns):
    return [v + ns for v in A6]


# By hand


def test_a_slower_build(make_side):
    found = compare(make_side(one_each(A6)), make_side(one_each(plus(MS)), "11.1.3"))
    (cell,) = found.cells
    assert (found.label_a, found.label_b, found.exit_code) == ("10.0.2", "11.1.3", 1)
    assert (cell.scenario, cell.metric, cell.verdict, cell.reason) == (
        "anon",
        "blackout",
        "regressed",
        "",
    )
    assert (cell.n_a, cell.n_b, cell.method) == (6, 6, "pooled")
    assert (cell.median_a_ns, cell.median_b_ns) == (4_425_000, 5_425_000)
    # The 36 differences are 1 ms + 10 us * (-5 … 5), of which 1, 2, 3, 4, … stand at each end:
    # the 6th from either end (k = 6 for 6 and 6 boots) is 30 us from the middle.
    assert (cell.shift_ns, cell.low_ns, cell.high_ns) == (1_000_000, 970_000, 1_030_000)
    assert cell.shift_percent == pytest.approx(22.599, abs=1e-3)
    assert cell.p == pytest.approx(2 / 924)
    assert cell.p_adjusted == pytest.approx(5 * 2 / 924)  # one cell counts as one of five
    assert cell.threshold_ns == 132_750  # 3 % of A
    # The least p of 6 and 6 is 2 / 924, 4 / 924 the next: at 1 % the rank is 3, 40 us each way.
    assert (cell.level, cell.low_at_level_ns, cell.high_at_level_ns) == (
        pytest.approx(0.01), 960_000, 1_040_000,
    )  # fmt: skip
    # 132750 + 30000 * 0.8416 / 1.9600
    assert cell.smallest_detectable_ns == 132_750 + 12_882
    assert cell.half_width_ns == 30_000


@pytest.mark.parametrize(
    ("change", "verdict", "code"),
    [
        (MS, "regressed", 1),
        (-MS, "improved", 0),
        (0, "same", 0),
        (102_750, "same", 0),  # 72750 … 132750, the threshold
        (102_752, "undecided", 0),
        (132_748, "undecided", 0),
        (132_752, "regressed", 1),  # the shift counts, wherever its interval begins
        (-132_752, "improved", 0),
    ],
)
def test_what_reaches_the_threshold(make_side, change, verdict, code):
    found = compare(make_side(one_each(A6)), make_side(one_each(plus(change))))
    assert (found.cells[0].verdict, found.exit_code) == (verdict, code)


def test_a_certain_small_change_of_a_short_blackout_is_found(make_side):
    """+7 % of 2.4 ms are 0.17 ms; the older absolute threshold was 0.2."""
    a = [2_400_000 + 2_000 * i for i in range(12)]
    for share, verdict in ((1.07, "regressed"), (1.04, "regressed"), (1.01, "same")):
        b = [round(value * share) for value in a]
        (cell,) = compare(make_side(one_each(a)), make_side(one_each(b))).cells
        assert cell.verdict == verdict


def test_the_larger_threshold_counts(make_side):
    sides = make_side(one_each(A6)), make_side(one_each(plus(300_000)))

    def verdict(thresholds):
        return compare(*sides, thresholds).cells[0].verdict

    assert verdict(Thresholds()) == "regressed"
    assert verdict(Thresholds(relative=0.1)) == "same"
    assert verdict(Thresholds(absolute_ns=400_000)) == "same"


# Noise


def test_noise_never_makes_a_change_the_same(make_side):
    """+30 % [0.70, 0.73] ms with p 0.0003, on a host whose A/As differ by 1 ms."""
    a = [2_370_000 + 1_500 * i for i in range(12)]
    sides = make_side(one_each(a)), make_side(one_each([v + 715_000 for v in a]))
    (cell,) = compare(*sides, noise={"anon": NoiseFloor(1_000_000, 12, 9)}).cells
    assert cell.p < 0.0003
    assert (cell.verdict, cell.noise_floor_ns) == ("undecided", 1_000_000)
    assert cell.reason == "smaller than the noise floor of 1 ms (A/A comparisons on this host)"
    assert cell.threshold_ns < 100_000
    assert cell.smallest_detectable_ns > 1_000_000
    (bare,) = compare(*sides, Thresholds(noise_ns=1_000_000)).cells
    assert (bare.verdict, bare.reason) == ("undecided", "smaller than the noise floor of 1 ms")


def test_noise_takes_back_what_is_within_it(make_side):
    def judged(change, noise):
        sides = make_side(one_each(A6)), make_side(one_each(plus(change)))
        (cell,) = compare(*sides, noise=noise).cells
        return cell.verdict, cell.reason

    floor = NoiseFloor(400_000, 6, 30)
    assert judged(300_000, {"memfd": floor}) == ("regressed", "")
    assert judged(399_000, {"anon": floor})[0] == "undecided"
    assert judged(401_000, {"anon": floor}) == ("regressed", "")
    assert judged(-401_000, {"anon": floor}) == ("improved", "")
    # A host that cannot tell 0.4 ms cannot say that nothing of 0.13 ms changed.
    verdict, reason = judged(0, {"anon": floor})
    assert verdict == "undecided"
    assert reason.startswith("what counts is smaller than the noise floor of 0.4 ms")
    assert judged(0, {"anon": NoiseFloor(100_000, 6, 30)}) == ("same", "")


def test_the_noise_of_few_boots_is_scaled_to_many(make_side):
    a = [4_400_000 + 1_000 * i for i in range(24)]
    sides = make_side(one_each(a)), make_side(one_each([v + 300_000 for v in a]))
    (cell,) = compare(*sides, noise={"anon": NoiseFloor(600_000, 4, 30)}).cells
    assert cell.noise_floor_ns == 244_949  # 600 000 / the root of 24 / 4
    assert cell.verdict == "regressed"


def test_too_few_boots_are_undecided_however_far_apart(make_side):
    found = compare(make_side(one_each(A6[:3])), make_side(one_each(plus(90 * MS)[:3])))
    (cell,) = found.cells
    assert cell.verdict == "undecided"
    assert cell.reason == "fewer than 4 boots: A has 3, B has 3"
    assert (cell.shift_ns, cell.low_ns, cell.high_ns) == (90 * MS, None, None)
    assert cell.smallest_detectable_ns is None
    assert found.exit_code == 0
    assert exit_code(found.cells, strict=True) == 5


def test_no_interval_with_fewer_than_four_boots_of_a_side(make_side):
    a, b = make_side(one_each(A6[:3])), make_side(one_each(plus(MS) * 2))
    (cell,) = compare(a, b).cells
    assert (cell.low_ns, cell.low_at_level_ns, cell.verdict) == (None, None, "undecided")
    assert cell.reason == "fewer than 4 boots: A has 3, B has 12"


def test_updates_of_a_boot_are_one_value(make_side):
    """Sixty updates in three boots are three values, not sixty."""
    a = make_side([[v] * 20 for v in A6[:3]])
    b = make_side([[v] * 20 for v in plus(MS)[:3]])
    assert compare(a, b).cells[0].verdict == "undecided"


def test_a_side_without_a_valid_run(make_side):
    found = compare(make_side(one_each(A6)), make_side([[None]] * 2 + [[None, None]]))
    (cell,) = found.cells
    assert (cell.verdict, cell.reason) == ("undecided", "no valid run of B")
    for name in ("shift_ns", "low_ns", "p", "shift_percent", "smallest_detectable_ns"):
        assert getattr(cell, name) is None, name
    assert cell.failures_b == Failures(4, 4, 3, 3)
    # 3 of 3 against 0 of 6: 1 of C(9, 3) = 84 ways.
    assert cell.failures_p == pytest.approx(1 / 84)
    assert cell.more_failures
    assert found.exit_code == 1

    both = compare(make_side([[None]] * 3), make_side([[None]] * 3))
    assert both.cells[0].reason == "no valid run of A and B"
    assert both.exit_code == 3
    assert compare([], []).exit_code == 3


def test_more_failures_are_a_finding_of_their_own(make_side):
    a = make_side([[v, v] for v in A6])
    b = make_side([[v, None] if i < 5 else [v, v] for i, v in enumerate(A6)])
    found = compare(a, b)
    (cell,) = found.cells
    assert (cell.verdict, cell.more_failures, found.exit_code) == ("same", True, 1)
    assert (cell.failures_a, cell.failures_b) == (Failures(0, 12, 0, 6), Failures(5, 12, 5, 6))
    back = compare(b, a)
    assert (back.cells[0].more_failures, back.exit_code) == (False, 0)


def test_measurements_that_fail_in_one_boot_are_no_finding(make_side):
    """Ten failed runs, but one boot, which chance explains; no guest came to harm."""
    b = make_side([[v] * 10 for v in A6[:5]] + [[None] * 10])
    (cell,) = compare(make_side([[v] * 10 for v in A6]), b).cells
    assert cell.failures_b == Failures(10, 60, 1, 6)
    assert not cell.more_failures


# Harm to guests: issue 15, row 3


RAM = "1 of 9 checked pages of guest RAM changed, first 0x1"
DEAD = "QEMU (pid 7) said no; the guest was lost: old QEMU in state gone, new QEMU in state gone"
REFUSED = "old QEMU refused migrate: no"
UNSEEN = "3 probe records were lost"


def harmed(make_side, boots, bad, reason, build="10.0.2"):
    """A side of `boots` boots, of which the first `bad` have one run that failed."""
    return make_side([[4_400_000, None] if i < bad else [4_400_000] * 2 for i in range(boots)],
                     build, reason=reason)  # fmt: skip


@pytest.mark.parametrize(
    ("in_a", "in_b", "code", "bisect"),
    [
        ((6, 0, ""), (6, 3, RAM), 3, 1),
        ((6, 3, RAM), (6, 0, ""), 3, 125),
        ((6, 1, RAM), (6, 1, RAM), 3, 125),
        ((4, 0, ""), (4, 3, DEAD), 1, 1),  # 0.07 by Fisher: no chance is given
        ((24, 0, ""), (24, 1, DEAD), 1, 1),
        ((24, 1, REFUSED), (24, 1, DEAD), 1, 1),
        ((24, 0, ""), (24, 1, REFUSED), 1, 1),
        ((4, 3, DEAD), (4, 0, ""), 0, 0),  # of A alone: noted
        ((24, 1, DEAD), (24, 1, DEAD), 0, 0),
        ((6, 1, DEAD), (24, 3, DEAD), 0, 0),  # more boots, but a smaller share
        ((24, 1, DEAD), (24, 1, REFUSED), 0, 0),
        ((24, 0, ""), (24, 3, UNSEEN), 0, 0),  # the measurement failed: 0.12 by Fisher
        ((24, 0, ""), (24, 6, UNSEEN), 1, 1),
    ],
)
def test_harm_decides_before_time(make_side, in_a, in_b, code, bisect):
    a, b = harmed(make_side, *in_a), harmed(make_side, *in_b, "11.1.3")
    found = compare(a, b)
    (cell,) = found.cells
    assert cell.verdict == "same", "time is not what differs"
    assert found.exit_code == code
    assert bisect_code(found.cells, found.exit_code) == bisect
    assert cell.more_failures == (code == 1 or (code == 3 and in_b[1] > in_a[1]))


def test_damage_outweighs_a_regression(make_side):
    a = make_side(one_each(A6))
    b = make_side([[v, None] for v in plus(MS)], "11.1.3", reason=RAM)
    found = compare(a, b)
    assert (found.cells[0].verdict, found.exit_code) == ("regressed", 3)


def test_damage_counts_in_a_scenario_that_one_side_alone_has(make_side):
    a, b = make_side(one_each(A6)), make_side(one_each(A6), "11.1.3")
    alone = make_side([[None]], "11.1.3", scenario="memfd", reason=RAM)
    assert compare(a, b).exit_code == 0
    assert compare(a, [*b, *alone]).exit_code == 3
    assert compare(a, [*b, *(replace(run, reason=DEAD) for run in alone)]).exit_code == 0


def test_failing_boots_are_counted_by_their_worst_run(make_side):
    runs = make_side([[None, None, 1], [None, 1, 1], [None], [1]])
    reasons = [DEAD, RAM, "", REFUSED, "", "", UNSEEN, ""]
    found = count_failures(
        replace(run, reason=reason) for run, reason in zip(runs, reasons, strict=True)
    )
    assert found == Failures(4, 8, 3, 4, 1, 1, 1, 1, 0, 1)
    assert found.by_severity == (1, 1, 2)


def test_budgets_of_both_sides(make_side):
    sides = make_side(one_each(A6)), make_side(one_each(plus(MS)))
    (cell,) = compare(*sides, budgets_ns=(5 * MS, 9 * MS)).cells
    assert [(b.limit_ns, b.within, b.total) for b in cell.budgets_a] == [
        (5 * MS, 6, 6),
        (9 * MS, 6, 6),
    ]
    assert [(b.within, b.total) for b in cell.budgets_b] == [(0, 6), (6, 6)]


def test_failed_runs_keep_no_budget_in_a_comparison(make_side):
    b = make_side([[v, None] for v in A6[:5]] + [[None, None]])
    (cell,) = compare(make_side(one_each(A6)), b, budgets_ns=(9 * MS,)).cells
    (kept,) = cell.budgets_b
    assert (kept.within, kept.total, kept.failed) == (5, 12, 7)


def test_scenarios_of_one_side_are_named_and_not_judged(make_side):
    a = [*make_side(one_each(A6)), *make_side(one_each(A6), scenario="memfd")]
    b = [*make_side(one_each(A6), scenario="shm"), *make_side(one_each(A6))]
    found = compare(a, b)
    assert [c.scenario for c in found.cells] == ["anon"]
    assert (found.only_a, found.only_b, found.exit_code) == (("memfd",), ("shm",), 0)


def test_builds_are_not_pooled(make_side):
    mixed = [*make_side(one_each(A6)), *make_side(one_each(A6), "11.1.3")]
    with pytest.raises(UsageError, match=r"A holds runs of 10\.0\.2, 11\.1\.3; choose one"):
        compare(mixed, make_side(one_each(A6)))
    upgrade = [replace(r, new_build="11.1.3") for r in make_side(one_each(A6))]
    assert compare(make_side(one_each(A6)), upgrade).label_b == "10.0.2 → 11.1.3"


def test_another_metric(make_side):
    a, b = make_side(one_each(A6)), make_side(one_each(A6))
    a = [replace(run, handover_ns=100 * MS + run.blackout_ns) for run in a]
    b = [replace(run, handover_ns=150 * MS + run.blackout_ns) for run in b]
    (cell,) = compare(a, b, metric="handover").cells
    assert (cell.metric, cell.verdict, cell.shift_ns) == ("handover", "regressed", 50 * MS)
    assert cell.phases == ()
    (phase,) = compare(a, b, metric="quiesce").cells
    assert (phase.metric, phase.shift_ns) == ("quiesce", 0)


# Blocks


def test_strata_see_through_drift(make_side):
    """A host that jumps by 2 ms after 8 boots of each side; B is 0.5 ms slower."""
    values = [4_400_000 + 10_000 * (i % 8) + (i // 8) * 2 * MS for i in range(24)]
    a = make_side(one_each(values))
    b = make_side(one_each([v + MS // 2 for v in values]))
    (blind,) = compare(a, b).cells
    assert (blind.method, blind.verdict) == ("pooled", "undecided")
    (cell,) = compare(a, b, block_of=blocks_by_boot(2)).cells
    assert (cell.method, cell.verdict, cell.shift_ns) == ("blocks", "regressed", 500_000)


def test_blocks_are_joined_until_a_stratum_has_eight_of_each():
    ones = [([i], [i]) for i in range(19)]
    assert [(len(a), len(b)) for a, b in joined(ones)] == [(8, 8), (8, 8), (3, 3)]
    uneven = [([1, 1], [2]), *[([1, 1], [2, 2])] * 6]  # a boot of the first block failed
    assert [(len(a), len(b)) for a, b in joined(uneven)] == [(10, 9), (4, 4)]
    assert strata_sizes(19) == ((8, 8), (8, 8), (3, 3))
    assert strata_sizes(16) == ((8, 8), (8, 8))
    assert joined([]) == []


def test_blocks_of_two_sessions_are_not_joined(make_side):
    night, resumed = "20261124-221500-aaaa", "20261124-231500-bbbb"
    a = [*make_side(one_each(A6[:2]), session=night), *make_side(one_each(A6), session=resumed)]
    found = strata(a, a, "blackout", blocks_by_boot(2))
    assert found == [(A6[:2], A6[:2]), (A6, A6)]


def test_a_few_blocks_are_enough_for_an_interval(make_side):
    sides = make_side(one_each(A6[:4])), make_side(one_each(plus(MS)[:4]))
    (cell,) = compare(*sides, block_of=blocks_by_boot(2)).cells
    assert (cell.method, cell.low_ns is not None) == ("blocks", True)


def test_half_a_block_says_nothing(make_side):
    a, b = make_side(one_each(A6)), make_side(one_each(plus(MS)[:2]))
    assert strata(a, b, "blackout", blocks_by_boot(2)) == [(A6[:2], plus(MS)[:2])]
    assert strata(a, b, "blackout", lambda run: None) == []
    other = make_side(one_each(A6), session="20261124-221500-aaaa")
    assert strata(a, other, "blackout", blocks_by_boot(2)) == []


def test_measured_apart(make_side):
    a, b = make_side([[1, 2]] * 4), make_side([[1, 2]] * 4)
    assert not compare(a, b).cells[0].apart
    later = [replace(r, started_unix_ns=r.started_unix_ns + 10**12) for r in b]
    assert compare(a, later).cells[0].apart
    assert compare(later, a).cells[0].apart


# Many cells


def one_of(make_side, names, boots, change):
    """Two sides of many scenarios, of which `anon` alone changed."""

    def side(by):
        return [
            run
            for name in names
            for run in make_side(
                one_each([v + (by if name == "anon" else 0) for v in boots]), scenario=name
            )
        ]

    return side(0), side(change)


def test_one_of_six_scenarios_that_goes_from_3_to_9_ms_is_found(make_side):
    names = ["anon", "memfd", "shm", "file", "hugetlb-2m", "pinned"]
    boots = [3 * MS + 20_000 * i for i in range(6)]
    found = compare(*one_of(make_side, names, boots, 6 * MS), block_of=blocks_by_boot(2))
    cell = found.cells[0]
    assert (cell.verdict, found.exit_code) == ("regressed", 1)
    assert cell.p_adjusted == pytest.approx(6 * 2 / 924)


def test_too_few_boots_for_so_many_cells_say_so(make_side):
    """4 and 4 boots cannot give p below 2 / 70, which one cell in twenty reaches by chance."""
    for names in (["anon"], ["anon", "memfd", "shm"]):
        found = compare(*one_of(make_side, names, A6[:4], MS))
        cell = found.cells[0]
        assert cell.p == pytest.approx(2 / 70)
        assert cell.p_adjusted == pytest.approx(5 * 2 / 70)
        assert (cell.verdict, found.exit_code) == ("undecided", 0)
        assert cell.smallest_detectable_ns is None
        assert cell.reason.startswith("4 and 4 boots can call no change among")
        assert cell.reason.endswith("; it takes 6")


def test_further_comparisons_of_a_cell_count(make_side):
    sides = make_side(one_each(A6)), make_side(one_each(plus(MS)))
    alone, thrice = (compare(*sides, comparisons=n).cells[0] for n in (1, 3))
    assert thrice.level == pytest.approx(alone.level / 3)
    assert thrice.p_adjusted == pytest.approx(3 * alone.p_adjusted)


def test_the_smallest_detectable_change_counts_the_correction(make_side):
    random = np.random.default_rng(3)
    boots = np.rint(PAUSE * (1 + random.normal(0, 0.06, 24))).astype(int).tolist()
    names = [f"s{i}" for i in range(40)]
    few, many = (
        compare(*one_of(make_side, ["anon", *others], boots, 0)).cells[0] for others in ([], names)
    )
    assert many.smallest_detectable_ns > 1.2 * few.smallest_detectable_ns


def test_exit_codes():
    cell = Cell("anon", "blackout", n_a=6, n_b=6)
    said = {v: replace(cell, verdict=v) for v in ("regressed", "improved", "same", "undecided")}
    invalid = replace(cell, n_b=0)
    assert exit_code([said["same"], said["improved"]], strict=True) == 0
    assert exit_code([said["undecided"]]) == 0
    assert exit_code([said["undecided"], said["same"]], strict=True) == 5
    assert exit_code([invalid, said["undecided"]], strict=True) == 3
    assert exit_code([invalid, said["regressed"]]) == 1
    assert exit_code([said["improved"], replace(said["same"], more_failures=True)]) == 1


def test_a_median_of_zero_has_no_percentage():
    cell = measure_against(Cell("a", "dark", shift_ns=5, median_a_ns=0, n_a=1), Thresholds())
    assert (cell.shift_percent, cell.threshold_ns) == (None, 50_000)
    assert judge_cells([]) == ()


# Phases


def phased(runs, **shares):
    """The runs with these phases' shares in ns, each wobbling with the boot."""
    made = []
    for run in runs:
        spans = tuple(
            Span(name, "old", 0, 9, share + run.boot * 1000) for name, share in shares.items()
        )
        rest = run.blackout_ns - sum(span.blackout_ns for span in spans)
        made.append(replace(run, spans=spans, residual_ns=rest))
    return made


def test_the_phase_that_moved(make_side):
    a = phased(make_side(one_each(A6)), quiesce=1_200_000, vm_start=300_000, state_load=900_000)
    b = phased(
        make_side(one_each(plus(MS))), quiesce=2_300_000, vm_start=200_000, state_load=900_000
    )
    (cell,) = compare(a, b).cells
    assert [p.name for p in cell.moved] == ["quiesce", "vm_start"]  # the one against it comes last
    shifts = {p.name: p.shift.shift_ns for p in cell.phases}
    assert shifts == {"quiesce": 1_100_000, "vm_start": -100_000, "state_load": 0, "residual": 0}
    assert sum(shifts.values()) == cell.shift_ns
    assert cell.phases[0].shift.low_ns > 0
    (back,) = compare(b, a).cells
    assert [(p.name, p.shift.shift_ns) for p in back.moved] == [
        ("quiesce", -1_100_000),
        ("vm_start", 100_000),
    ]


def test_no_phase_is_named_where_nothing_changed(make_side):
    a = phased(make_side(one_each(A6)), quiesce=1_200_000, vm_start=500_000)
    b = phased(make_side(one_each(A6)), quiesce=1_300_000, vm_start=400_000)
    (cell,) = compare(a, b).cells
    assert cell.verdict == "same"
    assert all(p.shift.clear for p in cell.phases if p.name != "residual")
    assert cell.moved == ()


def test_a_phase_that_one_build_does_not_show_is_not_zero(make_side):
    a = phased(make_side(one_each(A6)), quiesce=1_200_000)
    b = phased(make_side(one_each(plus(MS))), activation=1_000)
    (cell,) = compare(a, b).cells
    known = {p.name: (p.median_a_ns, p.median_b_ns, p.shift.shift_ns) for p in cell.phases}
    assert known["quiesce"] == (1_203_500, None, None)
    assert known["activation"] == (None, 4_500, None)
    assert [p.name for p in cell.moved] == ["residual"]


def test_a_phase_of_one_boot_counts_as_0_in_the_others(make_side):
    def rare(runs, boots):
        return [
            replace(run, spans=(*run.spans, Span("rare", "old", 0, 9, 900_000)))
            if run.boot in boots
            else run
            for run in phased(runs, quiesce=1_200_000)
        ]

    a, b = rare(make_side(one_each(A6)), {3}), rare(make_side(one_each(A6)), {2, 3, 5, 6})
    cell = compare(a, b).cells[0]
    found = next(phase for phase in cell.phases if phase.name == "rare")
    assert (found.median_a_ns, found.median_b_ns) == (0, 900_000)
    assert (found.boots_a, found.boots_b, cell.n_a, cell.n_b) == (1, 4, 6, 6)
    always = next(phase for phase in cell.phases if phase.name == "quiesce")
    assert (always.boots_a, always.boots_b) == (6, 6)


def test_a_run_whose_phases_are_not_known_says_nothing_of_them(make_side):
    a = phased(make_side(one_each(A6)), quiesce=1_200_000)
    a[0] = replace(a[0], spans=())
    assert len(boot_values(a, "quiesce")) == 5


# By properties

# `make_side` keeps nothing between two examples.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

pauses = st.lists(
    st.lists(st.integers(10**6, 10**7) | st.none(), min_size=1, max_size=3), min_size=1, max_size=6
)
FLIPPED = {"regressed": "improved", "improved": "regressed"}


@shared
@given(a=pauses, b=pauses)
def test_swapping_a_and_b_flips_the_verdict(make_side, a, b):
    """With thresholds that do not depend on A's median."""
    fixed = Thresholds(relative=0.0)
    (one,) = compare(make_side(a), make_side(b), fixed).cells
    (other,) = compare(make_side(b), make_side(a), fixed).cells
    assert other.verdict == FLIPPED.get(one.verdict, one.verdict)
    assert other.smallest_detectable_ns == one.smallest_detectable_ns
    if one.shift_ns is not None:
        assert other.shift_ns == -one.shift_ns


@shared
@given(a=pauses, b=pauses, factor=st.integers(2, 50))
def test_units_do_not_matter(make_side, a, b, factor):
    def scaled(boots):
        # Even values: halves of medians then scale without rounding.
        return [[v and 4 * factor * v for v in boot] for boot in boots]

    def plain(boots):
        return [[v and 4 * v for v in boot] for boot in boots]

    # A relative part of 0: its rounding to ns does not scale.
    (one,) = compare(make_side(plain(a)), make_side(plain(b)), Thresholds(0.0, 900)).cells
    (other,) = compare(
        make_side(scaled(a)), make_side(scaled(b)), Thresholds(0.0, 900 * factor)
    ).cells
    assert (other.verdict, other.p) == (one.verdict, one.p)
    if one.shift_ns is not None:
        assert other.shift_ns == factor * one.shift_ns
        assert other.shift_percent == pytest.approx(one.shift_percent)


@shared
@given(a=pauses, b=pauses, random=st.randoms(use_true_random=False))
def test_the_order_of_runs_does_not_matter(make_side, a, b, random):
    runs_a, runs_b = make_side(a), make_side(b)
    found = compare(runs_a, runs_b, block_of=blocks_by_boot(2))
    random.shuffle(runs_a)
    random.shuffle(runs_b)
    mixed = compare(runs_a, runs_b, block_of=blocks_by_boot(2))
    for cell, other in zip(found.cells, mixed.cells, strict=True):
        assert other.p == pytest.approx(cell.p)
        assert replace(other, p=None, p_adjusted=None, phases=()) == replace(
            cell, p=None, p_adjusted=None, phases=()
        )


@shared
@given(a=pauses, b=pauses)
def test_what_cannot_be_computed_is_undecided(make_side, a, b):
    (cell,) = compare(make_side(a), make_side(b)).cells
    if cell.low_ns is None:
        assert cell.verdict == "undecided"
        assert cell.smallest_detectable_ns is None
    assert bool(cell.reason) == (cell.verdict == "undecided")


# By simulation: whole comparisons of runs


def measured(make_side, random, blocks, spread, drift, change=0, updates=3, far=0.01):
    """A and B in A B B A blocks: boots differ by `spread`, updates of a boot by `far`."""
    n = 4 * blocks
    host = PAUSE * (1 + np.linspace(0, drift, n) + random.normal(0, spread, n))
    runs = (host[:, None] + PAUSE * random.normal(0, far, (n, updates))).astype(np.int64)
    is_b = np.tile([False, True, True, False], blocks)
    a, b = runs[~is_b], runs[is_b] + change
    return make_side(a.tolist()), make_side(b.tolist())


@pytest.mark.parametrize("spread", [0.02, 0.05])
@pytest.mark.parametrize("blocks", [3, 6])
def test_false_alarms_of_a_against_a(make_side, spread, blocks):
    """At most 1 in 100, even with no threshold at all: 1.2 % more are three standard errors."""
    random = np.random.default_rng(7)
    bare, usual = [], []
    for _ in range(600):
        sides = measured(make_side, random, blocks, spread, 0.04)
        for thresholds, verdicts in ((Thresholds(0.0, 0), bare), (Thresholds(), usual)):
            (cell,) = compare(*sides, thresholds, block_of=blocks_by_boot(2)).cells
            verdicts.append(cell.verdict)
    wrong, total = false_alarms(bare)
    assert wrong / total <= 0.01 + 0.012
    assert false_alarms(usual)[0] <= wrong


@pytest.mark.parametrize("blocks", [3, 6])
@pytest.mark.parametrize("spread", [0.02, 0.05])
def test_what_could_have_been_seen_is_seen(make_side, blocks, spread):
    """A change of `smallest_detectable_ns` is found in about 80 of 100 comparisons."""
    random = np.random.default_rng(11)
    options = {"block_of": blocks_by_boot(2)}
    sizes = []
    for _ in range(100):
        sides = measured(make_side, random, blocks, spread, 0.04)
        sizes.append(compare(*sides, **options).cells[0].smallest_detectable_ns)
    size = int(np.median(sizes))
    seen = {}
    for share in (1.0, 0.5):
        verdicts = [
            compare(
                *measured(make_side, random, blocks, spread, 0.04, int(size * share)), **options
            )
            .cells[0]
            .verdict
            for _ in range(250)
        ]
        seen[share] = verdicts.count("regressed") / len(verdicts)
    assert 0.72 <= seen[1.0] <= 0.97
    assert seen[0.5] <= 0.4


def test_a_known_delay_lies_within_its_interval(make_side):
    random = np.random.default_rng(13)
    found = [
        compare(
            *measured(make_side, random, 4, 0.03, 0.04, 3 * MS), block_of=blocks_by_boot(2)
        ).cells[0]
        for _ in range(300)
    ]
    assert all(cell.verdict == "regressed" for cell in found)
    held = sum(cell.low_ns <= 3 * MS <= cell.high_ns for cell in found) / len(found)
    assert held >= 0.93


def test_a_phase_shift_is_its_own_record():
    assert PhaseShift.__dataclass_params__.frozen
    assert Cell.__dataclass_params__.frozen
