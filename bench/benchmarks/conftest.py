"""One session for all benchmarks of a pytest run: probes are loaded once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.measurement.loading import DEFAULT_WATCH, Watch
from bench.measurement.scenarios import PLAIN, resolve
from bench.measurement.session import LiveSession, open_session
from results.errors import HostUnfit
from results.records.run import Run
from results.store.store import open_store
from runners.builds.discover import default_build


class Silent:
    """pytest-benchmark shows its own progress."""

    def doing(self, what: str) -> None: ...

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def finished(self, run: Run) -> None: ...
    def skipped(self, updates: int) -> None: ...

    planned = None


@contextmanager
def live_session(watch: Watch = DEFAULT_WATCH) -> Iterator[LiveSession]:
    """A session on the system's QEMU; PAUSEBENCH_STORE is its store (default: out/)."""
    if os.geteuid() != 0:
        pytest.skip("BPF probes and guest RAM need root")
    try:
        build = default_build()
        scenarios = [resolve(scenario) for scenario in PLAIN]
    except HostUnfit as error:
        pytest.skip(str(error))
    directory = Path(os.environ.get("PAUSEBENCH_STORE", "out"))
    extra = {"seed": "none: as listed"}
    command = ["pytest", "bench"]
    with (
        open_store(directory) as store,
        open_session(scenarios, [build], store, Silent(), command, extra, watch) as session,
    ):
        yield session
        session.status = 0


@pytest.fixture(scope="session")
def live() -> Iterator[LiveSession]:
    with live_session() as session:
        yield session
