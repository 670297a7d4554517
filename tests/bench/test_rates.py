"""The rates that are promised, by simulation, and that what is simulated is the product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.benchmarks.rates import (
    LONG,
    PLAIN_BOOTS,
    QUICK,
    SEED,
    SPREADS,
    Sizes,
    cell_seconds,
    main,
    nightly,
    stopping,
    table,
)
from bench.benchmarks.simulated import CELLS, Host, blocks, judged_alone, measured, sessions
from results.comparison.compare import blocks_by_boot, compare
from results.comparison.plan import (
    COMPARE_BOOTS,
    COMPARE_UPDATES,
    NIGHTLY_BOOTS,
    NIGHTLY_COMPARISONS,
    NIGHTLY_UPDATES,
    boots_needed,
)
from results.comparison.verdict import Thresholds
from results.records.run import SCHEMA, Run


def runs_of(build, values):
    return [
        Run(
            SCHEMA, f"s.{build}.b{i:03d}", "s", "cell", "id=cell", i, 1, i, "completed", "", build,
            build, 1, 2, blackout_ns=value,
        )
        for i, value in enumerate(values, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("boots", [4, 6, 10, 16, 31, 63])
@pytest.mark.parametrize("change", [0.0, 0.05])
def test_what_is_simulated_is_what_compares_runs(boots, change):
    random = np.random.default_rng(boots)
    a, b = Host(0.05).sides(random, 5, boots, 4, change)
    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        runs_a, runs_b = runs_of("a", one), runs_of("b", other)
        (cell,) = compare(runs_a, runs_b, block_of=blocks_by_boot(2), comparisons=3).cells
        simulated = judged_alone(measured(blocks(one, other), 1, 3), 1, 3)
        for name in (
            "verdict", "reason", "shift_ns", "low_ns", "high_ns", "low_at_level_ns", "p", "level",
            "p_adjusted", "threshold_ns", "smallest_detectable_ns", "n_a", "n_b", "method",
            "median_a_ns", "median_b_ns",
        ):  # fmt: skip
            assert getattr(simulated, name) == getattr(cell, name), name


def test_hosts_scatter_as_they_are_told():
    random = np.random.default_rng(1)
    a, b = Host(0.05, within=0.0, drift=0.0).sides(random, 400, 8, 3, 0.10)
    assert np.std(a / 2_400_000) == pytest.approx(0.05, rel=0.05)
    assert np.mean(b - a) == pytest.approx(240_000, rel=0.05)
    a, b = Host(0.0, within=0.0, drift=0.04).sides(random, 1, 8, 1)
    ordered = sorted([*a[0], *b[0]])
    assert (ordered[0], ordered[-1]) == (2_400_000, 2_496_000)
    apart = Host(0.0, within=0.0, drift=0.0, nights=0.03).levels(random, 2_000)
    assert np.std(apart) == pytest.approx(0.03, rel=0.1)


def test_a_cell_of_the_nightly_defaults_takes_less_than_three_minutes():
    assert cell_seconds(NIGHTLY_BOOTS, NIGHTLY_UPDATES) < 170
    assert NIGHTLY_BOOTS - PLAIN_BOOTS == NIGHTLY_BOOTS / 8


def test_a_table():
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_documentation_is_of_these_defaults():
    text = " ".join((Path(__file__).parents[2] / "docs" / "rates.md").read_text().split())
    limits = Thresholds()
    for part in (
        f"at least {limits.relative * 100:g} % of A's median and at least "
        f"{limits.absolute_ns / 1e6:g} ms",
        f"seed {SEED}, {LONG.sessions:,} sessions and {LONG.nights:,} nights",
        f"{NIGHTLY_BOOTS} boots of each side, {NIGHTLY_UPDATES} updates a boot",
        f"Its default is {COMPARE_BOOTS} × {COMPARE_UPDATES}.",
    ):
        assert part in text
    assert boots_needed(23) == boots_needed(7, NIGHTLY_COMPARISONS) == 6
    assert boots_needed(24) == boots_needed(8, NIGHTLY_COMPARISONS) == 8


# By the quick form: some hundred sessions, so that a share of 1 % has an error of 0.6 %


@pytest.mark.slow
@pytest.mark.parametrize("apart", [0.0, 0.03])
@pytest.mark.parametrize("spread", SPREADS)
def test_the_nightly_rates(spread, apart):
    rates = nightly(SEED, QUICK, Host(spread, nights=apart))
    assert rates.alarms_cell <= 0.01
    assert rates.alarms_night <= 0.05
    assert rates.older_5 <= 0.01
    if spread < 0.08:
        assert rates.found_5 >= 0.80
        assert rates.found_10 >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("percent", [5.0, 3.0, 2.0])
@pytest.mark.parametrize("spread", [0.03, 0.05])
def test_stopping_at_a_width_raises_no_more_alarms(spread, percent):
    still = stopping(SEED, QUICK, Host(spread), percent, 0.0)
    assert still.claims <= 0.01 + 0.01
    assert still.held >= 0.92
    assert still.half <= percent / 100 * 1.1
    moved = stopping(SEED, QUICK, Host(spread), percent, 0.05)
    assert moved.held >= 0.92
    assert moved.boots >= still.boots


@pytest.mark.slow
@pytest.mark.parametrize("boots", [4, 6, 12, 24])
def test_few_boots_raise_no_more_alarms(boots):
    """Where boots differ by 8 % and no threshold keeps small shifts out, the level does."""
    random = np.random.default_rng(SEED)
    for cells, comparisons, most in ((1, 1, 0.01), (CELLS, NIGHTLY_COMPARISONS, 0.0021)):
        found = sessions(random, Host(0.08), 600, boots, 4, 0.0, cells, comparisons)
        claims = sum(cell.verdict in ("regressed", "improved") for cell in found)
        assert claims / len(found) <= most + 0.008


@pytest.mark.slow
def test_the_tables_are_markdown(capsys, monkeypatch):
    monkeypatch.setattr("bench.benchmarks.rates.QUICK", Sizes(3, 1))
    main(["--quick", "--seed", "3"])
    text = capsys.readouterr().out
    assert text.startswith("## A night\n")
    assert text.count("\n## ") == 4
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.strip().splitlines()}) == 1
