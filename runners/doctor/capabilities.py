"""System calls tried out, because a file or a flag that promises one may not keep it.

Each trial returns an empty string when the thing works and else the reason why not.
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


def _why(error: OSError) -> str:
    """The kernel's own words, without the name of the call."""
    return os.strerror(error.errno) if error.errno else str(error)


@contextmanager
def _page(length: int = mmap.PAGESIZE) -> Iterator[int]:
    """Address of touched private memory."""
    with mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[0] = 1
        head = ctypes.c_char.from_buffer(memory)
        try:
            yield ctypes.addressof(head)
        finally:
            del head  # a mapping with a view on it cannot be closed


def kvm() -> str:
    """Open KVM, make a VM and a vCPU: what a container may refuse though the device is there."""
    with ExitStack() as opened:
        try:
            device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, device)
            if (api := fcntl.ioctl(device, _KVM_GET_API_VERSION)) != _KVM_API:
                return f"/dev/kvm speaks API {api}, not {_KVM_API}"
            vm = fcntl.ioctl(device, _KVM_CREATE_VM, 0)
            opened.callback(os.close, vm)
            opened.callback(os.close, fcntl.ioctl(vm, _KVM_CREATE_VCPU, 0))
        except OSError as error:
            return f"/dev/kvm: {_why(error)}"
    return ""


def kcmp() -> str:
    """Whether two descriptors of one open file are told to be one."""
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
            return _why(error)
    return "" if equal and different else "it does not tell open files apart"


def pagemap() -> str:
    """Whether /proc/self/pagemap gives the physical page of one that is surely there."""
    try:
        with _page() as address, Path("/proc/self/pagemap").open("rb", buffering=0) as pages:
            pages.seek(address // mmap.PAGESIZE * 8)
            entry = int.from_bytes(pages.read(8), "little")
    except OSError as error:
        return _why(error)
    if not entry & _PRESENT:
        return "it does not show a page that is there"
    return "" if entry & _PFN else "page frame numbers are hidden (they need CAP_SYS_ADMIN)"


def io_uring() -> str:
    """Pin a page as io_uring's registered buffers do."""
    try:
        ring, _ = syscalls.io_uring_setup(1)
        try:
            with _page() as address:
                syscalls.register_buffers(ring, [(address, mmap.PAGESIZE)])
        finally:
            os.close(ring)
    except OSError as error:
        return _why(error)
    return ""


def lock_memory() -> str:
    """Lock 16 MiB, which takes the right to or a limit above the default."""
    with _page(_LOCKED_BYTES) as address:
        try:
            syscalls.lock_memory(address, _LOCKED_BYTES)
        except OSError as error:
            return _why(error)
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
        return "there is no such counter here" if error.errno == errno.ENOENT else _why(error)
    try:
        sum(range(10_000))
        counted = int.from_bytes(os.read(counter, 8), "little")
    finally:
        os.close(counter)
    return "" if counted else "it counts nothing"
