"""Small records for the store and the statistics, made to order."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from results.records.evidence import Proof
from results.records.observations import DeviceContinuity
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


MAYBE = st.none() | st.integers(1, 10**9)


@pytest.fixture(scope="session")
def any_runs() -> st.SearchStrategy[list[Run]]:
    """Up to 24 runs of two scenarios and builds, any figure known or not; some with a device."""
    return _runs()


@st.composite
def _runs(draw):
    made = []
    for number in range(draw(st.integers(0, 24))):
        failed = draw(st.booleans()) and draw(st.booleans())
        phases = draw(
            st.dictionaries(st.sampled_from(["quiesce", "load", "start"]), st.integers(0, 99))
        )
        verdict = draw(st.sampled_from(["held", "broken", None]))
        device = DeviceContinuity(
            "0000:00:04.0", draw(st.integers(0, 10**9)), None, 0, 0, 0, None, draw(MAYBE), None,
            tuple(draw(st.lists(st.just("lost"), max_size=2))),
        )  # fmt: skip
        made.append(
            Run(
                schema=1, id=f"r{number}", session=draw(st.sampled_from(["s1", "s2"])),
                scenario=draw(st.sampled_from(["anon", "shm"])), dimensions="d",
                boot=draw(st.integers(1, 4)), update=number, started_unix_ns=number,
                outcome="failed" if failed else "completed", reason="r 1" if failed else "",
                old_build="a", new_build=draw(st.sampled_from("ab")), old_pid=1, new_pid=2,
                blackout_ns=draw(MAYBE), vcpu_blackouts_ns=tuple(draw(st.lists(MAYBE, max_size=3))),
                handover_ns=draw(MAYBE), guest_gap_ns=draw(MAYBE), first_progress_ns=draw(MAYBE),
                residual_ns=draw(MAYBE), brownout_ns=draw(MAYBE), brownout_watched_ns=draw(MAYBE),
                witnesses=Witnesses(qemu=draw(MAYBE), guest=draw(MAYBE)),
                spans=tuple(Span(n, "old", 0, 1, v) for n, v in phases.items()),
                proof=None if verdict is None else Proof(verdict, ""),
                device=draw(st.sampled_from([device, None])),
            )
        )  # fmt: skip
    return made
