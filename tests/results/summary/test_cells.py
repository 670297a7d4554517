"""Cells of a session, against numbers worked out by hand or recomputed from the records."""

from __future__ import annotations

import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from results.comparison.compare import compare
from results.records.observations import DeviceContinuity
from results.records.run import Span, Witnesses
from results.stats.boots import count_failures
from results.stats.intervals import boot_medians, median_ns, order_statistic_interval
from results.store.tables.columns import columns_of, lean_runs
from results.summary.cells import (
    budget_of,
    failure_groups,
    hear_witnesses,
    summarise,
    worst_and_median,
)


def summarised(runs):
    return summarise(columns_of(runs))


# --- recomputed with the standard library and scipy ----------------------------------------


def middle(values):
    return (statistics.median_low(values) + statistics.median_high(values)) // 2 if values else None


def boots_middle(runs, value):
    """The median over boots of each boot's median."""
    boots = {}
    for run in runs:
        boots.setdefault((run.session, run.boot), []).append(value(run))
    return middle([middle(values) for values in boots.values()])


def known(runs, name):
    return [value for run in runs if (value := getattr(run, name)) is not None]


def phases_recomputed(explained):
    """Medians over boots, and the boots that have each phase."""
    known = [run for run in explained if run.spans]
    boots = {}
    for run in known:
        boots.setdefault((run.session, run.boot), []).append(run.phases)
    names = {name for run in known for name in run.phases}
    medians = {
        name: middle([middle([p.get(name, 0) for p in shares]) for shares in boots.values()])
        for name in names
    }
    seen = {
        name: sum(any(name in p for p in shares) for shares in boots.values()) for name in names
    }
    return {name: ns for name, ns in medians.items() if ns}, seen


def figures_recomputed(runs):
    """All figures of the summary of one cell but its interval."""
    valid = [run for run in runs if run.outcome == "completed"]
    explained = [run for run in valid if run.blackout_ns is not None]
    boots = {}
    for run in explained:
        boots.setdefault((run.session, run.boot), []).append(run.blackout_ns)
    per_boot = Counter((run.session, run.boot) for run in runs)
    claims = [(c, r.blackout_ns) for r in explained if (c := r.witnesses.qemu) is not None]
    errors = [(claim - ns) / ns * 100 for claim, ns in claims if ns]
    devices = [run.device for run in runs if run.device is not None]
    gaps = [run.device.longest_gap_ns for run in valid if run.device is not None]
    return {
        "boots": len(per_boot),
        "updates": max(per_boot.values()),
        "valid": len(valid),
        "failed": len(runs) - len(valid),
        "median_ns": middle([middle(values) for values in boots.values()]),
        "max_ns": max((run.blackout_ns for run in explained), default=None),
        "qemu_median_ns": boots_middle(
            [r for r in explained if r.witnesses.qemu is not None], lambda run: run.witnesses.qemu
        ),
        "qemu_error_percent": statistics.median(errors) if errors else None,
        "phases": phases_recomputed(explained)[0],
        "phase_boots": phases_recomputed(explained)[1],
        "valid_boots": len(boots),
        "handover_median_ns": middle(known(valid, "handover_ns")),
        "guest_gap_median_ns": middle(known(valid, "guest_gap_ns")),
        "first_progress_median_ns": middle(known(valid, "first_progress_ns")),
        "brownout_median_ns": middle(
            [
                run.brownout_watched_ns if run.brownout_ns is None else run.brownout_ns
                for run in valid
                if (run.brownout_ns, run.brownout_watched_ns) != (None, None)
            ]
        ),
        "proofs": Counter(run.proof.verdict for run in runs if run.proof is not None),
        "device_operations": sum(device.operations for device in devices),
        "device_troubles": sum(bool(device.troubles) for device in devices),
        "device_gap_ns": max((gap for gap in gaps if gap is not None), default=None),
    }


