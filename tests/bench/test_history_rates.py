"""The rates of a history that are promised, by simulation in its quick form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.benchmarks.history_rates import (
    ARS,
    LEVEL_NIGHTS,
    LONG,
    QUICK,
    SD,
    SEED,
    Sizes,
    announced,
    drift,
    level,
    main,
    noise,
    step,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "rates-history.md"


@pytest.mark.parametrize("ar", [0.0, 0.5])
def test_nights_scatter_as_they_are_told(ar):
    values = noise(np.random.default_rng(1), 20_000, ar)
    assert np.std(values) == pytest.approx(SD, rel=0.03)
    assert np.corrcoef(values[1:], values[:-1])[0, 1] == pytest.approx(ar, abs=0.02)


def test_a_night_is_counted_from_the_first_of_the_change():
    logs = noise(np.random.default_rng(1), LEVEL_NIGHTS + 20, 0.0)
    logs[LEVEL_NIGHTS:] += np.log(2.0)
    (change,) = announced(logs, LEVEL_NIGHTS - 2)
    # A level has three nights, of which the night before may be one; three have to find it.
    assert (change.at, change.found_on) == (LEVEL_NIGHTS, LEVEL_NIGHTS + 1)
    assert set(step(1, 5, 0.0, 100.0).named) == {4}


def test_the_documentation_is_of_these_sizes():
    text = " ".join(DOCUMENT.read_text("utf-8").split())
    assert f"seed {SEED}, {LONG.years} years and {LONG.series} series for each rate" in text


# By the quick form, of which a share of 5 % has an error of 4 %


@pytest.mark.slow
@pytest.mark.parametrize("ar", ARS)
def test_few_years_have_a_false_change(ar):
    assert level(SEED, QUICK.years, ar).false <= 0.05 + 0.08


@pytest.mark.slow
@pytest.mark.parametrize(("ar", "nights"), [(0.0, 8), (0.3, 8), (0.5, 15)])
def test_a_step_of_ten_percent_is_confirmed_soon(ar, nights):
    assert step(SEED, QUICK.series, ar, 10.0).any_within(nights) >= 0.95 - 0.06


@pytest.mark.slow
@pytest.mark.parametrize("ar", [0.0, 0.3])
def test_a_drift_of_one_percent_a_week_is_called_one_within_eight_weeks(ar):
    assert drift(SEED, QUICK.series, ar, 1.0, LEVEL_NIGHTS).within(56) >= 0.80 - 0.05


def test_the_tables_are_markdown(capsys, monkeypatch):
    monkeypatch.setattr("bench.benchmarks.history_rates.QUICK", Sizes(1, 2))
    main(["--quick", "--seed", "3"])
    text = capsys.readouterr().out
    assert text.count("## ") == 3
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.strip().splitlines()}) == 1
