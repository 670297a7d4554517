"""Private hugetlbfs mounts, and the removal of those that killed sessions left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from results.errors import HostUnfit
from runners.system.process_record import is_gone, own_record
from runners.system.syscalls import MNT_DETACH, mount, unmount

_MOUNTS = Path("/proc/self/mounts")


@contextmanager
def mounted_hugetlbfs(parent: Path) -> Iterator[Path]:
    """Mount a private hugetlbfs of 2 MiB pages in `parent`, and unmount it afterwards.

    Raises HostUnfit when it cannot be mounted.
    """
    directory = parent / "hugetlbfs"
    directory.mkdir(mode=0o700)
    try:
        mount(own_record().name, directory, "hugetlbfs", "pagesize=2M,mode=0700")
    except OSError as error:
        directory.rmdir()
        raise HostUnfit(f"hugetlbfs cannot be mounted ({error.strerror}): run as root") from error
    try:
        yield directory
    finally:
        _unmount(directory)


def abandoned_mounts() -> list[Path]:
    """The mounts of killed sessions."""
    return [where for owner, where in our_mounts(_MOUNTS.read_text()) if is_gone(owner)]


def remove_abandoned_mounts() -> None:
    for directory in abandoned_mounts():
        _unmount(directory)


def our_mounts(mounts: str) -> list[tuple[str, Path]]:
    """Our hugetlbfs mounts in /proc/self/mounts, as (name of the owner's record, directory)."""
    found = re.findall(r"^(pausebench-[\w-]+) (\S+) hugetlbfs ", mounts, re.MULTILINE)
    return [(owner, Path(_unescape(where))) for owner, where in found]


def _unescape(field: str) -> str:
    """/proc/self/mounts escapes white space and backslashes in octal."""
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), field)


def _unmount(directory: Path) -> None:
    with suppress(OSError):
        for entry in directory.iterdir():
            entry.unlink(missing_ok=True)  # files keep their pages in a detached mount
    with suppress(OSError):
        unmount(directory, MNT_DETACH)  # a QEMU that is still exiting must not block it
    with suppress(OSError):
        directory.rmdir()