@settings(deadline=None)
@given(data=st.data())
def test_figures_equal_a_recomputation(any_runs, data):
    made = data.draw(any_runs)
    cells = {}
    for run in made:
        key = (run.scenario, run.dimensions, run.old_build, run.new_build)
        cells.setdefault(key, []).append(run)
    found = summarised(made)
    assert [(s.scenario, s.dimensions, s.old_build, s.new_build) for s in found] == list(cells)
    for summary, runs in zip(found, cells.values(), strict=True):
        expected = figures_recomputed(runs)
        assert {name: getattr(summary, name) for name in expected} == expected


@pytest.mark.parametrize("boots", [1, 2, 3, 4, 5, 6, 20])
def test_intervals_are_those_of_scipy(make_run, boots):
    random = np.random.default_rng(boots)
    levels = random.lognormal(15, 0.3, (boots, 3)).astype(int).tolist()
    (summary,) = summarised(
        make_run(boot=boot, update=update, blackout_ns=ns)
        for boot, level in enumerate(levels)
        for update, ns in enumerate(level)
    )
    medians = sorted(middle(level) for level in levels)
    bounds = (summary.low_ns, summary.high_ns)
    if boots < 4:
        assert (bounds, summary.interval) == ((None, None), "none")
    elif boots < 6:
        logs = np.log(medians)
        around = stats.t.interval(0.95, boots - 1, logs.mean(), stats.sem(logs))
        assert bounds == pytest.approx(np.exp(around), abs=1)
        assert summary.interval == "t"
    else:
        k = int(stats.binom.ppf(0.025, boots, 0.5))
        assert bounds == (medians[k - 1], medians[boots - k])
        assert summary.interval == "order"


# --- by hand ---------------------------------------------------------------------------------


def test_a_device_is_counted_in_all_runs_and_its_gap_in_valid_ones(make_run):
    def device(operations, gap, *troubles):
        return DeviceContinuity(
            "0000:00:04.0", operations, None, 0, 0, 0, None, gap, None, troubles
        )

    runs = [
        make_run(update=1, device=device(4, 90)),
        make_run(update=2, device=device(3, 158, "1 lost", "1 silent")),
        make_run(update=3, device=device(3, 999, "1 lost"), outcome="failed", reason="lost"),
        make_run(update=4, device=device(2, None)),
        make_run(update=5),
    ]
    (summary,) = summarised(runs)
    assert (summary.device_operations, summary.device_troubles) == (12, 2)
    assert summary.device_gap_ns == 158
    (none,) = summarised([make_run()])
    assert (none.device_operations, none.device_troubles, none.device_gap_ns) == (0, 0, None)


def test_boots_decide_the_width_of_an_interval(make_run):
    """Boots that differ by 5 % and updates by 0.1 %: boots decide the width, not updates."""
    random = np.random.default_rng(7)
    runs = [
        make_run(boot=b, update=u, blackout_ns=int(level * random.normal(1, 0.001)))
        for b, level in enumerate(random.normal(4_420_000, 221_000, 6))
        for u in range(1, 41)
    ]
    (summary,) = summarised(runs)
    low, high = order_statistic_interval([r.blackout_ns for r in runs])
    assert summary.high_ns - summary.low_ns > 1.5 * (high - low)


def test_boots_of_different_sessions_are_different_boots(make_run):
    runs = [
        make_run(boot=1, blackout_ns=100),
        make_run(boot=1, blackout_ns=300, session="20261124-221500-0b1c"),
    ]
    assert summarised(runs)[0].boots == 2


def test_failed_runs_are_counted_and_never_averaged(make_run):
    runs = [
        make_run(boot=1, update=1, blackout_ns=100),
        make_run(boot=1, update=2, blackout_ns=900_000, outcome="failed", reason="lost"),
        make_run(boot=2, update=1, blackout_ns=None, outcome="failed", reason="lost"),
        make_run(boot=3, update=1, blackout_ns=120),
    ]
    (summary,) = summarised(runs)
    assert (summary.boots, summary.updates, summary.valid, summary.failed) == (3, 2, 2, 2)
    assert (summary.median_ns, summary.max_ns) == (110, 120)
    assert (summary.low_ns, summary.interval) == (None, "none")


