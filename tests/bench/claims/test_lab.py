"""Claims in the lab: which builds its QEMU represents."""

from __future__ import annotations

import pytest

from bench.claims.lab import release


@pytest.mark.parametrize(
    ("package", "expected"),
    [("1:11.1.3+ds-1~bpo13+1", "11.1.3"), ("11.1.3+ds-1", "11.1.3"), ("odd", "odd")],
)
def test_release_of_a_package(package: str, expected: str) -> None:
    assert release(package) == expected
