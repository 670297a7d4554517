"""The JSON documents next to the store's database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from results.errors import RecordInvalid, UsageError
from results.files import read_regular, write_atomically

from .staging import StagedFiles

T = TypeVar("T")


def encode_document(document: object) -> bytes:
    """A document as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def write_document(path: Path, document: object) -> Path:
    """Write `document` to `path`, in place of an older one. Raises UsageError when it cannot."""
    return write_atomically(path, encode_document(document), synced=True, parents=True)


def read_document(path: Path, kind: type[T], what: str, most_bytes: int) -> T | None:
    """The document at `path`, None if there is no such file.

    `what` names it in errors. Raises RecordInvalid for a file that is not exactly of that kind.
    """
    try:
        payload = read_regular(path, most_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordInvalid(str(path), f"cannot be read: {error.strerror or error}") from error
    if len(payload) > most_bytes:
        raise RecordInvalid(str(path), f"is too large for a {what}")
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordInvalid(str(path), f"is not a valid {what}: {error}") from error


@dataclass(frozen=True, slots=True)
class Documents(Generic[T]):
    """One kind of document, a file each in `directory`, and how two of one name are merged.

    `read` takes the path of a document; None if there is no such file, RecordInvalid if it is not
    valid. `merged` takes the source's document and the target's, and raises ValueError when they
    contradict each other.
    """

    directory: str
    read: Callable[[Path], T | None]
    merged: Callable[[T, T], T]

    def stage(self, source: Path, target: Path, files: StagedFiles) -> None:
        """Stage what the store `target` lacks. Raises UsageError on a conflict, RecordInvalid."""
        for path in sorted((source / self.directory).glob("*.json")):
            mine = target / self.directory / path.name
            wanted, known = self.read(path), self.read(mine)
            try:
                if wanted is not None and known is not None:
                    wanted = self.merged(wanted, known)
            except ValueError as error:
                raise UsageError(f"cannot merge {path} into {mine}: {error}") from error
            if wanted != known:
                files.add(f"{self.directory}/{path.name}", encode_document(wanted))


def equal(one: T, other: T) -> T:
    """How documents are merged that never change: raises ValueError unless they are equal."""
    if one != other:
        raise ValueError("they differ")
    return one
