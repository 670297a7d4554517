"""What a build runs besides its binary, as one hash: libraries, modules and firmware of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def contents_hash(binary: Path, directories: Iterable[Path]) -> str:
    """SHA-256 (hex) over the binary and every file below `directories`, in their order.

    File names are relative to their directory, so a tree that is moved stays the same build. Raises
    OSError for a file that cannot be read.
    """
    whole = hashlib.sha256(_file_hash(binary))
    for number, directory in enumerate(_outermost(directories)):
        for path in _files(directory):
            name = path.relative_to(directory).as_posix()
            content = b"-> " + bytes(path.readlink()) if path.is_symlink() else _file_hash(path)
            whole.update(f"{number} {name}\0".encode("utf-8", "surrogateescape"))
            whole.update(content)
    return whole.hexdigest()


def _outermost(directories: Iterable[Path]) -> list[Path]:
    """The directories without those that lie in another of them, or are another by a link."""
    found = list(dict.fromkeys(directory.resolve() for directory in directories))
    return [d for d in found if not any(other in d.parents for other in found)]


def _files(directory: Path) -> Iterator[Path]:
    """Regular files and links below `directory`, sorted; links to directories are not followed."""
    for path in sorted(directory.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        elif path.is_symlink() or path.is_file():
            yield path


def _file_hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
