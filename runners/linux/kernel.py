"""Debian's cloud kernel of this host's own release, in the cache.

Nothing is installed: the package is unpacked, and the kernel and its modules are cached.
"""

from __future__ import annotations

import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from results.errors import HostUnfit
from runners.builds.cache import PACKAGES, ReportProgress, cache_directory, locked
from runners.debian.private_apt import PrivateApt
from runners.debian.suites import Suite, suite_sources

_PACKAGE = "linux-image-cloud-amd64"
_IMAGE = "linux-image-"
_KERNEL, _MODULES = "vmlinuz", "modules"
_DIRECTORY = ".linux"
_WHAT = "the Linux guest"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache, in a directory named after the package file."""

    path: Path

    @property
    def image(self) -> Path:
        return self.path / _KERNEL

    @property
    def modules(self) -> Path:
        return self.path / _MODULES


def guest_kernel(progress: ReportProgress) -> Kernel:
    """The cached kernel, downloaded if there is none yet. Raises HostUnfit, UsageError."""
    known = _known()
    if known is not None:
        return known
    with locked(progress) as cache:
        known = _known()
        if known is not None:  # fetched by another process meanwhile
            return known
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
        try:
            work.chmod(0o755)  # apt downloads as a user of its own
            return _fetch(work, progress)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _known() -> Kernel | None:
    found = sorted((cache_directory() / _DIRECTORY).glob(f"*/{_KERNEL}"))
    return Kernel(found[-1].parent) if found else None


def host_suite() -> str:
    """The Debian release of this host. Raises HostUnfit on another distribution."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    name = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian" or not name:
        raise HostUnfit(f"{_WHAT}: its kernel can only be downloaded on a release of Debian")
    return name


def _fetch(work: Path, progress: ReportProgress) -> Kernel:
    suite = host_suite()
    progress(f"fetching the kernel of {suite} for the Linux guest")
    apt = PrivateApt(_WHAT, suite_sources(Suite(suite)), work / "apt", work / PACKAGES)
    apt.run("apt-get", "update")
    words = ("-t", suite, "--no-install-recommends", "-y", "install", _PACKAGE)
    needed = apt.needed(*words)
    images = [p for p in needed if p.name.startswith(_IMAGE) and not p.name.startswith(_PACKAGE)]
    if len(images) != 1:
        raise HostUnfit(f"{_WHAT}: {_PACKAGE} depends on {len(images)} kernels, not one")
    apt.fetch(needed, *words)
    tree = work / "tree"
    apt.unpack(images[0], tree)
    kept = work / "kept"
    kept.mkdir(mode=0o755)
    kernels, modules = list(tree.glob("boot/vmlinuz-*")), list(tree.glob("**/lib/modules/*"))
    if len(kernels) != 1 or len(modules) != 1:
        raise HostUnfit(f"{_WHAT}: {images[0].name} does not contain one kernel and its modules")
    modules[0].rename(kept / _MODULES)
    kernels[0].rename(kept / _KERNEL)
    place = cache_directory() / _DIRECTORY / images[0].name.removesuffix(".deb")
    place.parent.mkdir(exist_ok=True)
    kept.rename(place)
    return Kernel(place)
