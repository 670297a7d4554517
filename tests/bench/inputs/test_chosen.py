"""What shared options select."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

import bench.cli
from bench.cli import main
from bench.inputs.chosen import check_labels
from bench.measurement import scenarios
from bench.measurement.scenarios import BUILTIN
from results.denial import Denial
from results.errors import HostUnfit, UsageError
from results.records.scenario import Accelerator, Build


def test_labels_must_differ() -> None:
    one = Build("one", "/x", "10.0.2", "id", "sha", ("/x",))
    assert check_labels([one, replace(one, label="two")])
    with pytest.raises(UsageError, match="two builds have the label `one`"):
        check_labels([one, one])


# --- without KVM --------------------------------------------------------------------------------

REFUSED = Denial("/dev/kvm: No such file or directory", "modprobe kvm_intel")


@pytest.fixture
def without_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios, "kvm", lambda: REFUSED)
    monkeypatch.setattr(scenarios, "check_room", lambda scenario: None)


def test_without_kvm_a_run_falls_back_to_tcg(without_kvm: None) -> None:
    assert scenarios.resolve(BUILTIN[0]).accel == "tcg"


@pytest.mark.parametrize(("accel", "falls_back"), [("auto", False), ("kvm", True)])
def test_where_kvm_is_needed_its_absence_has_a_cause_and_a_fix(
    without_kvm: None, accel: Accelerator, falls_back: bool
) -> None:
    with pytest.raises(HostUnfit, match=f"{REFUSED.reason}: {REFUSED.fix}; or .*--accel tcg"):
        scenarios.resolve(replace(BUILTIN[0], accel=accel), falls_back=falls_back)


def test_tcg_that_was_requested_is_not_refused(without_kvm: None) -> None:
    requested = replace(BUILTIN[0], accel="tcg")
    assert scenarios.resolve(requested, falls_back=False) == requested


def test_nightly_does_not_fall_back_to_tcg(
    without_kvm: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "nightly.toml"
    config.write_text((Path(bench.cli.__file__).parent / "examples/nightly.toml").read_text())
    assert main(["nightly", "--check", str(config)]) == 4
    assert REFUSED.reason in capsys.readouterr().err


@pytest.mark.qemu
@pytest.mark.skipif(os.geteuid() != 0, reason="compare needs root")
def test_compare_does_not_fall_back_to_tcg(
    without_kvm: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "system", "anon", "--aa", "--store", str(tmp_path / "store")]
    assert main(words) == 4
    said = capsys.readouterr()
    assert REFUSED.reason in said.err
    assert said.out == ""
