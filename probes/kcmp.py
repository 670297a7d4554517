"""Whether two processes hold the same open file: the kcmp system call."""

from __future__ import annotations

import ctypes
import errno
import os
import platform

_SYSCALLS = {"x86_64": 312, "aarch64": 272}
_KCMP_FILE = 0


def same_open_file(pid: int, fd: int, other_pid: int, other_fd: int) -> bool:
    """True when both descriptors are one open file description, not merely one inode.

    Raises OSError: ENOSYS without CONFIG_KCMP, EPERM without ptrace rights, EBADF for no such fd.
    """
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"kcmp: its number on {platform.machine()} is not known")
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(number, pid, other_pid, _KCMP_FILE, fd, other_fd)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"kcmp: {os.strerror(code)}")
    return bool(result == 0)
