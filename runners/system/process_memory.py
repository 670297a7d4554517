"""Memory of another process: reads and writes through /proc/PID/mem, and its mappings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from results.errors import GuestLost


def read_memory(pid: int, address: int, length: int) -> bytes:
    """Read `length` bytes of a process. Raises OSError, also on a short read."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.pread(fd, length, address)
    finally:
        os.close(fd)
    if len(content) != length:
        raise OSError(f"{len(content)} of {length} bytes of process {pid} could be read")
    return content


def write_memory(pid: int, address: int, content: bytes) -> None:
    """Write `content` into a process. Raises OSError, also on a short write."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        written = os.pwrite(fd, content, address)
    finally:
        os.close(fd)
    if written != len(content):
        raise OSError(f"{written} of {len(content)} bytes of process {pid} could be written")


@dataclass(frozen=True, slots=True)
class SharedMapping:
    """A mapping of a shared file in a process."""

    start: int
    length: int
    inode: int
    name: str


def shared_mappings(pid: int) -> tuple[SharedMapping, ...]:
    """All shared file mappings of a process that start at file offset 0. Raises OSError."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, mode, offset, _, inode, *name = line.split(maxsplit=5)
        if mode[3] != "s" or inode == "0" or int(offset, 16):
            continue
        start, end = (int(part, 16) for part in span.split("-"))
        label = name[0].removesuffix(" (deleted)").removeprefix("/memfd:") if name else ""
        found.append(SharedMapping(start, end - start, int(inode), label))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class RamMapping:
    """A process's mapping of guest RAM."""

    start: int
    end: int
    shared: bool
    inode: int
    device: str


def ram_mapping(pid: int, ram_bytes: int) -> RamMapping:
    """Find guest RAM in /proc/PID/maps: the file mapping whose size is that of guest RAM.

    Raises GuestLost when no mapping matches.
    """
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, mode, offset, device, inode = line.split(maxsplit=5)[:5]
        start, end = (int(part, 16) for part in span.split("-"))
        if end - start == ram_bytes and int(offset, 16) == 0 and inode != "0":
            return RamMapping(start, end, mode[3] == "s", int(inode), device)
    raise GuestLost(f"QEMU (pid {pid}) maps no file of {ram_bytes} bytes as guest RAM")


def ram_descriptor(pid: int, ram_bytes: int) -> Path:
    """Path under /proc of the descriptor of guest RAM in process `pid`."""
    inode = ram_mapping(pid, ram_bytes).inode
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = entry.stat()
        except OSError:
            continue
        if found.st_ino == inode and found.st_size >= ram_bytes:
            return entry
    raise GuestLost(f"QEMU (pid {pid}) has no open descriptor of its guest RAM")
