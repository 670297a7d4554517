"""Private directories: locked while their owner lives, and abandoned only when that is proven."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from results import ownership
from results.ownership import (
    HOST_PID_NAMESPACE,
    Owner,
    abandoned_directories,
    claim_directory,
    is_abandoned,
    pid_namespace,
    private_directory,
    run_directory,
    start_time,
    still_runs,
)

ROOT = Path(ownership.__file__).parents[1]
OWNER = """
import sys, time
from pathlib import Path
from results.ownership import claim_directory
print(claim_directory(Path(sys.argv[1]))[0].name, flush=True)
time.sleep(60)
"""
NEW_PID_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_unshare():
    try:
        return subprocess.run([*NEW_PID_NAMESPACE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


needs_unshare = pytest.mark.skipif(not can_unshare(), reason="no new PID namespace possible")


def owner_in(directory, *prefix):
    """A process that owns a private directory in `directory`: the process, the directory."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", OWNER, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    return process, directory / process.stdout.readline().strip()


def abandoned_in_time(directory):
    end = time.monotonic() + 5
    while not is_abandoned(directory) and time.monotonic() < end:
        time.sleep(0.01)
    return is_abandoned(directory)


def test_a_process_is_identified_by_pid_and_start_time():
    own = start_time(os.getpid())
    assert own > 0
    assert still_runs(os.getpid(), own)
    assert not still_runs(os.getpid(), own - 1)


def test_a_zombie_does_not_count_as_running():
    with subprocess.Popen(["sleep", "60"]) as process:
        started = start_time(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(process.pid) == -1
        assert not still_runs(process.pid, started)
    assert start_time(process.pid) == -1
    assert not still_runs(process.pid, -1)


def test_the_name_of_a_private_directory_holds_its_owner(tmp_path):
    directory, lock = claim_directory(tmp_path)
    os.close(lock)
    assert Owner.of_name(directory.name) == Owner.me()
    assert Owner.me() == Owner(os.getpid(), start_time(os.getpid()), pid_namespace())
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["pausebench-1-2-abc", "pausebench-new-x1", "pausebench-a-2-f-x"])
def test_other_names_have_no_owner(name, tmp_path):
    (tmp_path / name).mkdir()
    assert Owner.of_name(name) is None
    assert not is_abandoned(tmp_path / name)


def test_a_killed_owner_abandons_its_directory(tmp_path):
    process, directory = owner_in(tmp_path)
    with process:
        assert directory.is_dir()
        assert not is_abandoned(directory)
        process.send_signal(signal.SIGKILL)
    assert abandoned_directories(tmp_path) == [directory]


@needs_unshare
def test_a_living_owner_in_another_pid_namespace_keeps_its_directory(tmp_path):
    """Its pid is of no process here: only the lock tells that it lives."""
    process, directory = owner_in(tmp_path, *NEW_PID_NAMESPACE)
    with process:
        owner = Owner.of_name(directory.name)
        assert owner.pid < 10
        assert owner.runs() is None
        assert abandoned_directories(tmp_path) == []
        process.send_signal(signal.SIGKILL)
    assert abandoned_in_time(directory)


@needs_unshare
def test_an_owner_here_keeps_its_directory_from_another_pid_namespace(tmp_path):
    """There, its pid is of no process, as for a session that cleans up in a container."""
    code = (
        "import sys; from pathlib import Path\n"
        "from results.ownership import abandoned_directories\n"
        "print(len(abandoned_directories(Path(sys.argv[1]))))"
    )
    process, _ = owner_in(tmp_path)
    argv = [*NEW_PID_NAMESPACE, sys.executable, "-c", code, str(tmp_path)]
    with process:
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.strip() == "0"
        process.kill()
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "1"


def test_a_free_lock_does_not_prove_that_a_running_owner_is_gone(tmp_path):
    directory, lock = claim_directory(tmp_path)
    os.close(lock)
    assert not is_abandoned(directory)


def test_a_directory_without_its_name_yet_is_not_abandoned(tmp_path, monkeypatch):
    """Between its creation and its lock it looks like one whose owner is gone."""
    seen = []
    lock = ownership.fcntl.flock

    def watched(fd, how):
        seen.extend(tmp_path.iterdir())
        seen.append(abandoned_directories(tmp_path))
        lock(fd, how)

    monkeypatch.setattr(ownership.fcntl, "flock", watched)
    claim_directory(tmp_path)
    assert re.fullmatch(r"pausebench-new-\w+", seen[0].name)
    assert seen[1] == []


def test_a_private_directory_ends_with_its_block(monkeypatch, tmp_path):
    monkeypatch.setattr(ownership.tempfile, "tempdir", str(tmp_path))
    with private_directory() as directory:
        assert directory.parent == tmp_path
        (directory / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_another_user_is_not_abandoned(monkeypatch, tmp_path):
    directory = tmp_path / f"pausebench-{2**22 + 1}-5-{pid_namespace():x}-x1"
    directory.mkdir()
    assert is_abandoned(directory)
    monkeypatch.setattr(ownership.os, "getuid", lambda: 12345)
    assert not is_abandoned(directory)


def test_the_run_directory_is_private(monkeypatch, tmp_path):
    monkeypatch.setattr(ownership, "RUN", tmp_path / "run")
    assert run_directory("a") == tmp_path / "run/a"
    assert {d.stat().st_mode & 0o777 for d in (tmp_path / "run", tmp_path / "run/a")} == {0o700}


@needs_unshare
def test_the_host_s_pid_namespace_is_recognised():
    code = "from results.ownership import pid_namespace; print(pid_namespace())"
    argv = [*NEW_PID_NAMESPACE, sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert int(done.stdout) != HOST_PID_NAMESPACE
