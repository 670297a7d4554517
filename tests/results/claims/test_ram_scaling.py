"""The growth of the blackout with RAM, compared with the time of a copy."""

from __future__ import annotations

import pytest

from results.claims.ram_scaling import ram_growth
from results.stats.slopes import SizedBoot, growth

MS = 1_000_000


def boots(per_gib_ms: float, scatter_ms: float = 0.01) -> list[SizedBoot]:
    return [
        SizedBoot(
            "anon",
            "cpr-transfer",
            gib,
            {"blackout": int((3 + per_gib_ms * gib + scatter_ms * (number - 1)) * MS)},
            {},
        )
        for gib in (0.25, 1.0, 2.0)
        for number in range(3)
    ]


@pytest.mark.parametrize(
    ("per_gib_ms", "scatter_ms", "found"),
    [
        (0.0, 0.01, "shown"),
        (0.4, 0.01, "shown"),  # per-page bookkeeping
        (190.0, 0.01, "refuted"),  # a copy
        (0.0, 90.0, "not testable"),  # too noisy
    ],
)
def test_growth_compared_with_a_copy(per_gib_ms: float, scatter_ms: float, found: str) -> None:
    result = ram_growth("a", growth("ram", boots(per_gib_ms, scatter_ms)), ("r",), 200.0 * MS)
    assert result.found == found, result.detail
    assert "a copy takes 200 ms per GiB" in result.detail
    assert (result.claim, result.evidence) == (2, ("r",))


def test_one_size_is_not_testable() -> None:
    result = ram_growth("a", growth("ram", boots(0.0)[:3]), (), 200.0 * MS)
    assert result.found == "not testable"
