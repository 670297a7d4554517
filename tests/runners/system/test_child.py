"""Child processes: death with the parent in every case, the record of them, and their errors."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from results.errors import HostUnfit
from results.ownership import start_time
from runners.system import child, process_record
from runners.system.child import kill_group, run, spawn
from runners.system.process_record import end_orphans, is_gone, orphans, own_record

ROOT = Path(child.__file__).parents[2]
TIMEOUT_S = 10.0
# Starts a child that prints its pid, and waits to be killed.
PARENT = """
import subprocess, sys, time
from runners.system.child import spawn
argv = ["sh", "-c", "echo $$; exec sleep 60"]
(spawn if sys.argv[1] == "tied" else subprocess.Popen)(argv)
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


def test_a_child_dies_with_its_killed_parent():
    with parent("tied") as process:
        pid = int(process.stdout.readline())
        assert start_time(pid) >= 0
        process.send_signal(signal.SIGKILL)
    assert gone(pid)


def test_a_child_does_not_start_once_its_parent_is_gone(tmp_path):
    """The parent was killed between fork and the death signal: the child has another parent."""
    started = tmp_path / "started"
    argv = child.die_with_parent(["touch", str(started)], "1")
    assert subprocess.run(argv).returncode == 1
    assert not started.exists()
    assert subprocess.run(child.die_with_parent(argv[-2:], str(os.getpid()))).returncode == 0
    assert started.exists()


def test_a_child_outlives_the_thread_that_started_it():
    """The kernel sends the death signal already when the forking thread ends."""
    children = []

    def start():
        children.append(spawn(["sleep", "60"]))
        time.sleep(0.3)  # until the death signal is set

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with children[0] as process:
        time.sleep(0.2)
        assert process.poll() is None
        process.kill()


def test_a_process_group_is_killed():
    with parent("loose") as process:
        pid = int(process.stdout.readline())
        assert start_time(pid) >= 0
        kill_group(process)
        assert process.wait() == -signal.SIGKILL
    assert gone(pid)
    kill_group(process)  # the group is empty


def test_the_child_has_its_own_pid_arguments_and_environment():
    argv = ["sh", "-c", 'echo $$ "$1" "$X"', "sh", "a 'b' $c"]
    with spawn(argv, stdout=subprocess.PIPE, text=True, env={"X": "y", "PATH": "/bin"}) as process:
        assert process.stdout.read() == f"{process.pid} a 'b' $c y\n"


def test_without_setpriv_the_host_is_unfit(monkeypatch):
    which = {"setpriv": None, "true": "/bin/true"}
    monkeypatch.setattr(child.shutil, "which", lambda name, path=None: which[name])
    with pytest.raises(HostUnfit, match="apt-get install util-linux"):
        spawn(["true"])


def test_what_cannot_be_executed_is_an_error_as_of_execve(tmp_path):
    text = tmp_path / "text"
    text.write_text("touch made\n")
    for path, mode, number in (
        (tmp_path / "none", None, errno.ENOENT),
        (text, 0o644, errno.EACCES),
        (text, 0o755, errno.ENOEXEC),  # which a shell would interpret
    ):
        if mode is not None:
            path.chmod(mode)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            spawn([str(path)], cwd=tmp_path)
        assert caught.value.errno == number
    assert list(tmp_path.iterdir()) == [text]


def test_a_program_is_run_to_its_end():
    done = run(["sh", "-c", r"cat; printf '\377'; echo no >&2; exit 3"], 10.0)
    assert (done.returncode, done.stdout, done.stderr) == (3, "\ufffd", "no\n")
    with pytest.raises(subprocess.TimeoutExpired):
        run(["sleep", "60"], 0.05)


# --- the record -------------------------------------------------------------------------------


def recorded():
    return dict(json.loads((own_record() / "children.json").read_text()))


def test_running_children_are_in_the_record():
    with spawn(["sleep", "60"]) as one:
        assert recorded()[one.pid] == start_time(one.pid)
        one.kill()
    with spawn(["sleep", "60"]) as other:
        assert other.pid in recorded()
        assert one.pid not in recorded()
        other.kill()


def test_orphans_of_a_killed_process_are_ended_and_no_others(tmp_path):
    """As if the death signal had been cleared, by a program with capabilities."""
    with subprocess.Popen(["sleep", "60"]) as orphan, subprocess.Popen(["sleep", "60"]) as reused:
        record = tmp_path / own_record().name
        record.mkdir()
        started = start_time(reused.pid)
        children = [(orphan.pid, start_time(orphan.pid)), (reused.pid, started - 1), (2**22, 1)]
        (record / "children.json").write_text(json.dumps(children))
        assert orphans(record) == [(orphan.pid, start_time(orphan.pid))]
        assert end_orphans(record) == 1
        assert orphan.wait() == -signal.SIGKILL
        assert reused.poll() is None
        reused.kill()


@pytest.mark.parametrize("text", ["", "[", "7", "[[1]]", '[["x", 2]]', "[null]"])
def test_a_malformed_record_has_no_orphans(text, tmp_path):
    record = tmp_path / own_record().name
    record.mkdir()
    (record / "children.json").write_text(text)
    assert orphans(record) == []


def test_pids_of_another_namespace_are_not_ours(tmp_path):
    *words, _, suffix = own_record().name.split("-")
    record = tmp_path / "-".join([*words, "f00", suffix])
    record.mkdir()
    children = [(os.getpid(), start_time(os.getpid()))]
    (record / "children.json").write_text(json.dumps(children))
    assert orphans(record) == []


def test_a_process_is_gone_by_its_lock_or_by_its_pid():
    me = own_record().name
    assert not is_gone(me)
    *words, namespace, suffix = me.split("-")
    exited = "-".join([words[0], str(2**22 + 1), "5", namespace, suffix])
    assert is_gone(exited)
    elsewhere = "-".join([words[0], str(2**22 + 1), "5", "f00", suffix])
    assert not is_gone(elsewhere)  # without its record nothing proves it
    (process_record.records() / elsewhere).mkdir()
    try:
        assert is_gone(elsewhere)
    finally:
        (process_record.records() / elsewhere).rmdir()
    assert not is_gone("anything")
