"""Child processes: identity by start time, death with the parent, and killing of groups."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from results.errors import HostUnfit
from runners.system import child
from runners.system.child import die_with_parent, kill_group, owner_name, start_time, still_runs

ROOT = Path(child.__file__).parents[2]
TIMEOUT_S = 10.0
# Starts a child that prints its pid, and waits to be killed.
PARENT = """
import subprocess, sys, time
from runners.system.child import die_with_parent
argv = ["sh", "-c", "echo $$; exec sleep 60"]
subprocess.Popen(die_with_parent(argv) if sys.argv[1] == "tied" else argv)
time.sleep(60)
"""


def gone(pid):
    """Wait for the exit of a process that is not our child."""
    end = time.monotonic() + TIMEOUT_S
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


def test_a_process_is_identified_by_pid_and_start_time():
    own = start_time(os.getpid())
    assert own > 0
    assert still_runs(os.getpid(), own)
    assert not still_runs(os.getpid(), own - 1)
    assert owner_name() == f"pausebench-{os.getpid()}-{own}"


def test_a_zombie_does_not_count_as_running():
    with subprocess.Popen(["sleep", "60"]) as process:
        started = start_time(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(process.pid) == -1
        assert not still_runs(process.pid, started)
    assert start_time(process.pid) == -1
    assert not still_runs(process.pid, -1)


def test_a_child_dies_with_its_killed_parent():
    with parent("tied") as process:
        pid = int(process.stdout.readline())
        assert start_time(pid) >= 0
        process.send_signal(signal.SIGKILL)
    assert gone(pid)


def test_a_process_group_is_killed():
    with parent("loose") as process:
        pid = int(process.stdout.readline())
        assert start_time(pid) >= 0
        kill_group(process)
        assert process.wait() == -signal.SIGKILL
    assert gone(pid)
    kill_group(process)  # the group is empty


def test_without_setpriv_the_host_is_unfit(monkeypatch):
    monkeypatch.setattr(child.shutil, "which", lambda name: None)
    with pytest.raises(HostUnfit, match="apt-get install util-linux"):
        die_with_parent(["true"])
