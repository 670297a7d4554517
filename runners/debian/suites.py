"""A Debian suite's QEMU and its libraries, downloaded and unpacked without installing anything.

Uses apt-get and dpkg-deb only, on a private apt root, with the host's own mirror.
"""

from __future__ import annotations

import os
import platform
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from results.errors import HostUnfit, UsageError

from .private_apt import PrivateApt
from .sources import Source, host_mirror, signing_keys

PACKAGE = "qemu-system-x86"
PREFIX = "debian:"
_SUITE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:-]{0,127}")
_BASED = re.compile(r"(.+?)-(?:backports(?:-sloppy)?|updates|proposed-updates|security)")


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite of Debian's archive, and the requested version (empty: the newest)."""

    name: str
    version: str = ""

    @property
    def label(self) -> str:
        """The default label of a build of it."""
        words = self.name + (f"-{self.version.split(':')[-1]}" if self.version else "")
        return re.sub(r"[^A-Za-z0-9._-]", "-", words)[:32]


def parse_suite(spec: str) -> Suite | None:
    """`debian:SUITE` or `debian:SUITE=VERSION` → the suite; None without the prefix `debian:`.

    Raises UsageError for a malformed suite or version.
    """
    if not spec.startswith(PREFIX):
        return None
    name, equals, version = spec.removeprefix(PREFIX).partition("=")
    if not _SUITE.fullmatch(name) or (equals and not _VERSION.fullmatch(version)):
        raise UsageError(f"`{spec}`: expected debian:SUITE or debian:SUITE=VERSION")
    return Suite(name, version)


def base_suite(name: str) -> str | None:
    """The suite that `name` extends and whose libraries it needs; None for a complete suite."""
    if name in ("experimental", "rc-buggy"):
        return "sid"
    match = _BASED.fullmatch(name)
    return match[1] if match else None


def unpack(
    suite: Suite, tree: Path, work: Path, packages: Path, progress: Callable[[str], None]
) -> str:
    """Unpack the suite's QEMU and its dependencies into `tree`; returns the package's version.

    `work` is a temporary private directory; `packages` keeps the downloads, so that an interrupted
    download resumes. Raises UsageError, HostUnfit.
    """
    if platform.machine() != "x86_64":
        raise HostUnfit(f"{PREFIX}{suite.name}: suites can only be unpacked on x86_64")
    apt = PrivateApt(PREFIX + suite.name, suite_sources(suite), work, packages)
    progress(f"asking the mirror for {suite.name}")
    apt.run("apt-get", "update")
    version = choose_version(apt.run("apt-cache", "madison", PACKAGE), suite)
    wanted = ("-t", suite.name, "--no-install-recommends", "-y", "install", f"{PACKAGE}={version}")
    found = apt.needed(*wanted)
    total = sum(package.size_bytes for package in found)
    progress(f"fetching QEMU {version}: {len(found)} packages, {total / 1e6:.0f} MB")
    apt.fetch(found, *wanted)
    progress(f"unpacking {len(found)} packages")
    tree.mkdir(parents=True)
    for package in found:
        apt.unpack(package, tree)
    _drop_set_id_bits(tree)
    return version


def suite_sources(suite: Suite) -> str:
    lines = []
    for name in filter(None, (suite.name, base_suite(suite.name))):
        source: Source = host_mirror(name)
        keys = ",".join(signing_keys(source))
        option = f"[signed-by={keys}] " if keys else ""
        lines.append(f"deb {option}{source.uri} {name} main\n")
    return "".join(lines)


def choose_version(madison: str, suite: Suite) -> str:
    """Select a package version from `apt-cache madison`, newest first. Raises UsageError.

    The suite's version may be that of the package or of QEMU: `1:10.0.2+ds-2` or `10.0.2`.
    """
    rows = (
        [field.strip() for field in line.split("|")] for line in madison.splitlines() if "|" in line
    )
    offered = [row[1] for row in rows if f" {suite.name}/" in f" {row[2]}"]
    if not offered:
        raise UsageError(f"{PREFIX}{suite.name}: the suite has no {PACKAGE}")
    for version in offered:
        bare = version.split(":", 1)[-1]
        if suite.version in ("", version, bare, re.split(r"[+~-]", bare)[0]):
            return version
    raise UsageError(
        f"{PREFIX}{suite.name}={suite.version}: the suite has only {', '.join(offered)}"
    )


# --- files ----------------------------------------------------------------------------------


def _drop_set_id_bits(tree: Path) -> None:
    """Clear set-uid and set-gid bits: these copies of passwd and su get no security updates."""
    for directory, _, names in os.walk(tree):
        for name in names:
            path = Path(directory, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & 0o6000:
                path.chmod(stat.S_IMODE(mode) & 0o1777)
