"""The store: one SQLite file of sessions and judged runs, and their raw recordings.

    DIR/pausebench.sqlite                   what is searched and shown (store/tables/schema.py)
    DIR/raw/SESSION/RUN.json.gz             what can be judged again (store/recordings.py)

The raw evidence of a run is written before its row, so a row always has evidence. A stored run is
never overwritten. What is written survives a crash of this program at once, and a power cut once
`Store.sync` has returned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, select

from results.errors import RecordInvalid, UsageError
from results.files import refuse_links_of_others
from results.records.recording import Recording
from results.records.run import Run
from results.records.scenario import Session
from results.store.tables.damage import StoreDamaged
from results.store.tables.rows import AaEntry, SessionEnd
from results.store.tables.schema import RUNS

from . import database, lookup, writing
from . import recordings as raw
from .reader import StoreReader
from .recordings import new_run_id, new_session_id, session_of, write_recording
from .staging import finish_moves

__all__ = [
    "FILE_NAME", "AaEntry", "SessionEnd", "Store", "new_run_id", "new_session_id", "open_store",
]  # fmt: skip

FILE_NAME = "pausebench.sqlite"
DEFAULT_DIRECTORY = Path("out")


def open_store(path: Path = DEFAULT_DIRECTORY, *, create: bool = True) -> Store:
    """Open the store in the directory `path`, created when it is missing and `create` is true.

    With `create=False` the store must exist and may be read-only for the caller. Raises UsageError
    for a path that is not a directory, cannot be written or holds something else, RecordInvalid
    for a store of another version.
    """
    file = path / FILE_NAME
    for used in (path / "raw", file):
        refuse_links_of_others(used)
    for link in (path, *path.parents):
        if link.is_symlink() and not link.exists():
            raise UsageError(
                f"{link} is a link to {link.readlink()}, which is missing; create that directory "
                "or name another one with --store"
            )
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is not a directory; name the store's directory with --store")
    if create:
        try:
            (path / "raw").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot create a store in {path} ({error.strerror}); "
                "name a writable directory with --store"
            ) from error
        database.prepare(file)
    elif not file.exists() and not file.is_symlink():
        raise UsageError(
            f"no store in {path}; run 'pausebench run' first or name its directory with --store"
        )
    else:
        database.check(file)
    opened = Store(path)
    if database.is_writable(file):
        with suppress(RecordInvalid):  # damage is reported by what reads or writes the file
            opened.finish_moves()
    return opened


class Store(StoreReader):
    """Sessions, runs and recordings in one directory; opened by `open_store`.

    Every method raises UsageError when the file cannot be read or written now (full, locked, moved
    or removed) and RecordInvalid when what it holds is damaged or malformed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, path / FILE_NAME)
        self._identity = self._identity_now()
        self._unsynced: list[Path] = []

    # Writing

    def add_session(self, session: Session) -> None:
        """Store a session as it starts. Raises UsageError when its id is taken or malformed."""
        with self.transaction() as connection:
            writing.insert_session(connection, session)

    def finish_session(self, session_id: str, ended_unix_ns: int, exit_code: int) -> None:
        """Store how a session ended. Raises UsageError when there is no such session."""
        with self.transaction() as connection:
            writing.update_end(connection, session_id, SessionEnd(ended_unix_ns, exit_code))
        self.sync()

    def add_aa(self, session: str, entry: AaEntry) -> None:
        """Store the result of an A/A comparison for one cell."""
        with self.transaction() as connection:
            writing.insert_aa(connection, session, entry)

    def add_run(self, run: Run, recording: Recording) -> None:
        """Store a judged run: the raw recording first, then the row.

        Raises UsageError when the run is already stored, its session is not, or the two records
        belong to different runs.
        """
        if (run.id, run.session) != (recording.id, recording.session):
            raise UsageError(f"run {run.id!r} does not belong to recording {recording.id!r}")
        if session_of(run.id) != run.session:
            raise UsageError(f"run {run.id!r} does not belong to session {run.session!r}")
        with self.transaction() as connection:
            if connection.execute(select(RUNS.c.seq).where(RUNS.c.id == run.id)).first():
                raise UsageError(f"run {run.id} is already stored; a run is never overwritten")
            self._unsynced.append(write_recording(self.path, recording))
            writing.insert_run(connection, run)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A write transaction on the file that was opened."""
        if self._identity_now() != self._identity:
            raise UsageError(
                f"{self.file} was moved or removed while in use: what is measured is not stored"
            )
        try:
            with self.database.errors(), self.database.engine.begin() as connection:
                # Before anything is read that the rows depend on, like the highest number.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
        except StoreDamaged as error:
            raise RecordInvalid(
                str(self.file), f"is damaged: {error}; name another directory with --store"
            ) from error

    def sync(self) -> None:
        """Flush everything that was added to the disk. Raises UsageError for evidence that is gone.

        Not after each run: that took 6 ms of an update's 95 on a virtual disk.
        """
        written, self._unsynced = self._unsynced, []
        for path in written:
            raw.sync(path)
        for directory in {path.parent for path in written}:
            raw.sync(directory)
        with self.database.errors(), self.database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        if gone := [path for path in written if not path.exists()]:
            more = f", and {len(gone) - 1} more recordings" if gone[1:] else ""
            raise UsageError(f"{gone[0]} was moved or removed while in use{more}")

    def finish_moves(self) -> None:
        """Move files into place that a merge has committed but was killed before moving them."""
        finish_moves(self.path, self.transaction)

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            status = self.file.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    # By the beginning of an id

    def resolve_run(self, text: str) -> str:
        """See `results.store.lookup.resolve_run`."""
        return lookup.resolve_run(self, text)

    def resolve_session(self, text: str) -> str:
        """See `results.store.lookup.resolve_session`."""
        return lookup.resolve_session(self, text)
