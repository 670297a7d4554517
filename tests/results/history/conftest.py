"""Stores with synthetic nights."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from results.records.scenario import Build, Session
from results.store.store import Store, open_store

DAY = 86_400 * 10**9
START = 1_795_472_100_000_000_000
HOST = {"host": "h", "kernel": "6.12", "microcode": "0x1", "governor": "powersave"}


def build(label: str, version: str = "11.1.2", **facts: str) -> Build:
    return Build(label, "qemu", version, facts.pop("build_id", "id0"), facts.pop("sha256", "aa"),
                 ("qemu",), **facts)  # fmt: skip


class Nights:
    """Adds nights to a store, numbered from 0; runs of one update a boot."""

    def __init__(self, store: Store, make_run, make_recording) -> None:
        self.store = store
        self._make_run = make_run
        self._make_recording = make_recording

    def add(
        self,
        number: int,
        ms: float,
        *,
        boots: int = 3,
        builds: tuple[Build, ...] = (build("next"),),
        measured: tuple[str, ...] | None = None,
        tier: str = "uprobe",
        command: tuple[str, ...] = ("pausebench", "run"),
        outcome: str = "completed",
        suffix: str = "3f2a",
        scenario: str = "anon",
        **facts: str,
    ) -> Session:
        """A session at `ms`; `measured` are the labels with runs, all by default."""
        started = START + number * DAY
        stamp = np.datetime64(started, "ns").astype("datetime64[s]").item()
        session = Session(f"{stamp:%Y%m%d-%H%M%S}-{suffix}", started, command, builds,
                          HOST | facts, tier)  # fmt: skip
        self.store.add_session(session)
        for label in measured or [each.label for each in builds]:
            for boot in range(1, boots + 1):
                blackout = round(ms * 1e6) + 1_000 * boot
                run = self._make_run(
                    boot, session=session.id, scenario=scenario, old_build=label, new_build=label,
                    id=f"{session.id}.{scenario}+{label}.b{boot:02d}.u01", blackout_ns=blackout,
                    outcome=outcome, started_unix_ns=started + boot,
                )  # fmt: skip
                self.store.add_run(run, self._make_recording(run))
        return session

    def add_level(self, first: int, count: int, ms: float, seed: int = 1, **options) -> None:
        """Nights that scatter by 1 % around `ms`."""
        for number, factor in enumerate(np.random.default_rng(seed).normal(1.0, 0.01, count)):
            self.add(first + number, ms * factor, **options)


@pytest.fixture
def nights(tmp_path, make_run, make_recording) -> Iterator[Nights]:
    with open_store(tmp_path / "store") as store:
        yield Nights(store, make_run, make_recording)


@pytest.fixture
def new_nights(tmp_path, make_run, make_recording) -> Iterator[Callable[[str], Nights]]:
    """Another store by its name."""
    opened = []

    def make(name: str) -> Nights:
        opened.append(open_store(tmp_path / name))
        return Nights(opened[-1], make_run, make_recording)

    yield make
    for store in opened:
        store.close()
