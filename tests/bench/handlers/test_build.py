"""`pausebench build`: its output as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import bench.handlers.build
from bench.cli import main
from results.errors import BuildUnfit, HostUnfit
from results.records.scenario import Build
from runners.builds import catalogue

SYSTEM = Build(
    label="system",
    binary="/usr/bin/qemu-system-x86_64",
    version="10.0.2 (Debian 1:10.0.2+ds-2)",
    build_id="ab12",
    sha256="5ha",
    launcher=("/usr/bin/qemu-system-x86_64",),
    cpr_modes=("cpr-reboot", "cpr-transfer"),
)
MACHINES = ("pc-q35-9.2", "pc-q35-10.0", "q35")


@pytest.fixture(autouse=True)
def host(tmp_path, monkeypatch):
    """A host with a system QEMU, an empty cache, and one build at tmp_path/mine."""
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("PAUSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bench.handlers.build, "default_build", lambda: SYSTEM)
    monkeypatch.setattr(bench.handlers.build, "known_machines", lambda build: MACHINES)

    def discover(path, label=""):
        if not str(path).endswith("mine"):
            raise BuildUnfit(f"{path}: no such file or directory")
        version = "11.1.50"
        return replace(SYSTEM, label=label or f"qemu-{version}", version=version, binary=str(path))

    monkeypatch.setattr(catalogue, "discover", discover)
    return tmp_path


def test_add_prints_the_label_alone(host, capsys):
    assert main(["build", "add", str(host / "mine")]) == 0
    said = capsys.readouterr()
    assert said.out == "qemu-11.1.50\n"
    assert said.err == "build: added qemu-11.1.50: QEMU 11.1.50\n"


def test_list(host, capsys):
    main(["build", "add", str(host / "mine"), "--label", "night"])
    capsys.readouterr()
    assert main(["build", "list"]) == 0
    headline, system, mine = (line.split() for line in capsys.readouterr().out.splitlines())
    assert headline == ["LABEL", "QEMU", "FROM", "ADDED"]
    assert system == ["system", "10.0.2", SYSTEM.binary]
    assert mine[:3] == ["night", "11.1.50", str(host / "mine")]


def test_an_empty_list_says_how_to_add_a_build(capsys):
    main(["build", "list"])
    assert "pausebench build add debian:SUITE" in capsys.readouterr().out


def test_a_host_without_qemu_has_a_list_too(monkeypatch, capsys):
    def none():
        raise HostUnfit("none")

    monkeypatch.setattr(bench.handlers.build, "default_build", none)
    assert main(["build", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["builds"] == []


def test_list_as_json(host, capsys):
    main(["build", "add", str(host / "mine"), "--label", "night"])
    (host / "mine").rmdir()
    capsys.readouterr()
    assert main(["build", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["cache"] == str(host / "cache")
    system, night = document["builds"]
    assert (system["label"], system["spec"], system["present"]) == ("system", "system", True)
    assert (night["label"], night["version"], night["present"]) == ("night", "11.1.50", False)
    assert set(system) <= set(night)
    main(["build", "list"])
    assert f"{host / 'mine'} (gone)" in capsys.readouterr().out


def test_show(host, capsys):
    main(["build", "add", str(host / "mine"), "--label", "night"])
    capsys.readouterr()
    assert main(["build", "show", "night"]) == 0
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["QEMU"].strip() == "11.1.50"
    assert lines["machines"].strip() == "3 types, newest q35: pc-q35-10.0"
    assert lines["CPR modes"].strip() == "cpr-reboot, cpr-transfer"
    assert "package" not in lines  # it is of none
    assert main(["build", "show", "system", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["machines"] == list(MACHINES)
    assert document["launcher"] == list(SYSTEM.launcher)


def test_show_names_the_marks_that_cannot_be_probed(monkeypatch, capsys):
    build = replace(SYSTEM, missing_marks=("load", "setup"))
    monkeypatch.setattr(bench.handlers.build, "default_build", lambda: build)
    main(["build", "show", "system"])
    assert "no function for load, setup" in capsys.readouterr().out


def test_remove(host, capsys):
    main(["build", "add", str(host / "mine"), "--label", "night"])
    assert main(["build", "remove", "night"]) == 0
    capsys.readouterr()
    assert main(["build", "remove", "night"]) == 2
    assert capsys.readouterr().err == (
        "pausebench: unknown build `night`; none was added yet (`pausebench build add`)\n"
    )
    assert (host / "mine").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build"], "required: ACTION"),
        (["build", "add"], "required: SPEC"),
        (["build", "add", "debian:"], "expected debian:SUITE"),
        (["build", "add", "/nonexistent"], "/nonexistent: no such file"),
        (["build", "show", "nosuch"], "unknown build `nosuch`"),
    ],
)
def test_bad_requests_end_in_one_line_and_status_2(words, said, capsys):
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code
    captured = capsys.readouterr()
    assert status == 2
    assert said in captured.err
    assert captured.err.count("\n") == 1
