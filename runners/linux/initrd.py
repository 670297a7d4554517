"""The guest's initial RAM disk: our program and the modules for its devices."""

from __future__ import annotations

import lzma
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from results.errors import HostUnfit
from runners.system.assembler import assemble

MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "virtio_net")
ETHER_TYPE = 0x88B5  # for experiments (IEEE 802)
BLOCKS = 1024  # of 4 KiB, written in turn
PACE_NS = 1_000_000
_FILE, _DIRECTORY = 0o100755, 0o040755
_MOST_MODULES = 26


def build_initrd(modules: Path, directory: Path) -> Path:
    """Assemble the program and pack it with the kernel modules below `modules`.

    Raises HostUnfit without binutils, or for modules that cannot be decompressed.
    """
    if platform.machine() != "x86_64":
        raise HostUnfit("the Linux guest runs on x86-64 only")
    program = assemble(
        __package__,
        "init.S",
        {"ETHER_TYPE": ETHER_TYPE, "BLOCKS": BLOCKS, "PACE_NS": PACE_NS},
        directory / "init",
        assembler=("--64",),
        linker=("-m", "elf_x86_64", "-z", "noexecstack"),
    )
    files = {"init": program.read_bytes()}
    ordered = in_order(_module_files(modules), MODULES)
    files |= {f"m/{chr(ord('a') + n)}": content for n, content in enumerate(ordered)}
    initrd = directory / "initrd"
    initrd.write_bytes(archive(files, ("dev", "m")))
    return initrd


def _module_files(modules: Path) -> dict[str, Path]:
    """Module name → its file."""
    return {p.name.split(".")[0].replace("-", "_"): p for p in modules.rglob("*.ko*")}


def in_order(files: Mapping[str, Path], wanted: Iterable[str]) -> list[bytes]:
    """The wanted modules and their dependencies, each after those that it depends on.

    A module without a file is built into the kernel.
    """
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in found or name not in files:
            return
        content = _unpacked(files[name])
        for other in dependencies(content):
            add(other)
        found[name] = content

    for name in wanted:
        add(name)
    if len(found) > _MOST_MODULES:
        raise HostUnfit(
            f"the Linux guest's devices need {len(found)} modules, more than {_MOST_MODULES}"
        )
    return list(found.values())


def dependencies(module: bytes) -> list[str]:
    """Module names in the `depends=` field of a module's modinfo."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    names = match[1].decode() if match else ""
    return [name.replace("-", "_") for name in names.split(",") if name]


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".ko":
        return content
    if path.suffix == ".xz":
        return lzma.decompress(content)
    raise HostUnfit(f"the Linux guest's modules have an unsupported compression: {path.suffix}")


def archive(files: Mapping[str, bytes], directories: Iterable[str]) -> bytes:
    """A cpio archive in the format that the kernel reads (newc)."""
    entries = [(name, _DIRECTORY, b"") for name in directories]
    entries += [(name, _FILE, content) for name, content in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    packed = bytearray()
    for number, (name, mode, content) in enumerate(entries, 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        packed += b"070701" + "".join(f"{field:08x}" for field in fields).encode()
        packed += name.encode() + b"\0"
        packed += bytes(-len(packed) % 4)
        packed += content
        packed += bytes(-len(packed) % 4)
    return bytes(packed)
