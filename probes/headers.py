"""Kernel headers that bcc compiles against: the running kernel's, or a stand-in.

Our programs include nothing beyond uapi and read no kernel struct, so headers of another version
serve. Debian splits them into two trees, which bcc cannot take through one variable: a tree of
links is laid out in a temporary directory then.
"""

from __future__ import annotations

import atexit
import functools
import os
import platform
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from results.errors import HostUnfit

SOURCES = Path("/usr/src")
MODULES = Path("/lib/modules")
_ARCH = {"x86_64": "x86", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Headers:
    """Where headers are, of which kernel, and whether that is the running one."""

    path: Path
    release: str
    exact: bool


@functools.cache
def kernel_headers() -> Headers:
    """The running kernel's headers, else the newest installed ones.

    Raises HostUnfit when there are none.
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
    raise HostUnfit(
        "no kernel headers: apt-get install linux-headers-$(uname -r), or any linux-headers-amd64"
    )


def _installed() -> list[Path]:
    """Header trees of the distribution that were configured for a kernel, newest first."""
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
    """Debian's second tree, `linux-headers-VERSION-common`, of a configured one."""
    found = tree.with_name(tree.name.rsplit("-", 1)[0] + "-common")
    if _complete(found):
        return found
    # Cloud and real-time flavours have two words after the version.
    base = re.match(r"linux-headers-[\d.]+(?:\+deb\d+)?-\d+|linux-headers-[^-]+", tree.name)
    found = tree.with_name(f"{base[0]}-common") if base else found
    return found if _complete(found) else None


def _started() -> int:
    """Start of this process in clock ticks: with the pid it tells whose directory this is."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def _merged(tree: Path) -> Path:
    """One tree of links over Debian's two; gone when the program ends."""
    common = _common(tree)
    if common is None:
        raise HostUnfit(f"kernel headers in {tree} are not whole: reinstall linux-headers")
    joined = Path(tempfile.mkdtemp(prefix=f"pausebench-{os.getpid()}-{_started()}-"))
    atexit.register(shutil.rmtree, joined, ignore_errors=True)
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
