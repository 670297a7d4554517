"""The host's lock: one session at a time, waited for by name, shared on request, never left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from results import ownership
from results.errors import HostUnfit
from results.ownership import run_directory
from runners.host import lock
from runners.host.lock import (
    Measurer,
    host_lock,
    is_seen_by_the_host,
    lock_path,
    others_measuring,
)

ROOT = Path(lock.__file__).parents[2]
SESSION = """
import sys
from pathlib import Path
from results import ownership
ownership.RUN, share = Path(sys.argv[1]), sys.argv[2] == "share"
from runners.host.lock import host_lock, others_measuring
sys.argv[1:] = ["run", "anon"]
with host_lock(lambda text: print(text, flush=True), share=share):
    print("measures next to", *map(str, others_measuring()), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def run(monkeypatch, tmp_path):
    """A directory of this test's own; the record of this process is elsewhere."""
    monkeypatch.setattr(ownership, "RUN", tmp_path / "run")
    return tmp_path / "run"


def session(run, how="alone"):
    return subprocess.Popen(
        [sys.executable, "-c", SESSION, str(run), how],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def held(timeout_s=0.0):
    try:
        with host_lock(print, timeout_s=timeout_s):
            return False
    except HostUnfit:
        return True


def test_a_second_session_waits_for_the_first_by_name_and_measures_after_it(run):
    with session(run) as first:
        assert first.stdout.readline() == "measures next to\n"
        with session(run) as second:
            assert second.stdout.readline() == (
                f"waiting for pid {first.pid} (pausebench run anon), which measures on this host: "
                "--share does not wait\n"
            )
            time.sleep(0.5)
            assert second.poll() is None
            first.communicate()
            assert second.stdout.readline() == "measures next to\n"
            second.communicate()


def test_a_session_that_shares_does_not_wait_and_both_know_of_each_other(run):
    with session(run) as first:
        first.stdout.readline()
        with session(run, "share") as second:
            assert second.stdout.readline() == (
                f"measures next to pid {first.pid} (pausebench run anon)\n"
            )
            assert {m.pid for m in others_measuring()} == {first.pid, second.pid}
            first.communicate()
            assert [m.pid for m in others_measuring()] == [second.pid]
            second.communicate()
    assert others_measuring() == ()


def test_a_waiting_that_takes_too_long_names_the_holder(run):
    with session(run) as first:
        first.stdout.readline()
        lines = []
        with pytest.raises(HostUnfit, match=rf"still measures on this host: pid {first.pid} \(p"):
            with host_lock(lines.append, timeout_s=0.3):
                pass
        assert len(lines) == 1
        first.communicate()


def test_a_killed_holder_releases_the_lock_and_measures_no_more(run):
    with session(run) as first:
        first.stdout.readline()
        assert held()
        first.send_signal(signal.SIGKILL)
    assert not held()
    assert others_measuring() == ()


def test_a_child_of_the_holder_does_not_keep_the_lock(run):
    code = SESSION.replace("sys.stdin.read()", "subprocess.Popen(['sleep', '3'])").replace(
        "import sys", "import subprocess, sys"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), "alone"], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert done.returncode == 0
    assert not held()


def test_a_process_does_not_wait_for_itself(run):
    """A nightly job holds the lock over all of its sessions."""
    with host_lock(print), host_lock(print, timeout_s=0.0):
        with session(run) as other:
            assert f"pid {os.getpid()} (" in other.stdout.readline()
            other.kill()
    assert not held()


def test_the_directory_and_the_lock_are_private(run):
    with host_lock(print):
        assert lock_path() == run / "lock"
        assert run.stat().st_mode & 0o777 == 0o700
        assert lock_path().stat().st_mode & 0o777 == 0o600


def test_a_symbolic_link_is_not_followed(run, tmp_path):
    (tmp_path / "precious").write_text("data")
    (run_directory() / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(HostUnfit, match="cannot lock"), host_lock(print):
        pass
    assert (tmp_path / "precious").read_text() == "data"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "command": 1}'])
def test_a_holder_that_has_not_said_who_it_is_is_waited_for(text, run):
    lines = []
    with session(run) as first:
        first.stdout.readline()
        lock_path().write_text(text)
        with pytest.raises(HostUnfit, match="unknown"):
            with host_lock(lines.append, timeout_s=0.1):
                pass
        first.communicate()
    assert lines == []


def test_a_measurer_is_named_by_pid_and_command():
    assert str(Measurer(12, "pausebench run anon")) == "pid 12 (pausebench run anon)"


def test_an_interrupt_ends_the_waiting(run):
    with session(run) as first:
        first.stdout.readline()
        kick = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        kick.start()
        with pytest.raises(KeyboardInterrupt), host_lock(print):
            pass
        kick.join()
        first.communicate()


def test_a_lock_in_another_mount_namespace_is_known_to_be_another(run):
    run_directory()
    assert is_seen_by_the_host()
    code = (
        "import sys; from pathlib import Path; from results import ownership\n"
        "ownership.RUN = Path(sys.argv[1])\n"
        "from runners.host.lock import is_seen_by_the_host\n"
        "ownership.run_directory(); print(is_seen_by_the_host())"
    )
    inner = f'mount -t tmpfs none {run} && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", inner, "sh", sys.executable, "-c", code, str(run)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "False\n", done.stderr
