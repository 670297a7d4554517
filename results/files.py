"""Writing files atomically."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from results.errors import UsageError

Content = bytes | str | Callable[[BinaryIO], object]


def write_atomically(
    path: Path, content: Content, *, synced: bool = False, parents: bool = False
) -> Path:
    """Write `content` to `path`, in place of what was there. Returns `path`.

    It is written to a temporary file in the same directory, which is then renamed: a reader sees
    the old file or the complete new one, and an interrupted write leaves only the old one. With
    `synced` that also holds for a power cut. Text is `encoded`; a callable is called with the open
    file. With `parents` missing directories are created.

    A device, a pipe or the like is written to instead of replaced, and so is the target of a link.

    Raises UsageError when the file cannot be written.
    """
    try:
        if _is_stream(path):
            with path.open("ab") as file:
                _write(file, content)
            return path
        target = _target(path)
        if parents:
            target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{secrets.token_hex(8)}.part")
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
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _write(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(encoded(content))


def _is_stream(path: Path) -> bool:
    """Whether `path` exists and is not a regular file, or is a descriptor like /dev/stdout."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if not stat.S_ISREG(mode):
        return not stat.S_ISDIR(mode)
    while path.is_symlink():
        if re.fullmatch(r"/proc/[0-9]+(/task/[0-9]+)?/fd", os.path.realpath(path.parent)):
            return True
        path = path.parent / path.readlink()
    return False


def _target(path: Path) -> Path:
    """The file that a link of ours or of root means; links of others are replaced, not followed."""
    if path.is_symlink() and path.lstat().st_uid in (0, os.geteuid()):
        return Path(os.path.realpath(path))
    return path


def encoded(content: bytes | str) -> bytes:
    """Text as UTF-8; a lone surrogate, which has no encoding, becomes a question mark."""
    return content.encode("utf-8", "replace") if isinstance(content, str) else content


def make_directory(path: Path, *, parents: bool = True) -> Path:
    """Create a directory unless it exists. Returns `path`; raises UsageError when it cannot."""
    try:
        path.mkdir(parents=parents, exist_ok=True)
    except FileExistsError as error:
        what = "is a link to nothing" if path.is_symlink() else "is not a directory"
        raise UsageError(f"cannot create the directory {path}: it {what}") from error
    except OSError as error:
        raise UsageError(f"cannot create {path}: {error.strerror or error}") from error
    return path
