"""Kernel headers that bcc compiles against: the running kernel's, or a stand-in.

Our programs include only uapi headers and read no kernel struct, so headers of another version
work. Debian splits them into two trees but bcc takes one path: a temporary tree of symbolic links
joins them.
"""

from __future__ import annotations

import functools
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from results.errors import HostUnfit
from results.ownership import private_directory_until_exit

SOURCES = Path("/usr/src")
MODULES = Path("/lib/modules")
PACKAGES = "apt-get install linux-headers-$(uname -r), or linux-headers-amd64"
_ARCH = {"x86_64": "x86", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Headers:
    """A header tree, the kernel release it is for, and whether that is the running kernel."""

    path: Path
    release: str
    exact: bool


@functools.cache
def kernel_headers() -> Headers:
    """The running kernel's headers, or else the newest ones installed.

    Raises HostUnfit when none are installed.
    """
    running = os.uname().release
    own = MODULES / running / "build"
    if _complete(own):
        return Headers(own, running, True)
    if own.is_dir():
        return Headers(_merged(own.resolve()), running, True)
    for tree in _installed():
        release = tree.name.removeprefix("linux-headers-")
        if _complete(tree):
            return Headers(tree, release, release == running)
        if _common(tree) is not None:
            return Headers(_merged(tree), release, release == running)
    raise HostUnfit(f"no kernel headers: {PACKAGES}")


def _installed() -> list[Path]:
    """Header trees of the distribution that are configured for a kernel, newest first."""
    trees = [
        tree
        for tree in SOURCES.glob("linux-headers-*")
        if (tree / "include" / "generated").is_dir()
    ]
    return sorted(trees, key=_version, reverse=True)


def _version(tree: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", tree.name)]


def _complete(tree: Path) -> bool:
    return (tree / "include" / "linux" / "kconfig.h").is_file()


def _common(tree: Path) -> Path | None:
    """Debian's second tree, `linux-headers-VERSION-common`, for a configured one."""
    found = tree.with_name(tree.name.rsplit("-", 1)[0] + "-common")
    if _complete(found):
        return found
    # Cloud and real-time flavours have two components after the version.
    base = re.match(r"linux-headers-[\d.]+(?:\+deb\d+)?-\d+|linux-headers-[^-]+", tree.name)
    found = tree.with_name(f"{base[0]}-common") if base else found
    return found if _complete(found) else None


def _merged(tree: Path) -> Path:
    """One tree of symbolic links to Debian's two; removed at exit."""
    common = _common(tree)
    if common is None:
        raise HostUnfit(
            f"kernel headers in {tree} are incomplete: apt-get install --reinstall {tree.name}"
        )
    joined = private_directory_until_exit()
    machine = f"arch/{_ARCH.get(platform.machine(), platform.machine())}/include"
    for part in ("include", machine):
        target = joined / part
        target.mkdir(parents=True)
        for source in (common / part, tree / part):
            for entry in source.iterdir():
                link = target / entry.name
                if not link.exists():
                    link.symlink_to(entry)
    return joined
