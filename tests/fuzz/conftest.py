"""How many cases are tried, within which memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import hostile
import pytest


def pytest_configure(config: pytest.Config) -> None:
    hostile.CASES = config.getoption("--fuzz-cases")


@pytest.fixture(autouse=True, scope="module")
def bounded() -> Iterator[None]:
    """No case may take 1 GiB, and the interpreter itself writes nothing."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    with hostile.limited_memory():
        yield
    sys.dont_write_bytecode = before
