"""Options that several commands share."""

from __future__ import annotations

import argparse

import pytest

from bench.arguments import duration
from bench.cli import main


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("10ms", 10_000_000),
        ("500us", 500_000),
        ("500µs", 500_000),
        ("1.5 s", 1_500_000_000),
        ("0.25ms", 250_000),
    ],
)
def test_a_time_in_its_units(text: str, ns: int) -> None:
    assert duration(text) == ns


@pytest.mark.parametrize("text", ["", "10", "ms", "-1ms", "0ms", "1e3ms", "10 min", "1.2.3s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time like 10ms"):
        duration(text)


def test_a_wrong_budget_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "anon", "--budget", "soon"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "`soon` is no time like 10ms" in said
