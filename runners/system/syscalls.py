"""Linux system calls that Python does not wrap. Each raises OSError with its errno.

The C library does not wrap some of them either: those are made by number, which for older calls
depends on the architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path

MNT_DETACH = 2

_NUMBERS = {
    "x86_64": {"perf_event_open": 298, "kcmp": 312},
    "aarch64": {"perf_event_open": 241, "kcmp": 272},
}
# The same on every architecture, like all calls added since Linux 5.1.
_IO_URING = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}

_KCMP_FILE = 0
_PERF_FLAG_FD_CLOEXEC = 8
_IORING_PARAMS_WORDS = 30
_IORING_ENTER_GETEVENTS = 1
_IORING_REGISTER_BUFFERS, _IORING_UNREGISTER_BUFFERS = 0, 1
_CLONE_NEWNET = 0x40000000
_PROT_READ_WRITE = 3
_MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 0x02, 0x10, 0x20


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    """Raise the errno of a failed C library call, as Python's own functions do."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _by_number(name: str, *arguments: object, what: str = "") -> int:
    """Make a call that the C library does not wrap; `what` names it in errors."""
    number = (_NUMBERS.get(platform.machine(), {}) | _IO_URING).get(name)
    if number is None:
        raise OSError(errno.ENOSYS, f"{name}: unknown system call number on {platform.machine()}")
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what or name}: {os.strerror(code)}")
    return result


# --- processes and counters -----------------------------------------------------------------


def compare_files(pid: int, other_pid: int, fd: int, other_fd: int) -> int:
    """kcmp(KCMP_FILE): 0 when both descriptors refer to one open file description, else nonzero."""
    return _by_number("kcmp", pid, other_pid, _KCMP_FILE, fd, other_fd)


def perf_event_open(attributes: bytes, tid: int = 0) -> int:
    """Descriptor of a counter for thread `tid` (0: this one) on any CPU.

    `attributes` is a struct perf_event_attr.
    """
    return _by_number("perf_event_open", attributes, tid, -1, -1, _PERF_FLAG_FD_CLOEXEC)


# --- io_uring -------------------------------------------------------------------------------


def io_uring_setup(entries: int) -> tuple[int, list[int]]:
    """Descriptor of a new ring, and struct io_uring_params as 32-bit words."""
    parameters = (ctypes.c_uint32 * _IORING_PARAMS_WORDS)()
    ring = _by_number("io_uring_setup", entries, ctypes.byref(parameters))
    return ring, list(parameters)


def io_uring_enter(ring: int, submitted: int, completed: int) -> int:
    """Submit `submitted` requests and wait for `completed`; returns how many were submitted."""
    flags = _IORING_ENTER_GETEVENTS
    return _by_number("io_uring_enter", ring, submitted, completed, flags, None, 0)


def register_buffers(ring: int, buffers: Sequence[tuple[int, int]]) -> None:
    """Pin buffers of this process, given as (address, bytes), for requests of the ring."""
    words = [word for buffer in buffers for word in buffer]
    vectors = (ctypes.c_uint64 * len(words))(*words)
    operands = (_IORING_REGISTER_BUFFERS, ctypes.byref(vectors), len(buffers))
    _by_number("io_uring_register", ring, *operands, what="io_uring_register(BUFFERS)")


def unregister_buffers(ring: int) -> None:
    operands = (_IORING_UNREGISTER_BUFFERS, None, 0)
    _by_number("io_uring_register", ring, *operands, what="io_uring_register(UNREGISTER)")


# --- memory ---------------------------------------------------------------------------------


def lock_memory(address: int, length: int) -> None:
    _checked(_libc().mlock(ctypes.c_void_p(address), ctypes.c_size_t(length)))


def unlock_memory(address: int, length: int) -> None:
    _checked(_libc().munlock(ctypes.c_void_p(address), ctypes.c_size_t(length)))


def replace_mapping(address: int, length: int) -> None:
    """Replace an existing mapping by new private anonymous memory."""
    flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED
    size, no_offset = ctypes.c_size_t(length), ctypes.c_size_t(0)
    _libc().mmap.restype = ctypes.c_void_p
    at = _libc().mmap(ctypes.c_void_p(address), size, _PROT_READ_WRITE, flags, -1, no_offset)
    _checked(0 if at == address else -1)


# --- namespaces and mounts ------------------------------------------------------------------


def new_network_namespace() -> None:
    """Move the calling thread into a new namespace (os.unshare exists since Python 3.12)."""
    _checked(_libc().unshare(_CLONE_NEWNET))


def enter_network_namespace(descriptor: int) -> None:
    """Move the calling thread into a namespace (os.setns exists since Python 3.12)."""
    _checked(_libc().setns(descriptor, _CLONE_NEWNET))


def mount(source: str, directory: Path, kind: str, options: str) -> None:
    where = os.fsencode(directory)
    _checked(_libc().mount(source.encode(), where, kind.encode(), 0, options.encode()))


def unmount(directory: Path, flags: int = 0) -> None:
    _checked(_libc().umount2(os.fsencode(directory), flags))
