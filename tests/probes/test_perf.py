"""perf counters on a process that does a known amount of work."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from probes.perf import ProcessCounters

pytestmark = pytest.mark.bpf  # needs the same privileges

WORKER = """
import mmap, sys, time
print("ready", flush=True)
for line in sys.stdin:
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
    area = mmap.mmap(-1, 512 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    for start in range(0, len(area), mmap.PAGESIZE): area[start] = 1
    print("done", flush=True)
"""


@pytest.fixture
def worker():
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def work(process):
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def test_counts_the_work_between_opening_and_reading(worker):
    work(worker)
    with ProcessCounters(worker.pid) as counters:
        time.sleep(0.05)
        before = counters.read()
        work(worker)
        found = {name: count - before[name] for name, count in counters.read().items()}
    assert before["task-clock"] < 0.1e9
    assert 0.2e9 <= found["task-clock"] < 5e9
    assert 512 <= found["page-faults"] < 700
    assert found["context-switches"] >= 1


def test_a_process_that_has_exited_raises():
    with pytest.raises(OSError, match="task"):
        ProcessCounters(1 << 22)
