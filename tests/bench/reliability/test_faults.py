"""Every fault leaves the guest where it may be, is named, and is over soon."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import cli
from bench.measurement.scenarios import BUILTIN, find_scenario, resolve
from bench.measurement.session import open_session
from bench.reliability.faults import (
    RAM_BYTES,
    VCPUS,
    FaultTrials,
    all_faults,
    one_per_phase,
)
from bench.reliability.injection import Injectors
from results.records.run import Run
from results.records.scenario import Build
from results.store.store import open_store
from results.summary.failures.faults import PHASES, FaultRow
from runners.builds.discover import default_build

LONGEST_S = 35.0
BUILD = Build("b", "/usr/bin/qemu", "10.0.2", "id", "sum", ("/usr/bin/qemu",))


class Silent:
    planned = None

    def doing(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, run: Run) -> None: ...
    def skipped(self, updates: int) -> None: ...


@pytest.fixture(scope="module")
def store() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def tried(store: Path, *names: str) -> list[FaultRow]:
    """The faults of these names, `phase: name`, on this host's QEMU."""
    build = default_build()
    faults = [f for f in all_faults([build]) if f"{f.phase}: {f.name}" in names]
    assert len(faults) == len(names)
    anon = replace(find_scenario("anon", BUILTIN), ram_bytes=RAM_BYTES, vcpus=VCPUS)
    scenario = resolve(anon)
    with (
        open_store(store) as opened,
        open_session([scenario], [build], opened, Silent(), ["pytest"], {}) as live,
        Injectors([build]) as injectors,
    ):
        rows = asyncio.run(FaultTrials(live.experiment, scenario, [build], injectors).run(faults))
        live.status = 0
    return rows


# -- which faults ---------------------------------------------------------------------------------


def test_every_phase_has_both_qemus_killed_and_stopped() -> None:
    for phase in PHASES:
        names = {fault.name for fault in all_faults([BUILD]) if fault.phase == phase}
        assert {"old killed", "old stopped", "new killed", "new stopped"} <= names


def test_the_short_choice_has_one_fault_per_phase() -> None:
    assert [fault.phase for fault in one_per_phase(all_faults([BUILD]))] == list(PHASES)


def test_a_second_build_adds_the_backward_update() -> None:
    more = set(all_faults([BUILD, replace(BUILD, label="newer")])) - set(all_faults([BUILD]))
    assert [fault.backward for fault in more] == [True]


# -- on real guests -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.bpf
def test_one_fault_per_phase_by_the_command(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["faults", "--quick", "--json", "--store", str(store)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["phase"] for row in document["rows"]] == list(PHASES)
    for row in document["rows"]:
        assert row["as_expected"], row
        assert row["reason"].startswith("new QEMU was killed by signal 9 (SIGKILL)"), row
        assert row["exit_status"] == 3
        assert row["took_s"] < LONGEST_S
    early = [row for row in document["rows"] if row["phase"] in ("start", "cpr-state", "hold")]
    assert {(row["where"], row["pause_ns"]) for row in early} == {("old", 0)}


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.bpf
def test_a_guest_that_was_stopped_comes_back_and_its_pause_is_measured(store: Path) -> None:
    """With a return path old QEMU waits for new, so that it can take the guest back."""
    rows = tried(
        store,
        "load: new killed, return path",
        "load: new stopped, return path",
        "load: new lacks a device, return path",
    )
    for row in rows:
        assert (row.where, row.as_expected) == ("old", True), row
        assert row.pause_ns is not None
        assert row.pause_ns > 0
        assert row.giving_up
        assert row.giving_up_ns is not None
        assert row.giving_up_ns > 0
    killed, stopped, _ = sorted(rows, key=lambda row: names_in_order(row.fault))
    assert killed.pause_ns < 2_000_000_000 < stopped.pause_ns, "it is stopped for seconds"
    with open_store(store) as opened:
        for row in rows:
            run = opened.run(row.run)
            assert run.outcome == "failed"
            assert run.ram is not None
            assert run.ram.bad_pages == 0
            assert run.rollback is not None
            assert run.rollback.pause_ns == max(p for p in run.rollback.vcpu_pauses_ns if p)


def names_in_order(name: str) -> int:
    return ["killed", "stopped", "device"].index(
        next(w for w in ("killed", "stopped", "device") if w in name)
    )


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.bpf
def test_a_monitor_that_talks_nonsense_is_no_traceback(store: Path) -> None:
    rows = tried(
        store,
        "start: old's monitor nonsense",
        "cpr-state: new's monitor nonsense",
        "hold: new's monitor nonsense",
        "load: new's monitor nonsense",
        "resumed: old's monitor nonsense",
    )
    for row in rows:
        assert "does not speak QMP any more" in row.reason, row
        assert row.as_expected, row
        assert row.took_s < 10


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.bpf
def test_sockets_whose_path_is_too_long(store: Path) -> None:
    (row,) = tried(store, "start: socket path too long")
    assert (row.where, row.pause_ns) == ("old", 0)
    assert "too long" in row.reason
