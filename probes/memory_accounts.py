"""Memory accounting of processes and of the host, in bytes, from /proc."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from results.records.evidence import Accounts, Point

_STATUS = ("VmPin", "VmLck", "VmRSS", "RssAnon", "RssShmem", "HugetlbPages")
_HOST = ("Shmem", "AnonPages", "Unevictable", "Mlocked", "Hugetlb")
_REFRESH = Path("/proc/sys/vm/stat_refresh")


def read_accounts(point: Point, pids: Mapping[str, int], *, exact_pins: bool = False) -> Accounts:
    """Current accounting of the host and of those processes in `pids` that are alive.

    The host's pin counters lag by some pages per CPU unless `exact_pins` flushes the per-CPU
    counters (vm.stat_refresh), which takes milliseconds on busy CPUs.
    """
    processes = {}
    for side, pid in pids.items():
        with suppress(OSError):
            processes[side] = fields_in_bytes(Path(f"/proc/{pid}/status").read_text(), _STATUS)
    host = fields_in_bytes(Path("/proc/meminfo").read_text(), _HOST)
    counters = _vmstat(exact_pins)
    pins = None
    if "nr_foll_pin_acquired" in counters:  # since Linux 5.7
        pins = counters["nr_foll_pin_acquired"] - counters["nr_foll_pin_released"]
    return Accounts(point, processes, host, pins, counters.get("pgmigrate_success"))


def thread_faults(pid: int, tid: int) -> int | None:
    """Page faults served for a thread so far, including those on behalf of its guest.

    Source: min_flt and maj_flt in /proc/PID/task/TID/stat. mm_account_fault also counts
    get_user_pages by KVM, which perf's page-faults omits. None when the thread has exited.
    """
    try:
        stat = Path(f"/proc/{pid}/task/{tid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return int(fields[7]) + int(fields[9])


def fields_in_bytes(text: str, names: tuple[str, ...]) -> dict[str, int]:
    """`Name:  123 kB` lines of a /proc file → bytes, for those of `names` that it has."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in names:
            found[name] = int(rest.split()[0]) * 1024
    return found


def _vmstat(exact: bool) -> dict[str, int]:
    if exact:
        with suppress(OSError):
            _REFRESH.write_text("1\n")
    lines = Path("/proc/vmstat").read_text().splitlines()
    return {name: int(value) for name, value in (line.split() for line in lines)}
