"""A small sweep on real guests, with a precopy, and what it refuses."""

from __future__ import annotations

import json

import pytest

from bench.cli import main

ARGUMENTS = ["--boots", "2", "--updates", "1", "--json"]


@pytest.mark.bpf
@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize("accel", [pytest.param("kvm", marks=pytest.mark.kvm), "tcg"])
def test_ram_with_a_precopy(tmp_path, capsys, accel):
    values = ["--values", "64M", "96M", "128M"]
    main(["sweep", "ram", "--accel", accel, "--store", str(tmp_path), *values, *ARGUMENTS])
    found = json.loads(capsys.readouterr().out)
    assert (found["dimension"], found["unit"]) == ("ram", "GiB")
    seen = {(p["mode"], p["value"]) for p in found["points"]}
    # a busy host may have lost one
    assert len({value for mode, value in seen if mode == "cpr-transfer"}) >= 2
    assert len({value for mode, value in seen if mode == "precopy"}) >= 2
    assert all(p["metrics"]["blackout"] > 0 for p in found["points"])


@pytest.mark.bpf
@pytest.mark.qemu
@pytest.mark.slow
def test_spare_devices_are_carried(tmp_path, capsys):
    values = ["--values", "0", "2", "4"]
    arguments = ["--no-precopy", "--accel", "tcg", "--store", str(tmp_path), *values, *ARGUMENTS]
    main(["sweep", "devices", *arguments])
    found = json.loads(capsys.readouterr().out)
    assert {p["mode"] for p in found["points"]} == {"cpr-transfer"}
    assert len(found["points"]) >= 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["ram", "--values", "1G", "2G"], "3 different values"),
        (["ram", "--values", "1", "2", "3"], "too little"),
        (["vcpus", "--values", "1", "2", "many"], "expected integers"),
        (["devices", "--values", "0", "1", "99"], "spare devices"),
        (["ram", "nonesuch"], "unknown scenario"),
    ],
)
def test_refuses_in_one_line(capsys, tmp_path, arguments, word):
    assert main(["sweep", *arguments, "--accel", "tcg", "--store", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()
