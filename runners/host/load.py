"""Load of the host during an update: CPU time of other processes, steal, CPU pressure."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from results.records.observations import HostState

from .facts import PROC, read_text


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """The host's counters at one moment."""

    busy_s: float
    total_s: float
    steal_s: float
    context_switches: int
    load1: float
    ns: int = 0  # CLOCK_MONOTONIC
    own_s: float = 0.0  # CPU time of this process, its reaped children and the given processes
    waiting_us: int | None = None


def load_snapshot(pids: Iterable[int] = ()) -> LoadSnapshot:
    """CPU time, steal and context switches of the host since boot, and our share of CPU time.

    `pids` are the running children; os.times covers those that have been reaped.
    """
    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return LoadSnapshot(
        busy_s=total - times.idle - getattr(times, "iowait", 0.0),
        total_s=total,
        steal_s=getattr(times, "steal", 0.0),
        context_switches=psutil.cpu_stats().ctx_switches,
        load1=psutil.getloadavg()[0],
        ns=time.monotonic_ns(),
        own_s=sum(os.times()[:4]) + sum(map(_cpu_s, pids)),
        waiting_us=_waiting_us(read_text(PROC / "pressure/cpu")),
    )


def _cpu_s(pid: int) -> float:
    """CPU time of a process; 0 once it has exited, as it then counts as a reaped child."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _waiting_us(pressure: str) -> int | None:
    """`total` of the line `some` in /proc/pressure/cpu; None without pressure information."""
    match = re.search(r"^some .*total=(\d+)", pressure, re.MULTILINE)
    return int(match[1]) if match else None


def host_state(before: LoadSnapshot, after: LoadSnapshot) -> HostState:
    """Load of the host between two snapshots; CPU use in percent of all CPUs."""
    span = after.total_s - before.total_s
    return HostState(
        load1=after.load1,
        cpu_percent=round(100 * (after.busy_s - before.busy_s) / span, 1) if span > 0 else 0.0,
        steal_ns=round((after.steal_s - before.steal_s) * 1e9),
        context_switches=after.context_switches - before.context_switches,
        window_ns=after.ns - before.ns,
        foreign_ns=max(
            0,
            round(
                (
                    (after.busy_s - before.busy_s)
                    - (after.steal_s - before.steal_s)
                    - (after.own_s - before.own_s)
                )
                * 1e9
            ),
        ),
        waiting_ns=None
        if before.waiting_us is None or after.waiting_us is None
        else (after.waiting_us - before.waiting_us) * 1000,
        cpus=os.cpu_count(),
    )
