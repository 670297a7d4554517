"""A private network namespace with tap devices, and packet sockets in it.

The namespace has no name: it exists as long as a descriptor or process refers to it, and a tap as
long as its descriptor is open. So nothing is left behind, even when this process is killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self, TypeVar

from results.denial import denial
from results.errors import HostUnfit
from runners.system.syscalls import enter_network_namespace, new_network_namespace

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_ETH_P_ALL = 3
_NO_TUN = "modprobe tun (docker and podman: --device /dev/net/tun)"

T = TypeVar("T")


class PrivateNetwork:
    """A new network namespace; a context manager.

    Raises HostUnfit when it cannot be created, or without /dev/net/tun.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._namespace = -1

    def __enter__(self) -> Self:
        try:
            self._namespace = _in_thread(_new_namespace)
        except OSError as error:
            why = denial(
                error.errno or 0, needs=("SYS_ADMIN",), absent="use a kernel with CONFIG_NET_NS"
            )
            raise HostUnfit(f"cannot create a network namespace: {why}") from error
        self._stack.callback(os.close, self._namespace)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def tap(self, name: str, *, vnet_header: bool = True) -> int:
        """Create a tap `name` and bring it up; its descriptor stays open until the context ends.

        `vnet_header`: each frame starts with a virtio header, as in the taps that QEMU creates.
        """
        try:
            descriptor = self._inside(lambda: _open_tap(name, vnet_header=vnet_header))
        except OSError as error:
            why = denial(error.errno or 0, needs=("NET_ADMIN",), absent=_NO_TUN)
            raise HostUnfit(f"cannot create a tap device: {why}") from error
        self._stack.callback(os.close, descriptor)
        return descriptor

    def listener(self, ether_type: int = _ETH_P_ALL) -> socket.socket:
        """A packet socket that receives the frames of all interfaces in the namespace."""

        def opened() -> socket.socket:
            return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ether_type))

        try:
            return self._stack.enter_context(self._inside(opened))
        except OSError as error:
            why = denial(
                error.errno or 0, needs=("NET_RAW",), absent="use a kernel with CONFIG_PACKET"
            )
            raise HostUnfit(f"cannot open a packet socket: {why}") from error

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into the namespace, with the processes that it starts there."""
        with Path("/proc/thread-self/ns/net").open("rb") as before:
            enter_network_namespace(self._namespace)
            try:
                yield
            finally:
                enter_network_namespace(before.fileno())

    def _inside(self, work: Callable[[], T]) -> T:
        with self.entered():
            return work()


def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a new thread, because entering a namespace changes the calling thread."""
    found: list[T] = []
    failed: list[OSError] = []

    def run() -> None:
        try:
            found.append(work())
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _new_namespace() -> int:
    new_network_namespace()
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _open_tap(name: str, *, vnet_header: bool) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = _IFF_TAP | _IFF_NO_PI | (_IFF_VNET_HDR if vnet_header else 0)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        _bring_up(name)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _bring_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", name.encode(), 0)
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        flags = struct.unpack_from("H", answer, 16)[0]
        if flags & _IFF_UP:
            raise OSError(errno.EEXIST, f"{name} is already up")
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | _IFF_UP))
