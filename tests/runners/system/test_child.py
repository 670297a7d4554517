"""Processes of ours: told apart by their start, and ended with us or with their group."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from results.errors import HostUnfit
from runners.system import child
from runners.system.child import dying_with_us, kill_group, owner_name, start_time, still_runs

ROOT = Path(child.__file__).parents[2]
PATIENCE_S = 10.0
# Starts a child in its way, which tells its pid, and waits to be ended.
PARENT = """
import subprocess, sys, time
from runners.system.child import dying_with_us
argv = ["sh", "-c", "echo $$; exec sleep 60"]
subprocess.Popen(dying_with_us(argv) if sys.argv[1] == "tied" else argv)
time.sleep(60)
"""


def gone(pid):
    """Wait for the end of a process that is not ours to reap."""
    end = time.monotonic() + PATIENCE_S
    while start_time(pid) >= 0:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def parent(way):
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, way],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        process_group=0,
    )


def test_a_process_is_itself_by_pid_and_start():
    own = start_time(os.getpid())
    assert own > 0
    assert still_runs(os.getpid(), own)
    assert not still_runs(os.getpid(), own - 1)
    assert owner_name() == f"pausebench-{os.getpid()}-{own}"


def test_one_that_has_ended_runs_no_more_though_nobody_has_reaped_it():
    with subprocess.Popen(["sleep", "60"]) as process:
        started = start_time(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(process.pid) == -1
        assert not still_runs(process.pid, started)
    assert start_time(process.pid) == -1
    assert not still_runs(process.pid, -1)


def test_a_tied_child_ends_when_its_parent_is_killed():
    with parent("tied") as process:
        pid = int(process.stdout.readline())
        assert start_time(pid) >= 0
        process.send_signal(signal.SIGKILL)
    assert gone(pid)


def test_a_group_is_killed_with_all_that_it_started():
    with parent("loose") as process:
        pid = int(process.stdout.readline())
        assert start_time(pid) >= 0
        kill_group(process)
        assert process.wait() == -signal.SIGKILL
    assert gone(pid)
    kill_group(process)  # nobody is left


def test_without_setpriv_the_host_is_unfit(monkeypatch):
    monkeypatch.setattr(child.shutil, "which", lambda name: None)
    with pytest.raises(HostUnfit, match="apt-get install util-linux"):
        dying_with_us(["true"])
