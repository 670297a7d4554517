"""Plans of calibrate, overhead and sweep that could judge nothing are refused before measuring."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.cli import main


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["calibrate", "anon", "--boots", "1", "--rounds", "2"], "--rounds"),
        (["calibrate", "anon", "--boots", "2", "--rounds", "1", "--level", "1"], "--rounds"),
        (["overhead", "anon", "--boots", "2"], "takes"),
        (["sweep", "vcpus", "--values", "1", "2", "3", "--boots", "1"], "--boots"),
    ],
)
def test_a_plan_that_could_judge_nothing_is_refused_with_the_number_needed(
    words: list[str], option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--accel", "tcg", "--store", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "too few" in error
    assert re.search(rf"{option} \d+$", error.strip()), error
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("levels", "rounds"), [(["--level", "1", "--level", "5"], 5), ([], 6)], ids=["2", "default"]
)
def test_calibrate_needs_more_updates_for_more_lengths(
    levels: list[str], rounds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their intervals hold together, so each needs more confidence."""
    words = ["calibrate", "anon", "--accel", "tcg", "--boots", "1", "--rounds", "4", *levels]
    assert main([*words, "--store", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err.strip().endswith(f"--rounds {rounds}")
