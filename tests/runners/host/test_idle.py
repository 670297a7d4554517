"""Waiting for an idle host."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runners.host.idle import Load, measure_load, wait_until_idle


def loads(*percents):
    """A measurement that returns the given loads one after another; the last one repeats."""
    left = list(percents)
    return lambda: Load(left.pop(0) if len(left) > 1 else left[0], 0.0, ("cc1 7 90 %",))


def seconds():
    now = iter(range(10_000))
    return lambda: float(next(now))


def test_several_idle_samples_in_a_row_are_needed():
    lines = []
    assert wait_until_idle(10, 60, lines.append, loads(5, 90, 5, 5, 5), seconds()) is None
    assert lines == ["waiting for an idle host: CPUs busy 90 % (cc1 7 90 %), the limit is 10 %"]


def test_the_load_of_a_busy_host_is_reported_and_returned():
    lines = []
    load = wait_until_idle(10, 5, lines.append, loads(90), seconds())
    assert load.describe() == "CPUs busy 90 % (cc1 7 90 %)"
    assert len(lines) == 1


def test_the_load_is_measured_even_without_waiting():
    assert wait_until_idle(10, 0, print, loads(5), seconds()) is None
    assert wait_until_idle(10, 0, print, loads(50), seconds()).busy_percent == 50


@pytest.mark.slow
def test_a_busy_process_is_named():
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        load = measure_load(1.0)
    finally:
        child.kill()
        child.wait()
    assert load.busy_percent > 100.0 / (os.cpu_count() or 1) / 4
    assert any(f" {child.pid} " in text for text in load.busiest)
