"""Values on the command line: sizes and budgets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.arguments import TimeBudget, parse_budget, parse_size
from bench.cli import main
from results.errors import UsageError
from results.records.scenario import GIB, MIB

# -- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256M", 256 * MIB),
        ("1G", GIB),
        ("1.5G", 1536 * MIB),
        ("512m", 512 * MIB),
        ("1GiB", GIB),
        ("2 GB", 2 * GIB),
        ("64K", 65536),
        ("1T", 1 << 40),
        ("1073741824", GIB),
        (" 1G ", GIB),
        ("0", 0),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "G", "1X", "-1G", "1,5G", "1GG", "0x10", "1e9", "one", "1 G B"]
)
def test_malformed_sizes(text: str) -> None:
    with pytest.raises(UsageError, match=r"invalid size `.*`: expected e\.g\. 256M or 1G"):
        parse_size(text)


def test_number_beyond_any_memory_is_still_a_usage_error() -> None:
    with pytest.raises(UsageError):
        parse_size("9" * 400 + "G")


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert parse_size(text) >= 0


@given(st.integers(0, 1 << 30), st.sampled_from("KMGT"))
def test_whole_sizes_are_exact(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number << {"K": 10, "M": 20, "G": 30, "T": 40}[unit]


# -- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("50", TimeBudget("*", 50_000_000)),
        ("4.0015", TimeBudget("*", 4_001_500)),
        ("1e3", TimeBudget("*", 1_000_000_000)),
        ("50:99", TimeBudget("*", 50_000_000, 0.99)),
        ("anon=0.5:100", TimeBudget("anon", 500_000, 1.0)),
        ("anon@precopy=8ms", TimeBudget("anon@precopy", 8_000_000)),
        ("10ms", TimeBudget("*", 10_000_000)),
        ("500us:99.5", TimeBudget("*", 500_000, 0.995)),
        ("500µs", TimeBudget("*", 500_000)),
        ("1.5 s", TimeBudget("*", 1_500_000_000)),
        ("0.25ms", TimeBudget("*", 250_000)),
    ],
)
def test_budgets(text: str, found: TimeBudget) -> None:
    assert parse_budget(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "nan", "inf", "1e9", "50:0", "50:101", "50:x", "=5", "a=b", "5:", "ms", "-1ms",
     "0ms", "1e3ms", "10 min", "1.2.3s"],
)  # fmt: skip
def test_malformed_budgets(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected \[SCENARIO=\]TIME\[:PERCENT\], e.g. 10ms"):
        parse_budget(text)


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert parse_budget(text).limit_ns > 0


@pytest.mark.parametrize("words", ["run anon", "compare system system", "report"])
def test_a_wrong_budget_is_one_line_in_every_command(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--budget", "soon"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "invalid budget `soon`: expected [SCENARIO=]TIME[:PERCENT]" in said
