"""A recorded transfer on real QEMU, for tests that judge it and break it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from results.records.recording import Recording

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def recording() -> Recording:
    """A transfer of a guest with pinned RAM."""
    return msgspec.json.decode((DATA / "handover-pinned.json").read_bytes(), type=Recording)
