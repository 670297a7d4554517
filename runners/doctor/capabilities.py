"""Capabilities of the host, checked by making the system calls: a file or flag may be misleading.

Each check returns why the capability does not work, with the fix; false when it does.
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

from results.denial import Denial, denial
from runners.system import limits, syscalls

_KVM_GET_API_VERSION, _KVM_CREATE_VM, _KVM_CREATE_VCPU = 0xAE00, 0xAE01, 0xAE41
_KVM_API = 12
_PERF_ATTR_BYTES = 64  # PERF_ATTR_SIZE_VER0
_PFN = (1 << 55) - 1
_PRESENT = 1 << 63
_LOCKED_BYTES = 16 << 20  # more than the usual limit of 8 MiB


_MEMLOCK_FIX = (
    "ulimit -l unlimited (docker and podman: --ulimit memlock=-1; systemd: LimitMEMLOCK=infinity)"
)
_IO_URING_FIX = "sysctl kernel.io_uring_disabled=0"
_KVM_ABSENT = (
    "enable virtualization in the firmware, then modprobe kvm_intel (AMD: kvm_amd); in a virtual "
    "machine, enable nested virtualization on its host; in a container, --device /dev/kvm"
)


def _denied(error: OSError, *needs: str, absent: str = "", memory: str = "") -> Denial:
    """The kernel's error message, without the name of the call."""
    if not error.errno:
        return Denial(str(error))
    return denial(error.errno, needs=needs, absent=absent, memory=memory)


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


def kvm() -> Denial:
    """Open KVM, create a VM and a vCPU, which a container may refuse even with the device."""
    with ExitStack() as opened:
        try:
            device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, device)
            if (api := fcntl.ioctl(device, _KVM_GET_API_VERSION)) != _KVM_API:
                return Denial(f"/dev/kvm has API version {api}, not {_KVM_API}")
            vm = fcntl.ioctl(device, _KVM_CREATE_VM, 0)
            opened.callback(os.close, vm)
            opened.callback(os.close, fcntl.ioctl(vm, _KVM_CREATE_VCPU, 0))
        except OSError as error:
            why = _denied(error, absent=_KVM_ABSENT, memory="free memory on the host")
            return Denial(f"/dev/kvm: {why.reason}", why.fix)
    return Denial()


def kcmp() -> Denial:
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
            return _denied(error, "SYS_PTRACE", absent="use a kernel with CONFIG_KCMP")
    return Denial() if equal and different else Denial("does not distinguish open files")


def pagemap() -> Denial:
    """Read the frame of a mapped page from /proc/self/pagemap."""
    try:
        with _page() as address, Path("/proc/self/pagemap").open("rb", buffering=0) as pages:
            pages.seek(address // mmap.PAGESIZE * 8)
            entry = int.from_bytes(pages.read(8), "little")
    except OSError as error:
        return _denied(error, "SYS_ADMIN", absent="use a kernel with CONFIG_PROC_PAGE_MONITOR")
    if not entry & _PRESENT:
        return Denial("does not show a mapped page")
    if entry & _PFN:
        return Denial()
    # The kernel shows zeros instead of refusing.
    why = denial(errno.EPERM, needs=("SYS_ADMIN",))
    return Denial(f"page frame numbers are hidden: {why.reason}", why.fix)


def io_uring() -> Denial:
    """Pin a page with an io_uring registered buffer."""
    try:
        ring, _ = syscalls.io_uring_setup(1)
        try:
            with _page() as address:
                syscalls.register_buffers(ring, [(address, mmap.PAGESIZE)])
        finally:
            os.close(ring)
    except OSError as error:
        if error.errno == errno.EPERM and _io_uring_disabled() != "0":
            return Denial("disabled (kernel.io_uring_disabled)", _IO_URING_FIX)
        return _denied(error, absent="use a kernel with CONFIG_IO_URING", memory=_MEMLOCK_FIX)
    return Denial()


def _io_uring_disabled() -> str:
    """`0` also on kernels without the sysctl."""
    try:
        return Path("/proc/sys/kernel/io_uring_disabled").read_text().strip()
    except OSError:
        return "0"


def lock_memory() -> Denial:
    """Lock 16 MiB, which needs CAP_IPC_LOCK or a limit above the default."""
    with _page(_LOCKED_BYTES) as address:
        try:
            syscalls.lock_memory(address, _LOCKED_BYTES)
        except OSError as error:
            why = _denied(error, "IPC_LOCK", memory=_MEMLOCK_FIX)
            if (limit := limits.lockable_memory()) is None:
                return why
            return Denial(f"{why.reason}, the limit is {limit >> 20} MiB (ulimit -l)", why.fix)
        syscalls.unlock_memory(address, _LOCKED_BYTES)
    return Denial()


def perf_software() -> Denial:
    """Count this process's task clock."""
    return _perf(1, 1)


def perf_hardware() -> Denial:
    """Count this process's cycles."""
    return _perf(0, 0)


def _perf(kind: int, config: int) -> Denial:
    head = struct.pack("IIQ", kind, _PERF_ATTR_BYTES, config)
    try:
        counter = syscalls.perf_event_open(head.ljust(_PERF_ATTR_BYTES, b"\0"))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Denial("not supported on this host")
        return _denied(error, "PERFMON", absent="use a kernel with CONFIG_PERF_EVENTS")
    try:
        sum(range(10_000))
        counted = int.from_bytes(os.read(counter, 8), "little")
    finally:
        os.close(counter)
    return Denial() if counted else Denial("counts nothing")
