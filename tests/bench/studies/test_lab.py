"""The lab from the command line: real transfers of a guest with a real assigned device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.claims.lab import DEVICES
from bench.claims.vfio_devices import judged
from bench.cli import main
from bench.studies import lab
from results.claims.document import ClaimsDocument, read_claims, write_claims
from results.claims.hotplug import ANSWER
from results.claims.transfer_checks import VFIO_IDS, VFIO_PINS
from results.claims.transfer_verdict import JudgedTransfer
from results.instrument import certificates
from results.records.scenario import Session
from results.store.store import open_store
from runners.lab import recipe
from runners.lab.boot import Finished
from runners.lab.root import current_root

MAPPED = '[scenario.mapped]\nlike = "vfio-iommufd"\nno_mmap = false\n'


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """type1, iommufd, and iommufd in a way that QEMU refuses, in one lab."""
    directory = tmp_path_factory.mktemp("lab")
    (directory / "mine.toml").write_text(MAPPED)
    argv = [
        *(sys.executable, "-m", "bench", "lab", "run", "vfio-type1", "vfio-iommufd", "mapped"),
        *("--scenarios", str(directory / "mine.toml"), "--store", str(directory / "out")),
        *("--updates", "1", "--json"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 3, done.stderr  # the one that cannot be done
    found: dict[str, Any] = json.loads(done.stdout)
    found["store"] = directory / "out"
    return found


def run_of(document: dict[str, Any], scenario: str) -> dict[str, Any]:
    return next(run for run in document["runs"] if run["scenario"] == scenario)


@pytest.mark.lab
@pytest.mark.qemu
@pytest.mark.parametrize("scenario", ["vfio-type1", "vfio-iommufd"])
def test_a_guest_with_a_device_is_updated_and_proven(
    document: dict[str, Any], scenario: str
) -> None:
    run = run_of(document, scenario)
    assert run["outcome"] == "completed", run["reason"]
    assert run["proof"]["verdict"] == "held", run["proof"]["reason"]
    checks = {check["name"]: check["state"] for check in run["proof"]["checks"]}
    for name in ("RAM in place", "descriptors", "pin events", "DMA mappings", "device DMA"):
        assert checks[name] == "held"
    assert ("locked memory" in checks) is (scenario == "vfio-type1")
    caught = {control["name"]: control["caught"] for control in run["proof"]["controls"]}
    assert caught["VFIO pins let go"]
    assert run["blackout_ns"] > 0
    spans = {span["name"]: span for span in run["spans"]}
    assert spans["vfio_handover"]["end_ns"] >= spans["vfio_handover"]["start_ns"]
    assert run["phases"]["vfio_remap"] > 0


@pytest.mark.lab
@pytest.mark.qemu
@pytest.mark.parametrize("scenario", ["vfio-type1", "vfio-iommufd"])
def test_the_device_keeps_working(document: dict[str, Any], scenario: str) -> None:
    device = run_of(document, scenario)["device"]
    assert device["operations"] >= 2
    assert (device["wrong"], device["silent"], device["faults"]) == (0, 0, 0)
    assert device["troubles"] == []
    # edu takes 100 ms for each, so that a gap is no shorter whatever the guest does.
    assert device["longest_gap_ns"] >= 90_000_000


@pytest.mark.lab
@pytest.mark.qemu
def test_claims_about_devices_are_shown(document: dict[str, Any]) -> None:
    with open_store(document["store"], create=False) as store:
        runs = [store.run(run_of(document, name)["id"]) for name in ("vfio-type1", "vfio-iommufd")]
        found = judged(runs, store, "system")
        assert [(f.claim, f.found) for f in found] == [(3, "shown"), (11, "shown")] * 2, found
        # type1 alone has descriptors under other ids than 0: those of the group.
        assert "vfio_group" in found[1].detail
        assert "iommufd0 0" in found[3].detail
        for run in runs:
            for check in (VFIO_PINS, VFIO_IDS):
                broken = check.breaking(store.recording(run.id))
                assert check.examine(JudgedTransfer.of(broken)).state == "broken"


@pytest.mark.lab
@pytest.mark.qemu
def test_names_hold_when_assigned_devices_are_plugged_and_unplugged(
    document: dict[str, Any], tmp_path: Path
) -> None:
    """`document` has built the lab."""
    root = current_root()
    assert root is not None
    with open_store(tmp_path) as store:
        _, found = lab.claims(root, DEVICES, 300, store, ["pausebench", "claims"])
        decided = {f.test: f for f in found.findings if f.claim}
        assert {f.found for f in decided.values()} == {"shown"}, decided
        for way in ("type1", "iommufd"):
            assert decided[f"{ANSWER} ({way})"].claim == 12
            (second,) = (
                f
                for f in found.findings
                if f"by {way}: two plugged" in f.test and "only the second" in f.test
            )
            seen = store.run(second.evidence[0]).plugging
            assert seen is not None
            assert not seen.afresh
            gone = set(seen.kept_before) - set(seen.kept)
            assert f"{recipe.address_of(0)} 0" in gone
            assert any(name.startswith("vfio_group ") for name in gone) is (way == "type1")
            assert f"{recipe.address_of(1)} 0" in seen.asked


@pytest.mark.lab
@pytest.mark.qemu
def test_what_qemu_refuses_is_named(document: dict[str, Any]) -> None:
    run = run_of(document, "mapped")
    assert run["outcome"] == "failed"
    assert "[iommufd-mapped-bars: " in run["reason"]


@pytest.mark.lab
@pytest.mark.qemu
def test_the_session_is_stored_as_one_of_the_lab(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert document["environment"]["lab"].startswith("TCG of QEMU ")
    with open_store(document["store"], create=False) as store:
        session = store.session(store.session_ids()[-1])
        assert session.environment["lab"] == document["environment"]["lab"]
        assert session.command[1:3] == ("lab", "run")
        assert len(store.runs(session=session.id)) == 3
    good = run_of(document, "vfio-type1")["id"]
    # Judged again from what was brought back, without the lab.
    assert main(["replay", good, "--store", str(document["store"])]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("command", [["pausebench", "lab", "run"], ["pausebench", "claims"]])
def test_a_session_is_imported_completely(tmp_path: Path, command: list[str]) -> None:
    """But not the claims document of a session that is part of another's claims."""
    session = Session("20261123-221500-3f2a", 5, ("python3", "-m", "bench"), (), {"lab": "TCG"})
    with open_store(tmp_path / "lab") as made:
        made.add_session(session)
        made.finish_session(session.id, 6, 0)
        write_claims(made.path, ClaimsDocument(1, session.id, 1, 1, {}, (), ()))
    finished = Finished(0, tmp_path / "lab", "", "")
    with open_store(tmp_path / "out") as store:
        wanted = (certificates.DOCUMENTS,) if "claims" in command else lab.DOCUMENTS
        found, runs = lab._import_session(finished, store, command, wanted)
        assert found.command == tuple(command)
        assert store.session_end(session.id).exit_code == 0
        assert runs == []
        assert (read_claims(store.path, session.id) is None) == ("claims" in command)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["lab", "run", "vfio-typo"], "unknown scenario `vfio-typo`"),
        (["lab", "run", "vfio-iommufd", "--legacy-only"], "--legacy-only leaves out"),
        (["lab", "run", "--assign", "gpu"], "the lab has no device `gpu`"),
        (["run", "vfio-type1", "--accel", "tcg"], "choose the PCI device to assign"),
        (["run", "anon", "--device", "01:00.0"], "--device needs a scenario that assigns devices"),
        (["run", "vfio-type1", "--device", "x"], "invalid PCI address `x`"),
    ],
)
def test_bad_input_is_one_line(
    argv: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "out")]
    assert main([*argv, *store]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
