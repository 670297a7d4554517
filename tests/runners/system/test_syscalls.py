"""System calls on objects of known state: their effects and their errors."""

import ctypes
import errno
import mmap
import os

import pytest

from runners.system import syscalls

BAD_FD = 1_000_000


@pytest.fixture
def area():
    """Two pages of a shared file, filled, with their address."""
    fd = os.memfd_create("area")
    os.ftruncate(fd, 2 * mmap.PAGESIZE)
    with mmap.mmap(fd, 2 * mmap.PAGESIZE) as memory:
        memory[:] = b"x" * len(memory)
        head = ctypes.c_char.from_buffer(memory)
        yield fd, memory, ctypes.addressof(head)
        del head
    os.close(fd)


def test_a_replaced_page_is_empty_and_detached_from_the_file(area):
    fd, memory, address = area
    syscalls.replace_mapping(address + mmap.PAGESIZE, mmap.PAGESIZE)
    assert memory[mmap.PAGESIZE - 2 : mmap.PAGESIZE + 2] == b"xx\0\0"
    memory[mmap.PAGESIZE] = 1
    assert os.pread(fd, 2, mmap.PAGESIZE) == b"xx"


def test_only_a_duplicate_descriptor_is_the_same_file():
    one = os.memfd_create("one")
    duplicate, other = os.dup(one), os.memfd_create("other")
    try:
        pid = os.getpid()
        assert syscalls.compare_files(pid, pid, one, duplicate) == 0
        assert syscalls.compare_files(pid, pid, one, other) != 0
    finally:
        for fd in (one, duplicate, other):
            os.close(fd)


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (lambda: syscalls.compare_files(os.getpid(), os.getpid(), BAD_FD, 0), errno.EBADF),
        (lambda: syscalls.perf_event_open(bytes(4)), errno.E2BIG),
        (lambda: syscalls.unregister_buffers(BAD_FD), errno.EBADF),
        (lambda: syscalls.io_uring_enter(BAD_FD, 1, 1), errno.EBADF),
        (lambda: syscalls.io_uring_setup(0), errno.EINVAL),
        (lambda: syscalls.enter_network_namespace(BAD_FD), errno.EBADF),
        (lambda: syscalls.lock_memory(0, mmap.PAGESIZE), errno.ENOMEM),
        (lambda: syscalls.replace_mapping(1, mmap.PAGESIZE), errno.EINVAL),
    ],
)
def test_a_failed_call_raises_its_errno(refused, code):
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        refused()
    assert caught.value.errno == code


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_failed_mount_raises(tmp_path):
    with pytest.raises(OSError, match="No such device"):
        syscalls.mount("none", tmp_path, "no-such-filesystem", "")
    with pytest.raises(OSError, match="Invalid argument"):
        syscalls.unmount(tmp_path)


def test_an_architecture_with_unknown_numbers(monkeypatch):
    monkeypatch.setattr(syscalls.platform, "machine", lambda: "vax")
    with pytest.raises(OSError, match=r"kcmp: .*vax") as caught:
        syscalls.compare_files(os.getpid(), os.getpid(), 0, 0)
    assert caught.value.errno == errno.ENOSYS
