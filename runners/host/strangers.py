"""Processes that run a binary to be probed and are not ours: uprobes sit in the file, for all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from results.records.scenario import Build

_PROC = Path("/proc")


def strangers(builds: Iterable[Build]) -> dict[str, tuple[int, ...]]:
    """Label of each build → pids of processes that run its binary and are no child of ours."""
    binaries = {build.label: _identity(Path(build.binary)) for build in builds}
    found: dict[str, list[int]] = {label: [] for label in binaries}
    for entry in _PROC.glob("[0-9]*"):
        executable = _identity(entry / "exe")
        if executable is None:  # a kernel thread, or it has exited
            continue
        for label, binary in binaries.items():
            runs = binary is not None and (executable == binary or _is_loaded(entry, binary))
            if runs and not _is_ours(entry):
                found[label].append(int(entry.name))
    return {label: tuple(sorted(pids)) for label, pids in found.items()}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_loaded(entry: Path, binary: tuple[int, int]) -> bool:
    """Whether a dynamic loader that was started by name runs the binary, as for unpacked trees."""
    try:
        if not (entry / "exe").readlink().name.startswith("ld-linux"):
            return False
        lines = (entry / "maps").read_text().splitlines()
    except OSError:
        return False
    # Device numbers of maps and stat differ on some file systems (btrfs, overlayfs).
    return any(line.split()[4] == str(binary[1]) for line in lines)


def _is_ours(entry: Path) -> bool:
    try:
        parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return True  # it has exited
    return parent == os.getpid()
