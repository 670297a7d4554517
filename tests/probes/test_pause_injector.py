"""The injector on a test process that measures its own pause."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from probes.pause_injector import PauseInjector
from results.errors import EventsLost
from results.records.scenario import Build

pytestmark = pytest.mark.bpf

LENGTH_NS = 40_000_000
# Calls the probed function for each line of input and prints how long the call took.
CALLER = """
import os, sys, time
print("ready", flush=True)
for line in sys.stdin:
    start = time.monotonic_ns()
    os.getppid()
    print(time.monotonic_ns() - start, flush=True)
"""


def libc() -> str:
    """The path of the C library that a Python process maps."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/libc.so" in line or "/libc-" in line:
            return line.split(maxsplit=5)[5]
    pytest.skip("no C library is mapped")


@pytest.fixture(scope="module")
def injector():
    path = libc()
    with PauseInjector([Build("libc", path, "", "x", "", (path,))], "getppid") as injector:
        yield injector


@pytest.fixture
def caller():
    with subprocess.Popen(
        [sys.executable, "-c", CALLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"

        def call() -> int:
            process.stdin.write("\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        process.call = call
        yield process
        process.kill()


def test_injects_the_requested_pause_and_measures_it(injector, caller):
    injector.arm(caller.pid, LENGTH_NS)
    seen = caller.call()
    pause = injector.injected(caller.pid)
    assert pause.pid == caller.pid
    assert pause.continued_ns - pause.start_ns >= LENGTH_NS
    assert pause.start_ns < pause.continued_ns <= pause.end_ns
    # The process's own measurement encloses the pause, with little in addition.
    assert seen >= pause.length_ns
    assert seen - pause.length_ns < LENGTH_NS


def test_stops_only_an_armed_process_and_only_once(injector, caller):
    assert caller.call() < LENGTH_NS
    injector.arm(caller.pid, LENGTH_NS)
    assert caller.call() >= LENGTH_NS
    injector.injected(caller.pid)
    assert caller.call() < LENGTH_NS


def test_reports_a_pause_that_did_not_occur(injector, caller):
    injector.arm(caller.pid, LENGTH_NS)
    with pytest.raises(EventsLost):
        injector.injected(caller.pid, timeout_s=0.2)
    caller.call()
    injector.injected(caller.pid)
