"""Page frames behind a process's memory, from /proc/PID/pagemap.

Source: Documentation/admin-guide/mm/pagemap.rst. Bits 0-54 are the page frame number, zero without
CAP_SYS_ADMIN; bit 63 is set when the page is present. The frames of a huge page are contiguous.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

PAGE_BYTES = 4096
HUGE_PAGE_BYTES = 2 << 20
# All small pages of up to 1 GiB are read; of more, a sample of this size, in blocks.
SAMPLE_PAGES = 262_144
_BLOCK_PAGES = 64
# A fault also maps neighbouring pages that are in memory (fault_around_bytes, 64 KiB by default):
# populating 1 GiB takes 0.07 s that way and 0.4 s page by page.
_AROUND_PAGES = 16
_FRAME = np.uint64((1 << 55) - 1)
_PRESENT = np.uint64(1 << 63)

Numbers = npt.NDArray[np.int64]


def choose_pages(first: int, end: int, unit_bytes: int, seed: int) -> Numbers:
    """Which units of RAM to read: all from page `first` to `end` (4 KiB pages), or a sample.

    Returns indices of units of `unit_bytes`, ascending. A sample consists of blocks of neighbours,
    each of which takes one read of pagemap.
    """
    per_unit = unit_bytes // PAGE_BYTES
    units = np.arange(first // per_unit, -(-end // per_unit), dtype=np.int64)
    if len(units) <= SAMPLE_PAGES:
        return units
    starts = np.random.default_rng(seed).choice(
        len(units) // _BLOCK_PAGES, SAMPLE_PAGES // _BLOCK_PAGES, replace=False
    )
    offsets = (np.sort(starts)[:, None] * _BLOCK_PAGES + np.arange(_BLOCK_PAGES)).ravel()
    chosen: Numbers = units[offsets]
    return chosen


def read_frames(pid: int, address: int, units: Numbers, unit_bytes: int) -> Numbers:
    """Frame of each unit from `address` on in process `pid`; 0 for a unit that is not mapped.

    Raises PermissionError when the kernel hides frames, OSError when the process has exited.
    """
    per_unit = unit_bytes // PAGE_BYTES
    frames = np.zeros(len(units), dtype=np.int64)
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for begin, stop in _contiguous_ranges(units):
            count = int(units[stop - 1] - units[begin]) + 1
            entry = address // PAGE_BYTES + int(units[begin]) * per_unit
            if per_unit == 1:
                found = _entries(fd, entry, count)
            else:
                found = np.array([_entries(fd, entry + n * per_unit, 1)[0] for n in range(count)])
            mapped = (found & _PRESENT) != 0
            if mapped.any() and not (found[mapped] & _FRAME).any():
                raise PermissionError("the kernel hides page frames: CAP_SYS_ADMIN is needed")
            frames[begin:stop] = np.where(mapped, found & _FRAME, 0).astype(np.int64)
    finally:
        os.close(fd)
    return frames


def _entries(fd: int, entry: int, count: int) -> npt.NDArray[np.uint64]:
    data = os.pread(fd, count * 8, entry * 8)
    if len(data) != count * 8:
        raise OSError("short read of pagemap: the process has exited or maps less")
    return np.frombuffer(data, dtype=np.uint64)


def _contiguous_ranges(units: Numbers) -> Iterable[tuple[int, int]]:
    """Index ranges of consecutive units."""
    if len(units) == 0:
        return
    breaks = np.flatnonzero(np.diff(units) != 1) + 1
    edges = [0, *breaks.tolist(), len(units)]
    yield from pairwise(edges)


def populate(pid: int, address: int, units: Numbers, frames: Numbers, unit_bytes: int) -> None:
    """Make process `pid` map the units that have no frame yet, by reading one byte of each.

    A read of /proc/PID/mem faults pages in as an access by the process does. Raises OSError.
    """
    absent = units[frames == 0]
    if unit_bytes == PAGE_BYTES:
        _touch(pid, address, absent[::_AROUND_PAGES], unit_bytes)
        absent = absent[read_frames(pid, address, absent, unit_bytes) == 0]
    _touch(pid, address, absent, unit_bytes)


def _touch(pid: int, address: int, units: Numbers, unit_bytes: int) -> None:
    if len(units) == 0:
        return
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for unit in units.tolist():
            os.pread(fd, 1, address + unit * unit_bytes)
    finally:
        os.close(fd)
