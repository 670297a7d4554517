"""The command line: exit statuses, one-line errors, and never a traceback for bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bench.cli
import bench.measurement.scenarios
from bench.cli import COMMANDS, main
from results.errors import BuildUnfit, HostUnfit, PausebenchError

ROOT = Path(bench.cli.__file__).parents[1]


def pausebench(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("PAUSEBENCH_DEBUG", None)
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_the_commands_and_the_exit_statuses(tmp_path: Path) -> None:
    done = pausebench("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name, text in COMMANDS.items():
        assert name in done.stdout
        assert text.split()[0] in done.stdout
    words = " ".join(done.stdout.split())
    assert "exit status: 0 all runs valid, 2 usage, 3 a run failed, 4 host unfit" in words


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    words = f"{command} --help".split()
    code = (
        f"import sys; words = {words}\n"
        "from bench.cli import main\n"
        "try: main(words)\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'bcc', 'sqlalchemy', 'rich', 'psutil', 'scipy', 'qemu'}\n"
        "mine = {n for n in sys.modules if n.startswith(('bench.', 'runners', 'probes'))}\n"
        "light = 'cli', 'streams', 'system_errors', 'arguments', 'commands', 'entry'\n"
        "light = tuple(f'bench.{name}' for name in light)\n"
        "signals = {'runners', 'runners.system', 'runners.system.signals'}\n"
        "heavy |= {name for name in mine - signals if not name.startswith(light)}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_has_its_arguments_and_its_handler() -> None:
    for room in ("commands", "handlers"):
        modules = {path.stem for path in (ROOT / "bench" / room).glob("*.py")}
        assert set(COMMANDS) <= modules


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: pausebench {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_and_how_it_is_called(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    description = text.split("\n\n")[1]
    assert len(description) > 100
    assert max(map(len, description.splitlines())) <= 80  # prose is wrapped
    assert f"\nexamples:\n  pausebench {command}" in text


def test_version(tmp_path: Path) -> None:
    done = pausebench("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("pausebench ")


def test_list_as_a_table_and_as_json(tmp_path: Path) -> None:
    done = pausebench("list", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hugetlb-2m" in done.stdout
    file = tmp_path / "mine.toml"
    file.write_text('[scenario.mine]\nlike = "anon"\nram = "1G"\n')
    done = pausebench("list", "--json", "--scenarios", str(file), cwd=tmp_path)
    found = {s["id"]: s for s in json.loads(done.stdout)["scenarios"]}
    assert {"anon", "memfd", "shm", "hugetlb-2m", "hugetlbfs", "mine"} <= set(found)
    assert found["mine"]["ram_bytes"] == 1 << 30


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run nonsense", "unknown scenario `nonsense`; known: anon"),
        ("run memfb", "did you mean `memfd`?"),
        ("run anon --ram lots", "invalid size `lots`"),
        ("run anon --ram 30M", "30 MiB of RAM is too little"),
        ("run anon --ram 900T", "but the host has only"),
        ("run anon --ram 65537K", "RAM must be a multiple of 2 MiB"),
        ("run anon --vcpus 256", "256 vCPUs: expected 1 to 255"),
        ("run anon --touched 1.5", "touched is 1.5: expected a share from 0 to 1"),
        ("run anon --scenarios absent.toml", "absent.toml: cannot be read as TOML"),
        ("run anon --build x=/bin/true", "/bin/true"),
        ("run anon --build x=/nonexistent", "/nonexistent"),
        ("list --scenarios absent.toml", "absent.toml: cannot be read as TOML"),
        ("show worst", "out"),
        ("replay worst", "out"),
    ],
)
def test_bad_input_is_one_line_and_status_2(words: str, said: str, tmp_path: Path) -> None:
    done = pausebench(*words.split(), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("pausebench: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []  # nothing half-written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "required: COMMAND"),
        ("frobnicate", "invalid choice: 'frobnicate'"),
        ("run", "required: scenario"),
        ("run anon --vcpus 0", "--vcpus: `0` is not an integer from 1"),
        ("run anon --boots -3", "--boots"),
        ("run anon --updates many", "--updates: `many` is not an integer from 1"),
        ("run anon --accel xen", "--accel: invalid choice: 'xen'"),
        ("run anon --frobnicate", "unrecognized arguments: --frobnicate"),
    ],
)
def test_malformed_command_lines(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        *((name, "--store", "") for name in ("run", "show", "replay", "report")),
        ("report", "-o", ""),
        ("history", "anon", "-o", ""),
        ("list", "--scenarios", ""),
        ("nightly", ""),
    ],
)
def test_an_empty_path_is_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """`Path("")` would be the directory that one is in."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert ": the path is empty" in capsys.readouterr().err


@pytest.mark.qemu
def test_store_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = pausebench("run", "anon", "--store", str(blocked / "out"), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "--store" in line


# -- errors ---------------------------------------------------------------------------------------


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(args: object) -> int:
        raise error

    monkeypatch.setattr("bench.handlers.list.run", run)
    monkeypatch.delenv("PAUSEBENCH_DEBUG", raising=False)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (HostUnfit("no KVM: do this"), 4, "no KVM: do this"),
        (BuildUnfit("no QEMU"), 2, "no QEMU"),
        (PausebenchError("two\n  lines"), 2, "two lines"),
        (PausebenchError("no \x1b[2J\u202e µ\udcff"), 2, r"no \x1b[2J\u202e µ\udcff"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("boom"), 70, "internal error: RuntimeError: boom"),
    ],
)
def test_errors_become_one_line_and_a_status(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raising(monkeypatch, error)
    assert main(["list"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("pausebench: ")
    assert said in line


def test_traceback_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, RuntimeError("boom"))
    monkeypatch.setenv("PAUSEBENCH_DEBUG", "1")
    with pytest.raises(RuntimeError, match="boom"):
        main(["list"])


def test_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "list"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_on_kvm_needs_kvm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bench.measurement.scenarios, "kvm", lambda: "no such device")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "anon", "--accel", "kvm"]) == 4
    assert "--accel tcg" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.qemu
def test_measuring_needs_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "anon", "--accel", "tcg"]) == 4
    assert "need root" in capsys.readouterr().err