def test_without_a_valid_run_figures_are_none_and_not_zero(make_run):
    failed = make_run(blackout_ns=None, outcome="failed", reason="lost")
    (summary,) = summarised([failed])
    assert (summary.valid, summary.failed, summary.interval) == (0, 1, "none")
    for name in ("median_ns", "low_ns", "high_ns", "max_ns", "qemu_median_ns"):
        assert getattr(summary, name) is None, name
    assert summary.qemu_error_percent is None
    assert summary.phases == {}
    assert summarised([]) == ()


def test_groups_are_kept_apart_in_first_seen_order(make_run):
    runs = [
        make_run(scenario="memfd"),
        make_run(),
        make_run(new_build="11.1.3"),
        make_run(old_build="11.1.3"),
        make_run(dimensions="vcpus=4"),
        make_run(scenario="memfd", update=2),
    ]
    found = summarised(iter(runs))
    assert [(s.scenario, s.old_build, s.new_build, s.valid) for s in found] == [
        ("memfd", "system", "system", 2),
        ("anon", "system", "system", 1),
        ("anon", "system", "11.1.3", 1),
        ("anon", "11.1.3", "system", 1),
        ("anon", "system", "system", 1),
    ]


def test_qemus_downtime_and_how_far_it_is_off(make_run):
    claims = [(2_000_000, 4_000_000), (3_000_000, 4_000_000), (None, 4_000_000), (3, 4)]
    runs = [
        make_run(update=i, blackout_ns=real, witnesses=Witnesses(qemu=claim))
        for i, (claim, real) in enumerate(claims)
    ]
    (summary,) = summarised(runs)
    assert summary.qemu_median_ns == 2_000_000
    assert summary.qemu_error_percent == -25.0  # median of -50, -25, -25


def spans(**shares):
    return tuple(Span(n, "old", 0, 9, share) for n, share in shares.items())


def test_phases_are_medians_over_the_updates_of_a_boot(make_run):
    runs = [
        make_run(update=1, spans=spans(quiesce=10, rare=5, none=0)),
        make_run(update=2, spans=spans(quiesce=30)),
        make_run(update=3, spans=spans(quiesce=20, often=4)),
        make_run(update=4, spans=spans(quiesce=20, often=8), outcome="failed", reason="x"),
        make_run(update=5, spans=spans(quiesce=20, often=8)),
        make_run(update=6, spans=spans(quiesce=20, often=9)),
    ]
    (summary,) = summarised(runs)
    assert summary.phases == {"quiesce": 20, "often": 4}
    assert summary.phase_boots == {"quiesce": 1, "rare": 1, "often": 1}


def test_a_phase_that_did_not_occur_in_a_boot_counts_as_0_there(make_run):
    runs = [
        make_run(boot=boot, spans=spans(quiesce=10, **({"rare": 900_000} if boot == 1 else {})))
        for boot in range(1, 7)
    ]
    runs += [make_run(boot=7, spans=()), make_run(boot=8, outcome="failed", reason="lost")]
    (summary,) = summarised(runs)
    assert summary.phases == {"quiesce": 10}
    assert summary.phase_boots == {"quiesce": 6, "rare": 1}
    assert (summary.boots, summary.valid_boots) == (8, 7)


def test_summaries_and_comparisons_have_one_rule_for_phases(make_run):
    random = np.random.default_rng(3)
    runs = [
        make_run(
            boot=boot, update=update,
            spans=spans(quiesce=int(random.integers(1, 99)),
                        **({"rare": 900_000} if (boot, update) in ((1, 1), (2, 2)) else {})),
        )
        for boot in range(1, 7)
        for update in (1, 2)
    ]  # fmt: skip
    (summary,) = summarised(runs)
    (cell,) = compare(runs, runs).cells
    for phase in cell.phases:
        assert summary.phases.get(phase.name, 0) == phase.median_a_ns
        assert summary.phase_boots[phase.name] == phase.boots_a
    assert {phase.name for phase in cell.phases} == {"quiesce", "rare"}


def test_phases_count_boots_and_not_their_updates(make_run):
    """One boot of ten updates in another phase outweighs two boots otherwise."""
    runs = [make_run(update=u, spans=spans(quiesce=90)) for u in range(1, 11)]
    runs += [make_run(boot=boot, spans=spans(quiesce=10)) for boot in (2, 3)]
    assert summarised(runs)[0].phases == {"quiesce": 10}


