"""Files of the store: whole or not there; and the JSON documents that lie beside it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from results.errors import RecordInvalid, UsageError

T = TypeVar("T")


def write_beside(path: Path, document: object) -> Path:
    """Put `document` at `path` in place of an older one. Raises UsageError when that cannot be."""
    payload = msgspec.json.format(msgspec.json.encode(document), indent=1)
    return write_whole(path, payload, synced=True)


def write_whole(path: Path, payload: bytes, *, synced: bool) -> Path:
    """Write a file so that its name only ever means all of it; `synced` also after a power cut.

    Raises UsageError when it cannot be written.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                file.write(payload)
                if synced:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def read_beside(path: Path, kind: type[T], what: str, most_bytes: int) -> T | None:
    """What lies at `path`, None where nothing does.

    `what` names it in errors. Raises RecordInvalid for a file that is not exactly of that kind.
    """
    try:
        with path.open("rb") as file:
            payload = file.read(most_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordInvalid(str(path), f"cannot be read: {error.strerror or error}") from error
    if len(payload) > most_bytes:
        raise RecordInvalid(str(path), f"is longer than any {what}")
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordInvalid(str(path), f"is no {what}: {error}") from error


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path` that then takes its place, whole."""
    part = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.part")

    def fill() -> None:
        try:
            write(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    _attempt(path, fill)


def _attempt(path: Path, action: Callable[[], object]) -> None:
    try:
        action()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
