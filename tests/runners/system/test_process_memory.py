"""Memory of a process by its pid, here our own."""

from __future__ import annotations

import ctypes
import os

import pytest

from runners.system.process_memory import read_memory, write_memory


def test_written_memory_is_read_back() -> None:
    place = ctypes.create_string_buffer(b"before", 8)
    address = ctypes.addressof(place)
    assert read_memory(os.getpid(), address, 6) == b"before"
    write_memory(os.getpid(), address, b"after!")
    assert place.raw == b"after!\0\0"


def test_unmapped_memory_is_an_error() -> None:
    with pytest.raises(OSError, match=r"error|bytes"):
        read_memory(os.getpid(), 4096, 8)
    with pytest.raises(OSError, match=r"error|bytes"):
        write_memory(os.getpid(), 4096, b"x")
    with pytest.raises(FileNotFoundError):
        read_memory(1 << 22, 4096, 8)
