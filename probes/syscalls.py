"""Linux system calls that neither Python nor the C library wraps."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from functools import cache

_NUMBERS = {
    "x86_64": {"perf_event_open": 298, "kcmp": 312},
    "aarch64": {"perf_event_open": 241, "kcmp": 272},
}


@cache
def _libc() -> ctypes.CDLL:
    """Cached: every ctypes.CDLL creates a class, and a transfer opens fifty perf events."""
    return ctypes.CDLL(None, use_errno=True)


def syscall(name: str, *arguments: object) -> int:
    """Make the call `name`. Raises OSError with its errno; ENOSYS when its number is unknown."""
    number = _NUMBERS.get(platform.machine(), {}).get(name)
    if number is None:
        raise OSError(errno.ENOSYS, f"{name}: unknown system call number on {platform.machine()}")
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result
