"""Capabilities of the host, checked by making the system calls: a file or flag may be misleading.

Each check returns an empty string when the capability works, and else the reason why not.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runners.system import syscalls

_KVM_GET_API_VERSION, _KVM_CREATE_VM, _KVM_CREATE_VCPU = 0xAE00, 0xAE01, 0xAE41
_KVM_API = 12
_PERF_ATTR_BYTES = 64  # PERF_ATTR_SIZE_VER0
_PFN = (1 << 55) - 1
_PRESENT = 1 << 63
_LOCKED_BYTES = 16 << 20  # more than the usual limit of 8 MiB


def _reason(error: OSError) -> str:
    """The kernel's error message, without the name of the call."""
    return os.strerror(error.errno) if error.errno else str(error)


@contextmanager
def _page(length: int = mmap.PAGESIZE) -> Iterator[int]:
    """Address of private memory whose first page is mapped."""
    with mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[0] = 1
        head = ctypes.c_char.from_buffer(memory)
        try:
            yield ctypes.addressof(head)
        finally:
            del head  # a mapping with an exported pointer cannot be closed


def kvm() -> str:
    """Open KVM, create a VM and a vCPU, which a container may refuse even with the device."""
    with ExitStack() as opened:
        try:
            device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, device)
            if (api := fcntl.ioctl(device, _KVM_GET_API_VERSION)) != _KVM_API:
                return f"/dev/kvm has API version {api}, not {_KVM_API}"
            vm = fcntl.ioctl(device, _KVM_CREATE_VM, 0)
            opened.callback(os.close, vm)
            opened.callback(os.close, fcntl.ioctl(vm, _KVM_CREATE_VCPU, 0))
        except OSError as error:
            return f"/dev/kvm: {_reason(error)}"
    return ""


def kcmp() -> str:
    """Compare two descriptors of one open file, and those of two."""
    with ExitStack() as opened:
        one = os.open(os.devnull, os.O_RDONLY)
        opened.callback(os.close, one)
        same = os.dup(one)
        opened.callback(os.close, same)
        other = os.open(os.devnull, os.O_RDONLY)
        opened.callback(os.close, other)
        pid = os.getpid()
        try:
            equal = syscalls.compare_files(pid, pid, one, same) == 0
            different = syscalls.compare_files(pid, pid, one, other) != 0
        except OSError as error:
            return _reason(error)
    return "" if equal and different else "does not distinguish open files"


def pagemap() -> str:
    """Read the frame of a mapped page from /proc/self/pagemap."""
    try:
        with _page() as address, Path("/proc/self/pagemap").open("rb", buffering=0) as pages:
            pages.seek(address // mmap.PAGESIZE * 8)
            entry = int.from_bytes(pages.read(8), "little")
    except OSError as error:
        return _reason(error)
    if not entry & _PRESENT:
        return "does not show a mapped page"
    return "" if entry & _PFN else "page frame numbers are hidden (CAP_SYS_ADMIN is needed)"


def io_uring() -> str:
    """Pin a page with an io_uring registered buffer."""
    try:
        ring, _ = syscalls.io_uring_setup(1)
        try:
            with _page() as address:
                syscalls.register_buffers(ring, [(address, mmap.PAGESIZE)])
        finally:
            os.close(ring)
    except OSError as error:
        return _reason(error)
    return ""


def lock_memory() -> str:
    """Lock 16 MiB, which needs CAP_IPC_LOCK or a limit above the default."""
    with _page(_LOCKED_BYTES) as address:
        try:
            syscalls.lock_memory(address, _LOCKED_BYTES)
        except OSError as error:
            return _reason(error)
        syscalls.unlock_memory(address, _LOCKED_BYTES)
    return ""


def perf_software() -> str:
    """Count this process's task clock."""
    return _perf(1, 1)


def perf_hardware() -> str:
    """Count this process's cycles."""
    return _perf(0, 0)


def _perf(kind: int, config: int) -> str:
    head = struct.pack("IIQ", kind, _PERF_ATTR_BYTES, config)
    try:
        counter = syscalls.perf_event_open(head.ljust(_PERF_ATTR_BYTES, b"\0"))
    except OSError as error:
        return "not supported on this host" if error.errno == errno.ENOENT else _reason(error)
    try:
        sum(range(10_000))
        counted = int.from_bytes(os.read(counter, 8), "little")
    finally:
        os.close(counter)
    return "" if counted else "counts nothing"
