"""Virtio devices for old and new QEMU, and their back ends on the host."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from results.records.scenario import MIB, Build
from runners.qemu.command_line import Variation
from runners.qemu.process import Qemu

from .disk_images import qcow2_image, raw_image
from .network import PrivateNetwork

IMAGE_BYTES = 16 * MIB
_EXPORTS = ("old", "new")


@dataclass(frozen=True, slots=True)
class Settings:
    """Additional arguments of both QEMUs; `new` is None when they are the same."""

    old: Variation
    new: Variation | None = None


# Creates the back end on the host; the stack removes it. Raises HostUnfit.
SetUp = Callable[[AsyncExitStack, Path, Build], Awaitable[Settings]]


@dataclass(frozen=True, slots=True)
class OrdinaryDevice:
    """A device with one kind of back end. Its runs are stored as device.NAME."""

    name: str
    what: str
    set_up: SetUp
    needs: Path | None = None  # QEMU refuses the device on a host without this
    fix: str = ""  # what to do instead, if QEMU is known to refuse this


async def _raw(stack: AsyncExitStack, directory: Path, build: Build) -> Settings:
    image = raw_image(directory / "tried.raw", IMAGE_BYTES)
    return Settings(Variation(disk_arguments("raw", image)))


async def _qcow2(stack: AsyncExitStack, directory: Path, build: Build) -> Settings:
    image = qcow2_image(directory / "tried.qcow2", IMAGE_BYTES)
    return Settings(Variation(disk_arguments("qcow2", image)))


def disk_arguments(kind: str, image: Path, options: str = "") -> tuple[str, ...]:
    """A virtio-blk device on an image, with QEMU's default image locking.

    An incoming QEMU opens its images inactive and locks them when it activates the guest, after
    old QEMU has released them. So both can use the same image.
    """
    return (
        *("-blockdev", f"driver=file,node-name=file0,filename={image}{options}"),
        *("-blockdev", f"driver={kind},node-name=disk0,file=file0"),
        *("-device", "virtio-blk-pci,drive=disk0,id=blk0"),
    )


async def _serial(stack: AsyncExitStack, directory: Path, build: Build) -> Settings:
    """Both QEMUs are clients of one socket; an idle guest sends nothing, so nothing reads it."""
    path = directory / "tried.serial"
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(str(path))
    stack.callback(path.unlink, missing_ok=True)
    server.listen(len(_EXPORTS))
    return Settings(Variation(serial_arguments(path)))


def serial_arguments(path: Path) -> tuple[str, ...]:
    """A virtio-serial port that QEMU connects to the socket at `path`."""
    return (
        *("-device", "virtio-serial-pci,id=serial0"),
        *("-chardev", f"socket,id=port0,path={path}"),
        *("-device", "virtserialport,chardev=port0,name=pausebench"),
    )


def nic_arguments(backend: str) -> tuple[str, ...]:
    """A virtio-net device on a backend, without a boot ROM."""
    return (
        *("-netdev", f"{backend},id=net0"),
        *("-device", "virtio-net-pci,netdev=net0,id=nic0,romfile="),
    )


async def _two_taps(stack: AsyncExitStack, directory: Path, build: Build) -> Settings:
    network = stack.enter_context(PrivateNetwork())
    old, new = (network.tap(name) for name in ("tap0", "tap1"))
    return Settings(
        *(Variation(nic_arguments(f"tap,fd={t}"), descriptors=(t,)) for t in (old, new))
    )


async def _shared_tap(stack: AsyncExitStack, directory: Path, build: Build) -> Settings:
    tap = stack.enter_context(PrivateNetwork()).tap("tap0")
    return Settings(Variation(nic_arguments(f"tap,fd={tap}"), descriptors=(tap,)))


async def _named_tap(stack: AsyncExitStack, directory: Path, build: Build) -> Settings:
    network = stack.enter_context(PrivateNetwork())
    stack.enter_context(network.entered())  # QEMU creates its own tap, so it starts in there
    return Settings(Variation(nic_arguments("tap,ifname=tap0,script=no,downscript=no")))


async def _vhost_net(stack: AsyncExitStack, directory: Path, build: Build) -> Settings:
    network = stack.enter_context(PrivateNetwork())
    taps = [network.tap(name) for name in ("tap0", "tap1")]
    return Settings(
        *(Variation(nic_arguments(f"tap,fd={t},vhost=on"), descriptors=(t,)) for t in taps)
    )


async def _vhost_user_blk(stack: AsyncExitStack, directory: Path, build: Build) -> Settings:
    """A third QEMU, without a guest, exports one image on two sockets.

    A vhost-user server accepts one client per socket, and new QEMU connects while old QEMU is still
    connected.
    """
    server = Qemu.start(lambda fd: _server_argv(build, fd), directory / "vhost-user.log")
    stack.push_async_callback(server.quit)
    await server.connect()
    image = raw_image(directory / "tried.vhost-user", IMAGE_BYTES)
    await server.execute("blockdev-add", driver="file", filename=str(image), node_name="disk0")
    found = []
    for side in _EXPORTS:
        path = directory / f"vhost-user.{side}"
        await server.execute(
            "block-export-add",
            {"node-name": "disk0"},
            type="vhost-user-blk",
            id=side,
            writable=True,
            addr={"type": "unix", "path": str(path)},
        )
        device = "vhost-user-blk-pci,chardev=vhost0,id=blk0"
        chardev = f"socket,id=vhost0,path={path}"
        found.append(Variation(("-chardev", chardev, "-device", device)))
    return Settings(*found)


def _server_argv(build: Build, monitor_fd: int) -> tuple[str, ...]:
    return (
        *build.launcher,
        *("-machine", "none", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-chardev", f"socket,id=qmp,fd={monitor_fd}", "-mon", "chardev=qmp,mode=control"),
    )


ORDINARY = (
    OrdinaryDevice("virtio-blk-raw", "virtio-blk on a raw image", _raw),
    OrdinaryDevice("virtio-blk-qcow2", "virtio-blk on a qcow2 image", _qcow2),
    OrdinaryDevice("virtio-serial", "virtio-serial on a socket", _serial),
    OrdinaryDevice("virtio-net-taps", "virtio-net, a tap for each QEMU", _two_taps),
    OrdinaryDevice("virtio-net-fd", "virtio-net, one tap's descriptor for both", _shared_tap),
    OrdinaryDevice(
        "virtio-net-name",
        "virtio-net, both QEMUs name one tap",
        _named_tap,
        fix="give each QEMU its own tap, behind one bridge",
    ),
    OrdinaryDevice(
        "vhost-net", "virtio-net with vhost, a tap for each", _vhost_net, Path("/dev/vhost-net")
    ),
    OrdinaryDevice("vhost-user-blk", "vhost-user-blk, a socket for each QEMU", _vhost_user_blk),
)
