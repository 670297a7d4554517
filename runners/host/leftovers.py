"""What killed sessions left on this host, and its removal once their death is proven."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from results.ownership import abandoned_directories
from runners.system.process_record import abandoned_records, end_orphans, orphans

from . import vfio_pci
from .hugepages import Note, owed_pages, reclaim_from_dead_sessions
from .hugetlbfs import abandoned_mounts, remove_abandoned_mounts


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Counts of what killed sessions left."""

    pages: int = 0  # huge pages of 2 MiB
    mounts: int = 0
    devices: int = 0  # bound to vfio-pci
    processes: int = 0
    directories: int = 0

    def __str__(self) -> str:
        """`1,024 huge pages, 1 process`; empty when nothing was left."""
        counts = (
            (self.pages, "huge page", "huge pages"),
            (self.mounts, "mount", "mounts"),
            (self.devices, "assigned device", "assigned devices"),
            (self.processes, "process", "processes"),
            (self.directories, "directory", "directories"),
        )
        return ", ".join(f"{n:,} {one if n == 1 else many}" for n, one, many in counts if n)


def find_leftovers() -> Leftovers:
    """What is there now. Changes nothing."""
    return Leftovers(
        pages=owed_pages(),
        mounts=len(abandoned_mounts()),
        devices=len(vfio_pci.abandoned_devices()),
        processes=sum(len(orphans(record)) for record in abandoned_records()),
        directories=len(_directories()),
    )


def tidy(note: Note) -> Leftovers:
    """Remove what killed sessions left; returns what was there. Raises HostUnfit without root."""
    found = find_leftovers()
    for record in abandoned_records():
        end_orphans(record)  # first: they use what else was left
    remove_abandoned_mounts()
    reclaim_from_dead_sessions(note)
    vfio_pci.reclaim_from_dead_sessions()
    # The records last: without them only the pid tells whether a process has exited.
    for directory in (*_directories(), *abandoned_records()):
        shutil.rmtree(directory, ignore_errors=True)
    return found


def _directories() -> list[Path]:
    return abandoned_directories(Path(tempfile.gettempdir()))
