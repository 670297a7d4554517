"""Whether two processes hold the same open file: the kcmp system call."""

from __future__ import annotations

from .syscalls import syscall

_KCMP_FILE = 0


def same_open_file(pid: int, fd: int, other_pid: int, other_fd: int) -> bool:
    """True when both descriptors refer to one open file description, not just to one inode.

    Raises OSError: ENOSYS without CONFIG_KCMP, EPERM without ptrace rights, EBADF for a closed fd.
    """
    return syscall("kcmp", pid, other_pid, _KCMP_FILE, fd, other_fd) == 0
