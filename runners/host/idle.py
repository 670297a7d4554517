"""Waiting until the host is idle enough to measure."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

_SAMPLE_SECONDS = 2.0
_SAMPLES = 3
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Load:
    """CPU use of the host in percent of all CPUs, and the busiest processes."""

    busy_percent: float
    steal_percent: float
    busiest: tuple[str, ...]

    def describe(self) -> str:
        """`CPUs busy 43 % (qemu-system-x86 12345 91 %)`."""
        by = f" ({', '.join(self.busiest)})" if self.busiest else ""
        stolen = f", steal {self.steal_percent:.0f} %" if self.steal_percent >= 1 else ""
        return f"CPUs busy {self.busy_percent:.0f} %{stolen}{by}"


def measure_load(seconds: float = _SAMPLE_SECONDS) -> Load:
    """Measure the host's load for `seconds`. Our own process is idle meanwhile and not named."""
    processes = {}
    for process in psutil.process_iter(["name"]):
        try:
            process.cpu_percent()
        except psutil.Error:
            continue
        processes[process.pid] = process
    times = psutil.cpu_times_percent(interval=seconds)
    shares = []
    for process in processes.values():
        try:
            share = process.cpu_percent()
        except psutil.Error:
            continue
        if share >= 5.0 and process.pid != os.getpid():
            shares.append((share, f"{process.info['name']} {process.pid} {share:.0f} %"))
    named = tuple(text for _, text in sorted(shares, reverse=True)[:_MOST_NAMED])
    steal = float(getattr(times, "steal", 0.0))
    idle = float(times.idle) + float(getattr(times, "iowait", 0.0))
    return Load(max(0.0, 100.0 - idle), steal, named)


def wait_until_idle(
    busy_percent: float,
    wait_seconds: float,
    progress: Callable[[str], None],
    measure: Callable[[], Load] = measure_load,
    clock: Callable[[], float] = time.monotonic,
) -> Load | None:
    """Wait for several idle samples in a row, each with at most `busy_percent` of CPU use.

    Returns None when the host is idle, or the last load when it is still busy after
    `wait_seconds`.
    """
    deadline = clock() + wait_seconds
    idle = 0
    reported = False
    while True:
        load = measure()
        idle = idle + 1 if load.busy_percent <= busy_percent else 0
        if idle >= _SAMPLES:
            return None
        if idle == 0:
            if clock() >= deadline:
                return load
            if not reported:
                progress(
                    f"waiting for an idle host: {load.describe()}, the limit is {busy_percent:g} %"
                )
                reported = True
