"""Control groups of this process: which limits they set, how much is left, and what hit them.

Both versions are read, also side by side as systemd's hybrid layout has them. A limit of any
ancestor counts: the one with the least room left is the one that binds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROC = Path("/proc")

Resource = Literal["memory", "hugetlb", "pids"]

# Version 1 writes "no limit" as the largest multiple of a page, version 2 as `max`.
_NO_LIMIT = 1 << 60
_HUGE = "hugetlb.2MB"


@dataclass(frozen=True, slots=True)
class _Files:
    """Names of a resource's files: its limit, what counts towards it, and what was refused.

    `reserved` limits what is promised to mappings, where it is limited apart from what is used.
    """

    limit: str
    used: str
    events: str
    event: str  # in a file of `name count` lines; empty: the file has the count alone
    reserved: tuple[str, str] = ("", "")


_FILES: dict[tuple[Resource, int], _Files] = {
    ("memory", 1): _Files(
        "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control", "oom_kill"
    ),
    ("memory", 2): _Files("memory.max", "memory.current", "memory.events", "oom_kill"),
    ("hugetlb", 1): _Files(
        f"{_HUGE}.limit_in_bytes",
        f"{_HUGE}.usage_in_bytes",
        f"{_HUGE}.failcnt",
        "",
        (f"{_HUGE}.rsvd.limit_in_bytes", f"{_HUGE}.rsvd.usage_in_bytes"),
    ),
    ("hugetlb", 2): _Files(
        f"{_HUGE}.max",
        f"{_HUGE}.current",
        f"{_HUGE}.events",
        "max",
        (f"{_HUGE}.rsvd.max", f"{_HUGE}.rsvd.current"),
    ),
    ("pids", 1): _Files("pids.max", "pids.current", "pids.events", "max"),
    ("pids", 2): _Files("pids.max", "pids.current", "pids.events", "max"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """A control group of this process that has a controller."""

    directory: Path
    version: int


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """A limit of one group and how much of it is left, in bytes or in tasks."""

    file: Path
    limit: int
    free: int
    reserved: bool = False  # of huge pages: what is promised to mappings, not what is in use


def group_limits(resource: Resource, proc: Path = PROC) -> tuple[GroupLimit, ...]:
    """Every limit on `resource` in the groups of this process, the tightest first."""
    found = []
    for group in groups(resource, proc):
        files = _FILES[resource, group.version]
        for limit_name, used_name in ((files.limit, files.used), files.reserved):
            limit = _number(group.directory / limit_name) if limit_name else None
            used = _number(group.directory / used_name) if limit_name else None
            if limit is None or used is None or limit >= _NO_LIMIT:
                continue
            if resource == "memory":
                used -= _reclaimable(group)
            file, reserved = group.directory / limit_name, limit_name == files.reserved[0]
            found.append(GroupLimit(file, limit, max(0, limit - used), reserved))
    return tuple(sorted(found, key=lambda limit: limit.free))


def refused(resource: Resource, proc: Path = PROC) -> int:
    """How often the limits of `resource` were hit so far: tasks killed, pages or tasks refused."""
    total = 0
    for group in groups(resource, proc):
        files = _FILES[resource, group.version]
        text = _text(group.directory / files.events)
        match = re.search(rf"^{files.event} ?(\d+)$", text, re.MULTILINE)
        total += int(match[1]) if match else 0
    return total


def groups(resource: Resource, proc: Path = PROC) -> tuple[Group, ...]:
    """The groups of this process with the controller of `resource`, from its own to the root."""
    membership = _text(proc / "self/cgroup")
    found = []
    for mount in _mounts(_text(proc / "self/mountinfo")):
        if mount.version == 1 and resource not in mount.controllers:
            continue
        own = _membership(membership, resource if mount.version == 1 else "")
        if own is None:
            continue
        files = _FILES[resource, mount.version]
        # The root has no limits, and a version 2 group only those of its parent's choice.
        found += [
            Group(directory, mount.version)
            for directory in _ancestors(mount, own)
            if (directory / files.limit).exists()
        ]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Mount:
    root: str  # the group that is mounted: in a container usually not the root of the hierarchy
    point: Path
    version: int
    controllers: frozenset[str]


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[4])
        version = 2 if kind[0] == "cgroup2" else 1
        yield _Mount(fields[3], Path(point), version, frozenset(kind[2].split(",")))


def _membership(text: str, controller: str) -> str | None:
    """This process's group in the hierarchy of `controller`; empty: in that of version 2."""
    for line in text.splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if path and controller in names.split(","):
            return path
    return None


def _ancestors(mount: _Mount, own: str) -> Iterator[Path]:
    """Directories from the group `own` up to the mount point.

    A group outside of what is mounted (after `unshare -m`, or in a container that sees the host's
    /proc) has no directory here: the mounted group is all that can be seen.
    """
    relative = os.path.relpath(own, mount.root)
    if relative.startswith(".."):
        relative = "."
    directory = mount.point / relative
    yield directory
    while directory != mount.point:
        directory = directory.parent
        yield directory


def _reclaimable(group: Group) -> int:
    """File pages, which the kernel frees before it kills; pages of shared memory are not theirs."""
    prefix = "total_" if group.version == 1 else ""
    text = _text(group.directory / "memory.stat")
    found = re.findall(rf"^{prefix}(?:in)?active_file (\d+)$", text, re.MULTILINE)
    return sum(map(int, found))


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""


def _number(path: Path) -> int | None:
    """None where the file is missing or says `max`."""
    text = _text(path)
    return int(text) if text.isdigit() else None
