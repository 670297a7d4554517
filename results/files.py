"""Writing files: whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from results.errors import UsageError, cannot_write

Content = bytes | str | Callable[[BinaryIO], object]


def write_whole(
    path: Path, content: Content, *, synced: bool = False, parents: bool = False
) -> Path:
    """Put `content` at `path`, in place of what was there. Returns `path`.

    It goes to a file beside it, which then takes its name: a reader sees the old file or all of
    the new one, and a write that breaks off leaves the old one and nothing else. With `synced`
    that holds for a power cut too. Text is `encoded`; a callable gets the open file. With `parents`
    missing directories are made.

    Raises UsageError when it cannot be written, WriteFailed when the disk is full.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(encoded(content))
                if synced:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def encoded(content: bytes | str) -> bytes:
    """Text as UTF-8; a lone surrogate, which has none, becomes a question mark."""
    return content.encode("utf-8", "replace") if isinstance(content, str) else content


def make_directory(path: Path, *, parents: bool = True) -> Path:
    """Make a directory where there is none. Returns `path`; raises UsageError when it cannot be."""
    try:
        path.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {path}: {error.strerror or error}") from error
    return path