def test_the_other_medians(make_run):
    runs = [
        make_run(update=i, handover_ns=h, guest_gap_ns=h + 1, first_progress_ns=None)
        for i, h in enumerate((5, 9, 6))
    ]
    (summary,) = summarised(runs)
    assert summary.handover_median_ns == 6
    assert summary.guest_gap_median_ns == 7
    assert summary.first_progress_median_ns is None


def test_blackouts_of_zero_have_no_interval(make_run):
    (summary,) = summarised(make_run(boot=b, blackout_ns=0) for b in (1, 2, 3, 4))
    assert (summary.interval, summary.low_ns, summary.qemu_error_percent) == ("none", None, None)


@settings(deadline=None)
@given(data=st.data(), limit=st.integers(1, 10**9))
def test_testimonies_and_budgets_are_those_of_the_records(any_runs, data, limit):
    made = data.draw(any_runs)
    columns = columns_of(made)
    valid = [r for r in made if r.outcome == "completed" and r.blackout_ns is not None]
    by_name = {t.witness: t for t in hear_witnesses(columns)}
    seen = [r for r in valid if r.witnesses.guest is not None]
    assert by_name["guest"].runs == len(seen)
    assert by_name["guest"].median_ns == boots_middle(seen, lambda run: run.witnesses.guest)
    assert by_name["kvm"].median_ns == median_ns(boot_medians(valid))
    budget = budget_of(columns, limit)
    failed = sum(r.outcome == "failed" for r in made)
    within = sum(r.blackout_ns < limit for r in valid)
    assert (budget.within, budget.total) == (within, len(valid) + failed)
    assert budget.failed == failed
    picked = worst_and_median(columns)
    if valid:
        worst, median = picked
        assert made[worst].blackout_ns == max(r.blackout_ns for r in valid)
        middle = median_ns(boot_medians(valid))
        nearest = min(abs(r.blackout_ns - middle) for r in valid)
        assert abs(made[median].blackout_ns - middle) == nearest
    else:
        assert picked is None


def test_failures_are_grouped_by_reason_without_numbers(make_run):
    failed = [
        make_run(update=i, outcome="failed", reason=f"{i} pages changed, first 0x{i}")
        for i in range(1, 6)
    ]
    other = make_run(update=9, outcome="failed", reason="lost", scenario="shm")
    first, second = failure_groups(columns_of([other, make_run(update=8), *failed]))
    assert (first.runs, first.scenarios, len(first.first)) == (5, ("anon",), 3)
    assert (second.runs, second.reason, second.first) == (1, "lost", (0,))


def test_harm_is_counted_as_in_a_comparison(make_run):
    """By reasons in memory there, by their text in columns here."""
    ram = "1 of 9 checked pages of guest RAM changed, first 0x1"
    lost = "QEMU said no; the guest was lost: old QEMU in state gone, new QEMU in state gone"
    reasons = {(1, 1): ram, (1, 2): lost, (2, 1): lost, (3, 1): "2 probe records were lost",
               (4, 2): "old QEMU refused migrate"}  # fmt: skip
    runs = [
        make_run(boot=boot, update=update, outcome="failed" if reason else "completed",
                 reason=reason, blackout_ns=None if reason else 5_000_000)
        for boot in range(1, 6)
        for update in (1, 2)
        for reason in [reasons.get((boot, update), "")]
    ]  # fmt: skip
    (summary,) = summarise(columns_of(runs))
    assert summary.harmed_runs == {"damage": 1, "loss": 2, "update-failed": 1, "measurement": 1}
    assert summary.harmed_boots == {"damage": 1, "loss": 1, "update-failed": 1, "measurement": 1}
    assert list(summary.harmed_boots) == ["damage", "loss", "update-failed", "measurement"]
    found = count_failures(runs)
    assert (found.damaged_runs, found.lost_runs, found.not_updated_runs) == (1, 2, 1)
    assert (found.damaged_boots, found.lost_boots, found.not_updated_boots) == (1, 1, 1)
    assert count_failures(lean_runs(columns_of(runs))) == found
