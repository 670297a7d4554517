"""Signals at any moment of a command's life: no traceback, no process left, ignored ones kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench.entry
from results.ownership import start_time

ROOT = Path(bench.entry.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
# Enters as the console script does, and interrupts itself as a module is about to be imported.
INTERRUPTED = """
import os, signal, sys
where, sys.argv = sys.argv[1], ["pausebench", *sys.argv[2:]]
from bench.entry import entry
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == where:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
entry()
"""
# Old enough for discovery, and it answers no monitor: the command waits for it.
HANGING_QEMU = """#!/bin/sh
if [ "$1" = --version ]; then echo "QEMU emulator version 10.0.2"; exit; fi
exec sleep 60
"""


@pytest.mark.parametrize(
    "module",
    ["bench.cli", "bench.commands.list", "bench.handlers.list", "bench.measurement.scenarios"],
)
def test_an_interrupt_while_modules_are_imported_is_silent(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module, "list"],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1
    assert done.stdout == ""


def test_an_ignored_interrupt_is_ignored(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("sh", "-c", 'trap "" INT; exec "$@"', "sh"),
            *(sys.executable, "-c", INTERRUPTED, "bench.cli", "list"),
        ],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "anon" in done.stdout


def _discovering(tmp_path: Path, prefix: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    token = uuid.uuid4().hex
    qemu = tmp_path / f"qemu-{token}"
    qemu.write_text(HANGING_QEMU.replace("sleep 60", f"sleep 60 # {token}"))
    qemu.chmod(0o755)
    words = ["-m", "bench", "doctor", "--build", f"next={qemu}"]
    with subprocess.Popen(
        [*prefix, sys.executable, *words],
        env=ENVIRONMENT | {"DISCOVERED_BY": token},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, _sleeper(token)
        finally:
            process.kill()


def _sleeper(token: str) -> int:
    """The pid of the process that sleeps in place of QEMU."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "comm").read_text() == "sleep\n" and token.encode() in (
                    entry / "environ"
                ).read_bytes():
                    return int(entry.name)
            except OSError:
                continue
        time.sleep(0.005)
    raise AssertionError("the command started no QEMU")


def _ended(pid: int) -> bool:
    end = time.monotonic() + 5
    while start_time(pid) >= 0 and time.monotonic() < end:
        time.sleep(0.005)
    return start_time(pid) < 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_qemu_under_examination_ends_with_the_command(
    number: signal.Signals, tmp_path: Path
) -> None:
    for process, qemu in _discovering(tmp_path, []):
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert _ended(qemu)
        assert process.returncode == (-9 if number == signal.SIGKILL else 130)
        assert "Traceback" not in errors


def test_a_hangup_ignored_by_nohup_is_ignored(tmp_path: Path) -> None:
    for process, qemu in _discovering(tmp_path, ["nohup"]):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        assert start_time(qemu) >= 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
        assert _ended(qemu)
