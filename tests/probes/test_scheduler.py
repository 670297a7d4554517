"""The scheduler probe on processes with known waits, and compared to the kernel's own counts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from probes.scheduler import SchedulerProbe
from results.causes.critical_path import time_lines
from results.causes.wait_reasons import ENDED

pytestmark = pytest.mark.bpf

READ, WRITE = 0, 1
WAIT_S = 10
# Answers every line; to `thread` from a new thread.
ANSWERER = """
import os, threading
def answer(): os.write(1, b"x")
while (line := os.read(0, 100)):
    if b"thread" in line:
        thread = threading.Thread(target=answer)
        thread.start()
        thread.join()
    else:
        answer()
"""
SPINNER = "while True: pass"


@pytest.fixture(scope="module")
def probe():
    with SchedulerProbe() as probe:
        assert not probe.missing
        yield probe


@pytest.fixture
def answerer():
    with subprocess.Popen(
        [sys.executable, "-c", ANSWERER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:

        def ask(count: int, line: bytes = b"ask") -> None:
            for _ in range(count):
                process.stdin.write(line)
                assert process.stdout.read(1) == b"x"

        def settle() -> None:
            """Wait until it is blocked in its read again."""
            until = time.monotonic() + WAIT_S
            path = Path(f"/proc/{process.pid}/syscall")
            while not path.read_text().startswith("0 0x0 "):
                assert time.monotonic() < until

        process.ask, process.settle = ask, settle
        ask(1)
        settle()
        yield process
        process.kill()


def test_counts_exactly_what_happened_and_who_did_it(probe, answerer):
    probe.open([answerer.pid])
    for _ in range(23):
        answerer.ask(1)
        answerer.settle()
    time.sleep(0.01)
    seen = probe.close()
    slept = [
        e for e in seen.events
        if (e.kind, e.tid, e.state, e.call) == ("switch", answerer.pid, 1, READ)
    ]  # fmt: skip
    woken = [e for e in seen.events if e.kind == "wake" and e.other == answerer.pid]
    assert len(slept) == 23
    assert all(e.args[0] == 0 for e in slept), "it reads from descriptor 0"
    assert len([e for e in woken if e.tid == threading.get_native_id()]) == 23
    assert threading.get_native_id() in seen.own
    assert seen.lost == 0


def test_records_nothing_outside_the_window_or_of_other_processes(probe, answerer):
    answerer.ask(5)
    probe.open([])
    answerer.ask(5)
    assert probe.close().events == ()
    probe.open([answerer.pid])
    seen = probe.close()
    answerer.ask(5)
    assert probe.close().events == (), "the window is closed"
    assert all(e.ns >= seen.since_ns for e in seen.events)


def test_follows_threads_that_start_later(probe, answerer):
    probe.open([answerer.pid])
    answerer.ask(3, b"thread")
    answerer.settle()
    time.sleep(0.01)
    seen = probe.close()
    begun = [e.other for e in seen.events if e.kind == "fork"]
    assert len(begun) == 3
    for tid in begun:
        states = [s.state for s in time_lines(seen, seen.events[-1].ns, lambda t, n: n)[tid]]
        assert states[:1] == ["blocked"], "it had not started"
        assert "on-cpu" in states
        assert any(e.tid == tid and e.state & ENDED for e in seen.events), "its exit was missed"


def test_a_record_that_cannot_be_written_is_counted(probe, answerer):
    probe.open([answerer.pid])
    answerer.ask(15_000)
    assert probe.close().lost > 0
    probe.open([answerer.pid])
    answerer.ask(1)
    assert probe.close().lost == 0, "an earlier loss must not affect the next run"


def test_time_runnable_agrees_with_the_kernels_run_delay(probe):
    """Three spinners on one CPU: our runnable time against run_delay of schedstat."""
    cpu = min(os.sched_getaffinity(0))
    spinners = [subprocess.Popen([sys.executable, "-c", SPINNER]) for _ in range(3)]
    try:
        for spinner in spinners:
            os.sched_setaffinity(spinner.pid, {cpu})
        time.sleep(0.2)
        first = spinners[0].pid
        schedstat = Path(f"/proc/{first}/schedstat")
        probe.open([first])
        before = int(schedstat.read_text().split()[1])
        time.sleep(0.5)
        counted = int(schedstat.read_text().split()[1]) - before
        seen = probe.close()
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
    stretches = time_lines(seen, seen.events[-1].ns, lambda tid, name: name)[first]
    waited = sum(s.end_ns - s.start_ns for s in stretches if s.state == "runnable")
    assert counted > 100_000_000
    # The kernel counts a wait when it ends: one wait may cross each end of the window.
    longest = max(s.end_ns - s.start_ns for s in stretches)
    assert abs(waited - counted) <= 2 * longest
    assert any("python" in s.by for s in stretches if s.state == "runnable")


def test_if_it_cannot_be_loaded_the_reason_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr("probes.scheduler.compile_program", refuse)
    with SchedulerProbe() as probe:
        probe.open([1])
        assert probe.close().missing == "rejected by the verifier"
        assert probe.program_fds() == ()


def refuse(*args):
    from results.errors import HostUnfit

    raise HostUnfit("rejected by the verifier")
