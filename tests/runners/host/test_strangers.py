"""Processes of a probed binary that are not ours."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from results.records.scenario import Build
from runners.host.strangers import strangers


@pytest.fixture
def build(tmp_path):
    """A copy of `sleep`, which nobody else runs."""
    binary = Path(shutil.copy(shutil.which("sleep"), tmp_path / "qemu"))
    return Build("copy", str(binary), "10.0", "ab", "cd", (str(binary),))


def stranger(*argv):
    """Starts a process whose parent is another one; its pid."""
    code = (
        "import subprocess, sys\n"
        "p = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL); print(p.pid, flush=True)\n"
        "sys.stdin.read(); p.kill()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_only_processes_of_others_are_strangers(build):
    with subprocess.Popen([build.binary, "60"]) as ours, stranger(build.binary, "60") as parent:
        pid = int(parent.stdout.readline())
        assert strangers([build]) == {"copy": (pid,)}
        ours.kill()
        parent.communicate()
    assert strangers([build]) == {"copy": ()}


@pytest.mark.skipif(not list(Path("/lib64").glob("ld-linux*")), reason="no dynamic loader by name")
def test_a_binary_run_by_its_loader_is_found(build):
    (loader, *_) = Path("/lib64").glob("ld-linux*")
    with stranger(str(loader), build.binary, "60") as parent:
        pid = int(parent.stdout.readline())
        found = strangers([build])
        parent.communicate()
    assert found == {"copy": (pid,)}


def test_other_binaries_and_a_missing_one_have_none(build):
    Path(build.binary).unlink()
    assert strangers([build]) == {"copy": ()}
