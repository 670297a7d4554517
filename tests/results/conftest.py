"""Small records for the store and the statistics, made to order."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from results.records.recording import Event, Process, Recording, VcpuBracket
from results.records.run import SCHEMA, CarriedFd, Run, Span, Witnesses
from results.records.scenario import Scenario, Session

SESSION = "20261123-221500-3f2a"
TESTS = Path(__file__).parents[1]
# Stores whose runs were not broken on purpose, one of every mode among them.
_STORES = ("modes", "builds", "transfer")


@pytest.fixture(scope="session")
def real_recordings() -> tuple[Recording, ...]:
    """Real transfers: one of every mode, accelerator and pair of builds, none of them failed."""
    paths = sorted((TESTS / "results" / "data").glob("*.json"))
    texts = [path.read_bytes() for path in paths]
    with tarfile.open(TESTS / "recorded" / "stores.tar.xz") as tar:
        for member in tar:
            if member.name.lstrip("./").split("/")[0] in _STORES and "/raw/" in member.name:
                file = tar.extractfile(member)
                texts += [file.read()] if file is not None else []
    found: dict[tuple[str, ...], Recording] = {}
    for text in texts:
        recording = msgspec.json.decode(text, type=Recording)
        scenario = recording.scenario
        kind = (scenario.mode, scenario.accel, recording.old_build, recording.new_build)
        if recording.probed and not recording.failure:
            found.setdefault(kind, recording)
    return tuple(found.values())


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Run with a plausible value in every kind of field; keywords replace fields."""

    def make(boot: int = 1, update: int = 1, scenario: str = "anon", **fields: Any) -> Run:
        session = fields.pop("session", SESSION)
        blackout = fields.pop("blackout_ns", 4_420_000)
        made: dict[str, Any] = {
            "schema": SCHEMA,
            "id": f"{session}.{scenario}.b{boot:02d}.u{update:02d}",
            "session": session,
            "scenario": scenario,
            "dimensions": "vcpus=2",
            "boot": boot,
            "update": update,
            "started_unix_ns": 1_795_472_100_000_000_000 + update,
            "outcome": "completed",
            "reason": "",
            "old_build": "system",
            "new_build": "system",
            "old_pid": 10,
            "new_pid": 11,
            "blackout_ns": blackout,
            "vcpu_blackouts_ns": (blackout, None),
            "witnesses": Witnesses(kvm=blackout, qemu=2_000_000),
            "spans": (Span("quiesce", "old", 5, 1_205, 1_200, {"faults": 2}),),
            "fds": (CarriedFd("ram0", 0, 1, 2, 3, 4),),
            "warnings": ("µ and “quotes” survive",),
        }
        return Run(**(made | fields))

    return make


@pytest.fixture
def make_recording() -> Callable[[Run], Recording]:
    """The recording that belongs to a run."""

    def make(run: Run) -> Recording:
        return Recording(
            schema=SCHEMA,
            id=run.id,
            session=run.session,
            boot=run.boot,
            update=run.update,
            started_unix_ns=run.started_unix_ns,
            scenario=Scenario(run.scenario, "anon", accel="kvm"),
            old_build=run.old_build,
            new_build=run.new_build,
            old=Process(10, ("qemu", "-name", "old"), (12, 13), "postmigrate", "bye\n"),
            new=Process(11, ("qemu",), (14, 15), "running"),
            steps={"migrate": 100},
            events=(
                Event(1, 10, 10, "vm_stop", "enter", {"arg0": 1 << 63}, "00ff", {"faults": 1}),
            ),
            brackets=(VcpuBracket(0, 12, 14, 5, 9),),
            migrate_info={"downtime": 2},
            tick_ns=0.4761904,
        )

    return make


@pytest.fixture
def make_session() -> Callable[..., Session]:
    def make(session_id: str = SESSION, started: int = 1_795_472_100_000_000_000) -> Session:
        return Session(session_id, started, ("pausebench", "run"), (), {"kernel": "6.12"}, "uprobe")

    return make
