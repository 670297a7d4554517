"""The JSON documents that lie beside the store's file."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from results.errors import RecordInvalid
from results.files import write_whole

T = TypeVar("T")


def write_beside(path: Path, document: object) -> Path:
    """Put `document` at `path` in place of an older one. Raises UsageError when that cannot be."""
    payload = msgspec.json.format(msgspec.json.encode(document), indent=1)
    return write_whole(path, payload, synced=True, parents=True)


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
