"""Standard output and error that are closed, full, or pipes whose reader has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bench.cli

ROOT = Path(bench.cli.__file__).parents[1]
# Ends as a handler that prints a table and returns a status; {command} is the name it goes by.
HANDLER = """
import sys, types
def run(args):
    print("progress", file=sys.stderr)
    print("table\\n" * 100_000)
    assert min(os.dup(0), os.dup(0)) > 2
    open(sys.argv[-1], "w").write("stored")
    return {status}
import os
sys.modules["bench.handlers.{command}"] = types.SimpleNamespace(run=run)
from bench.entry import entry
entry()
"""


def shell(line: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which $P is pausebench."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "P": f"{sys.executable} -m bench"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=cwd,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("words", ["--help", "run --help", "--version", "list", "list --json"])
def test_a_closed_pipe_is_no_error(words: str, tmp_path: Path) -> None:
    done = shell(f"$P {words} | true", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("to", [">/dev/full", ">&-", "</dev/null >/dev/full", "<&- >&-"])
@pytest.mark.parametrize("words", ["--help", "list"])
def test_output_that_is_lost_is_one_line_and_status_3(words: str, to: str, tmp_path: Path) -> None:
    done = shell(f"$P {words} {to}", tmp_path)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("pausebench: standard output could not be written: ")


@pytest.mark.parametrize("to", ["2>/dev/full", "2>&-", "<&- 2>&-", "2> >(true)"])
def test_messages_that_cannot_be_written_are_dropped(to: str, tmp_path: Path) -> None:
    assert shell(f"$P list {to}", tmp_path).stdout == shell("$P list", tmp_path).stdout
    assert shell(f"$P list {to}", tmp_path).returncode == 0
    assert shell(f"$P list --frobnicate {to}", tmp_path).returncode == 2
    assert shell(f"$P list --frobnicate {to} >/dev/full", tmp_path).returncode == 2


@pytest.mark.parametrize("to", [">/dev/full", ">&-", "| true", "2>/dev/full", ">&- 2>&-", "<&-"])
@pytest.mark.parametrize("status", [0, 3, 130])
def test_a_measurement_goes_on_and_keeps_its_status(status: int, to: str, tmp_path: Path) -> None:
    code = HANDLER.format(command="run", status=status)
    done = shell(
        f'"$PYTHON" -c "$CODE" run stored {to}', tmp_path, PYTHON=sys.executable, CODE=code
    )
    assert done.returncode == status
    assert (tmp_path / "stored").read_text() == "stored"
    lines = [line for line in done.stderr.splitlines() if line != "progress"]
    lost = to in (">/dev/full", ">&-")
    assert len(lines) == lost
    assert all(line.startswith("pausebench: standard output") for line in lines)


def test_a_path_of_any_bytes_is_printed_as_it_is(tmp_path: Path) -> None:
    code = (
        "import sys, types\n"
        "sys.modules['bench.handlers.list'] = types.SimpleNamespace("
        "run=lambda args: print('/tmp/\\udcff.html') or 0)\n"
        "from bench.entry import entry\n"
        "entry()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "list"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"/tmp/\xff.html\n", b"")
