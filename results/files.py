"""Reading files that come from elsewhere, and writing files atomically."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from results.errors import UsageError, cannot_write

_MOST_LINKS = 40  # as the kernel

Content = bytes | str | Callable[[BinaryIO], object]


def write_atomically(
    path: Path, content: Content, *, synced: bool = False, parents: bool = False
) -> Path:
    """Write `content` to `path`, in place of what was there. Returns `path`.

    It is written to a temporary file in the same directory, which is then renamed: a reader sees
    the old file or the complete new one, and an interrupted write leaves only the old one. With
    `synced` that also holds for a power cut. Text is `encoded`; a callable is called with the open
    file. With `parents` missing directories are created.

    A device, a pipe or the like is written to instead of replaced. A link stays, and what it means
    is written, unless another user could have put it there: such a link is replaced.

    Raises UsageError when the file cannot be written, WriteFailed when the disk is full.
    """
    try:
        target = _target(path)
        if _is_stream(target):
            with target.open("ab") as file:
                _write(file, content)
            return path
        refuse_links_of_others(target.parent)
        if parents:
            target.parent.mkdir(parents=True, exist_ok=True)
        part = target.parent / f".{secrets.token_hex(8)}.part"
        try:
            with part.open("xb") as file:
                _write(file, content)
                if synced:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def _write(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(encoded(content))


def _target(path: Path) -> Path:
    """What `path` means after links of ours and of root; it ends at a link of someone else.

    A descriptor like /dev/stdout is a link of the kernel's, which is not followed by name: what it
    means may have no name. Raises OSError for links in a circle.
    """
    for _ in range(_MOST_LINKS):
        if not path.is_symlink() or _is_descriptor(path) or path.lstat().st_uid not in _trusted():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _trusted() -> set[int]:
    """Users whose links are followed: root, the one we run as, and who became that by sudo."""
    sudo = os.environ.get("SUDO_UID", "")
    return {0, os.geteuid(), *([int(sudo)] if re.fullmatch(r"[0-9]{1,10}", sudo) else [])}


def _is_stream(target: Path) -> bool:
    """Whether it exists and is neither a regular file nor a directory, or is a descriptor."""
    if _is_descriptor(target):
        return True
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def _is_descriptor(path: Path) -> bool:
    directory = os.path.realpath(path.parent)
    return re.fullmatch(r"/proc/[0-9]+(/task/[0-9]+)?/fd", directory) is not None


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The first `most_bytes` of a file that comes from elsewhere. Raises OSError.

    Neither a link is followed nor a pipe opened, which would block.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 - opened with flags above
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(most_bytes)


def encoded(content: bytes | str) -> bytes:
    """Text as UTF-8; a lone surrogate, which has no encoding, becomes a question mark."""
    return content.encode("utf-8", "replace") if isinstance(content, str) else content


def refuse_links_of_others(path: Path) -> None:
    """Refuse a path through a link that another user made, as in /tmp: it may lead anywhere.

    Links of root, of ours and of the user who called sudo are followed. Raises UsageError.
    """
    trusted = _trusted()
    absolute = path.absolute()
    for part in (absolute, *absolute.parents):
        try:
            status = part.lstat()
        except OSError:  # it is not there yet, or not accessible: no link to follow
            continue
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in trusted:
            raise UsageError(
                f"{part} is a link that belongs to user {status.st_uid}: it is not followed; name "
                "the directory itself"
            )


def make_directory(path: Path, *, parents: bool = True) -> Path:
    """Create a directory unless it exists. Returns `path`; raises UsageError when it cannot."""
    refuse_links_of_others(path)
    try:
        path.mkdir(parents=parents, exist_ok=True)
    except FileExistsError as error:
        dangling = path.is_symlink() and not path.exists()
        what = "is a link to nothing" if dangling else "is not a directory"
        raise UsageError(f"cannot create the directory {path}: it {what}") from error
    except OSError as error:
        raise UsageError(f"cannot create {path}: {error.strerror or error}") from error
    return path
