"""Limits on this process and its children, named as an administrator would look for them."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import cgroups

MIB = 1 << 20
_CAP_IPC_LOCK = 14
_OOM_MOST = 1000  # killed before all else, whatever its size


@dataclass(frozen=True, slots=True)
class Room:
    """How much of something is left, and what bounds it; `fix` raises the bound."""

    free: int
    bound: str
    fix: str
    reserved: bool = False  # counts what mappings may use, not what they do


def memory_room() -> Room:
    """Memory that can still be used, in bytes: of the host, or of a control group with less."""
    host = Room(psutil.virtual_memory().available, "the host's available memory", _FREE_MEMORY)
    return min((host, *_group_rooms("memory")), key=lambda room: room.free)


def huge_page_rooms() -> tuple[Room, ...]:
    """Bytes of huge pages that each control group with a limit still allows, the least first."""
    return tuple(_group_rooms("hugetlb"))


def task_room() -> Room | None:
    """Processes and threads that control groups still allow; None without a limit."""
    return min(_group_rooms("pids"), key=lambda room: room.free, default=None)


def _group_rooms(name: cgroups.Resource) -> list[Room]:
    return [_group_room(name, limit) for limit in cgroups.group_limits(name)]


def _group_room(name: cgroups.Resource, limit: cgroups.GroupLimit) -> Room:
    what, fix = _GROUP_LIMITS[name]
    number = f"{limit.limit}" if name == "pids" else f"{limit.limit // MIB} MiB"
    bound = f"the {what} limit of a control group, {number} ({limit.file})"
    return Room(limit.free, bound, fix, limit.reserved)


_FREE_MEMORY = "stop other programs, or use less --ram"
_GROUP_LIMITS: dict[cgroups.Resource, tuple[str, str]] = {
    "memory": (
        "memory",
        "raise it (docker and podman: --memory; systemd: MemoryMax=; Kubernetes: "
        "resources.limits.memory), or use less --ram",
    ),
    "hugetlb": (
        "huge page",
        "raise it in that file (Kubernetes: resources.limits.hugepages-2Mi), or use less --ram",
    ),
    "pids": ("pids", "raise it (docker and podman: --pids-limit; systemd: TasksMax=)"),
}


# --- rlimits ----------------------------------------------------------------------------------


def limit_of(kind: int) -> int | None:
    """The soft limit of this process, which children inherit; None: unlimited."""
    soft, _ = resource.getrlimit(kind)
    return None if soft == resource.RLIM_INFINITY else soft


def address_space() -> int | None:
    """`ulimit -v` in bytes."""
    return limit_of(resource.RLIMIT_AS)


def open_files() -> int | None:
    """`ulimit -n`."""
    return limit_of(resource.RLIMIT_NOFILE)


def lockable_memory() -> int | None:
    """`ulimit -l` in bytes; None also with CAP_IPC_LOCK, which the limit does not bind."""
    return None if _has_ipc_lock() else limit_of(resource.RLIMIT_MEMLOCK)


def _has_ipc_lock(status: Path = Path("/proc/self/status")) -> bool:
    for line in status.read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False


# --- who is killed first --------------------------------------------------------------------------


def offer_to_oom_killer(pid: int) -> None:
    """Make the kernel kill child `pid` rather than this process where memory runs out.

    A lost guest is a failed run; a lost session is reported by nobody.
    """
    with suppress(OSError):  # it may have exited already
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(_OOM_MOST))


# --- what stopped a child -----------------------------------------------------------------------


class Refusals:
    """Counts of what the kernel refused or killed for want of room, from now on."""

    def __init__(self) -> None:
        self._before = self._counts()

    @staticmethod
    def _counts() -> dict[cgroups.Resource, int]:
        return {name: cgroups.refused(name) for name in ("memory", "hugetlb", "pids")}

    def since(self) -> tuple[Room, ...]:
        """The limits that were hit since construction."""
        now = self._counts()
        hit = [name for name in now if now[name] > self._before[name]]
        return tuple(room for name in hit if (room := _limit_behind(name)) is not None)


def _limit_behind(name: cgroups.Resource) -> Room | None:
    if name == "hugetlb":
        return next(iter(huge_page_rooms()), None)
    if name == "pids":
        return task_room()
    # A kill by the host's own shortage is counted in the group too. Room was made by the kill, so
    # what is left shows nothing: the lowest limit that is below the host's memory is the one.
    host = psutil.virtual_memory().total
    limits = [limit for limit in cgroups.group_limits("memory") if limit.limit < host]
    if not limits:
        return Room(0, "the host's memory", _FREE_MEMORY)
    return _group_room("memory", min(limits, key=lambda limit: limit.limit))
