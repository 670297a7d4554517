"""Files that become part of the store together with rows: with the commit, or not at all.

They are written to a directory of their own, DIR/staged/NAME, with the paths that they will have
below DIR. The transaction that adds the rows also adds NAME to the table `staged`: from its commit
on the files belong to the store, and whoever opens it next moves them into place if their writer
was killed before it could. A directory without such a row was abandoned and is removed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select

from results.errors import UsageError
from results.files import make_directory, write_atomically
from results.store.tables.schema import STAGED

from .recordings import sync

_DIRECTORY = "staged"

Transaction = Callable[[], AbstractContextManager[Connection]]


class StagedFiles:
    """The files of one writer, who holds the lock on their directory while it lives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0
        self.committed = False

    def add(self, path: str, content: bytes) -> None:
        """Stage a file for `path` below the store's directory. Raises UsageError."""
        write_atomically(self.directory / path, content, synced=True, parents=True)
        self.count += 1

    def commit(self, connection: Connection) -> None:
        """Make the files part of the store when the transaction of `connection` commits."""
        inner = (path for path in self.directory.rglob("*") if path.is_dir())
        for directory in (*inner, self.directory, self.directory.parent):
            sync(directory)
        connection.execute(insert(STAGED), {"directory": self.directory.name})
        self.committed = True

    def move(self, store: Path, transaction: Transaction) -> None:
        """Move the files into place once they are committed. Raises UsageError."""
        _move(self.directory, store, transaction)
        self.committed = False


@contextmanager
def staged_files(store: Path) -> Iterator[StagedFiles]:
    """An empty, locked directory of staged files. What is not committed in the end is removed."""
    with _new_directory(store / _DIRECTORY) as directory:
        files = StagedFiles(directory)
        try:
            yield files
        finally:
            if not files.committed:
                shutil.rmtree(directory, ignore_errors=True)


def finish_moves(store: Path, transaction: Transaction) -> None:
    """Move the files of committed transactions into place and remove those of abandoned ones.

    Directories that are locked are left to their writer.
    """
    for directory in sorted((store / _DIRECTORY).glob("*")):
        with suppress(BlockingIOError, FileNotFoundError), _lock(directory, wait=False):
            # Not before the lock is held: its writer may have committed meanwhile.
            with transaction() as connection:
                query = select(STAGED.c.seq).where(STAGED.c.directory == directory.name)
                committed = connection.execute(query).first() is not None
            if committed:
                _move(directory, store, transaction)
            shutil.rmtree(directory, ignore_errors=True)


def _move(directory: Path, store: Path, transaction: Transaction) -> None:
    moved = set()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        target = store / path.relative_to(directory)
        make_directory(target.parent)
        try:
            path.replace(target)
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
        moved.add(target.parent)
    for parent in moved:
        sync(parent)
    with transaction() as connection:
        connection.execute(delete(STAGED).where(STAGED.c.directory == directory.name))


@contextmanager
def _new_directory(parent: Path) -> Iterator[Path]:
    """A new directory under lock; one that was removed as abandoned before that is made anew."""
    while True:
        directory = make_directory(parent / secrets.token_hex(8))
        with suppress(FileNotFoundError), _lock(directory):
            if directory.exists():
                yield directory
                return


@contextmanager
def _lock(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Held by the open descriptor, so that it ends with a killed process."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
