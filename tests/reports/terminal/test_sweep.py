"""The page of a sweep: slopes, those that are not clear, and those that are missing."""

from __future__ import annotations

from reports.terminal.style import Look
from reports.terminal.sweep import growth_page
from results.stats.slopes import Growth, MissingSlope, SizeMedians, Slope


def page(**fields) -> str:
    points = (
        SizeMedians(
            "anon", "cpr-transfer", 0.25, 4, {"blackout": 2_700_000, "handover": 52_000_000}
        ),
        SizeMedians("anon", "cpr-transfer", 1.0, 4, {"blackout": 2_710_000}),
        SizeMedians("anon", "precopy", 1.0, 4, {"blackout": 113_000_000}),
    )
    slopes = (
        Slope("anon", "cpr-transfer", "blackout", False, 13_000, -40_000, 60_000),
        Slope("anon", "cpr-transfer", "state_load", True, 90_000, 50_000, 120_000),
        Slope("anon", "precopy", "blackout", False, 310_000_000, 250_000_000, 340_000_000),
        Slope("anon", "precopy", "ram_setup", True, 90_000, 50_000, 120_000),
    )
    return growth_page(Growth("ram", points, slopes, **fields), Look(width=100)).plain


def test_slopes_with_their_intervals():
    text = page()
    assert "blackout: +0.013 [-0.040, +0.060] ms per GiB: not distinguishable" in text
    assert "blackout: +310 [+250, +340] ms per GiB\n" in text
    assert "phases that grow, ms per GiB: ram setup +0.090 [+0.050, +0.120]" in text
    assert "state load" not in text, "of a blackout that does not grow"


def test_what_is_missing_and_what_failed():
    text = page(failed=3)
    assert "3 runs failed" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("1  "))
    assert row.split()[-1] == "-"
    assert max(map(len, text.splitlines())) <= 100


def test_a_brownout_that_had_not_ended_is_that_long_or_more():
    points = (
        SizeMedians(
            "anon", "cpr-transfer", 1.0, 3, {"blackout": 2, "brownout": 28_000_000}, ("brownout",)
        ),
    )
    missing = MissingSlope("anon", "cpr-transfer", "brownout", "in 2 of 3 boots it had not ended")
    found = Growth("ram", points, (), missing=(missing,))
    text = growth_page(found, Look(width=100)).plain
    assert "28.0 ms or more" in text
    assert "brownout: no slope, in 2 of 3 boots it had not ended" in text
