"""Memory of another process, through /proc/PID/mem."""

from __future__ import annotations

import os


def read_memory(pid: int, address: int, length: int) -> bytes:
    """`length` bytes of a process. Raises OSError, also when they are not all there."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.pread(fd, length, address)
    finally:
        os.close(fd)
    if len(content) != length:
        raise OSError(f"{len(content)} of {length} bytes of process {pid} could be read")
    return content


def write_memory(pid: int, address: int, content: bytes) -> None:
    """Put `content` into a process. Raises OSError, also when not all of it went in."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        written = os.pwrite(fd, content, address)
    finally:
        os.close(fd)
    if written != len(content):
        raise OSError(f"{written} of {len(content)} bytes of process {pid} could be written")
