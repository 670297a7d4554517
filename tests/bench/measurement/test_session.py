"""Sessions on a bad day: their directory removed, killed, next to an unrelated QEMU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import bench.measurement.session
from results.errors import UsageError
from results.ownership import abandoned_directories, start_time
from results.records.run import Run
from results.store.store import open_store

ROOT = Path(bench.measurement.session.__file__).parents[2]
pytestmark = [pytest.mark.kvm, pytest.mark.qemu, pytest.mark.bpf, pytest.mark.slow]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory for temporary files with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


def measuring(store: Path, temporary: Path, *words: str) -> subprocess.Popen[str]:
    """A session of its own; it does not wait for others that measure on this host."""
    words = ("run", "anon", "--share", "--ram", "64M", "--store", str(store), "--json", *words)
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_runs(store: Path, count: int) -> list[Run]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        # Until the session has made its tables, the file is of no pausebench.
        with suppress(UsageError), open_store(store, create=False) as opened:
            if len(runs := opened.runs()) >= count:
                return runs
        time.sleep(0.05)
    raise AssertionError("no update was measured")


def qemus_in(temporary: Path) -> list[int]:
    """Running QEMUs that a session with these temporary files started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (
                str(temporary).encode() in (entry / "cmdline").read_bytes()
                and b"qemu-system" in (entry / "cmdline").read_bytes().split(b"\0")[0]
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if start_time(pid) >= 0]


def test_a_removed_directory_fails_the_run_and_ends_the_guest(
    tmp_path: Path, temporary: Path
) -> None:
    with measuring(tmp_path, temporary, "--boots", "2", "--updates", "200") as session:
        wait_for_runs(tmp_path, 2)
        for directory in temporary.glob("pausebench-*"):
            shutil.rmtree(directory, ignore_errors=True)
        out, errors = session.communicate(timeout=120)
    assert session.returncode == 3
    assert "Traceback" not in errors
    assert "internal error" not in errors
    failed = [run for run in json.loads(out)["runs"] if run["outcome"] == "failed"]
    assert len(failed) == 2  # an update of the first boot, and the second boot
    assert all("was removed" in run["reason"] for run in failed)
    assert qemus_in(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_session_but_what_the_next_one_removes(
    number: signal.Signals, tmp_path: Path, temporary: Path
) -> None:
    with measuring(tmp_path, temporary, "--boots", "1", "--updates", "200") as session:
        wait_for_runs(tmp_path, 1)
        assert qemus_in(temporary)
        session.send_signal(number)
        session.communicate(timeout=60)
    end = time.monotonic() + 5
    while qemus_in(temporary) and time.monotonic() < end:
        time.sleep(0.01)
    assert qemus_in(temporary) == []
    left = sorted(temporary.glob("pausebench-*"))
    assert left == abandoned_directories(temporary)
    assert bool(left) == (number == signal.SIGKILL)
    with measuring(tmp_path, temporary, "--boots", "1", "--updates", "1") as session:
        session.communicate(timeout=120)
    assert list(temporary.glob("pausebench-*")) == []


def test_an_unrelated_qemu_of_the_same_binary_survives_and_is_not_counted(
    tmp_path: Path, temporary: Path
) -> None:
    """It stops and resumes a guest of its own all the time: functions that are probed."""
    argv = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
    with subprocess.Popen(
        [sys.executable, "-c", STOP_AND_GO, *argv, "-qmp", "stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as unrelated:
        assert unrelated.stdout is not None
        pid = int(unrelated.stdout.readline())
        with measuring(tmp_path, temporary, "--boots", "1", "--updates", "3") as session:
            out, errors = session.communicate(timeout=120)
        assert start_time(pid) >= 0
        rounds, _ = unrelated.communicate("end\n", timeout=20)
    assert session.returncode == 0, errors
    assert int(rounds) > 20
    document = json.loads(out)
    (doubt,) = [d for d in document["summary"][0]["doubts"] if d["kind"] == "probed-strangers"]
    assert f"pid {pid}" in doubt["text"]
    with open_store(tmp_path, create=False) as store:
        for run in store.runs():
            assert pid in run.host.strangers
            recording = store.recording(run.id)
            assert {event.pid for event in recording.events} <= {
                recording.old.pid,
                recording.new.pid,
                *(event.pid for event in recording.events if event.mark == "exec"),
            }
            assert pid not in {event.pid for event in recording.events}


STOP_AND_GO = """
import json, subprocess, sys, threading
qemu = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(qemu.pid, flush=True)
def ask(command):
    qemu.stdin.write(json.dumps({"execute": command}) + "\\n")
    qemu.stdin.flush()
    while "return" not in json.loads(qemu.stdout.readline()):
        pass
qemu.stdout.readline()
ask("qmp_capabilities")
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), ended.set()), daemon=True).start()
rounds = 0
while not ended.wait(0.01):
    ask("stop")
    ask("cont")
    rounds += 1
print(rounds, flush=True)
qemu.kill()
qemu.wait()
"""
