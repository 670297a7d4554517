"""One tree of errors, by who must act on them.

PausebenchError
├── UsageError         the caller: a wrong name, number or file (exit 2)
├── WriteFailed        the host's administrator: the disk is full or fails (exit 3)
├── HostUnfit          the host's administrator: something is missing or denied here (exit 4)
├── BuildUnfit         whoever supplies the QEMU build (exit 2)
├── GuestLost          fails the run: QEMU died or stopped answering
├── TransferRefused    fails the run: QEMU rejected a command, or a wait timed out
├── EventsLost         fails the run: a probe could not write every record
└── RecordInvalid      the store's administrator: a record cannot be read (exit 2)
"""

from __future__ import annotations

import errno
from pathlib import Path

from results.printable import one_line


class PausebenchError(Exception):
    """Base of every error that is shown to the user.

    The message is one line: what is wrong, where, and what to do about it.
    """

    @property
    def line(self) -> str:
        """The message as a terminal may print it, whatever the texts are that it quotes."""
        return one_line(str(self))


class UsageError(PausebenchError):
    """The request itself is invalid: a name, a number or a file."""


# A file could be written but for these: the disk, a quota or a limit of file sizes, or its device.
_SQLITE_IOERR, _SQLITE_FULL = 10, 13  # importing sqlite3 for them would take 10 ms
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class WriteFailed(PausebenchError):
    """What was measured or made could not be kept: the request was valid, the disk was not."""


class SessionNotKept(WriteFailed):
    """A session ended because its runs could not be stored any more; earlier ones are."""

    def __init__(self, message: str, session: str, store: Path) -> None:
        super().__init__(message)
        self.session = session
        self.store = store


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a signal ended a session, of which all finished runs are stored."""

    def __init__(self, session: str, store: Path) -> None:
        super().__init__()
        self.session = session
        self.store = store


def error_status(error: BaseException) -> int:
    """The exit status of a command that an error ended, see the tree above."""
    match error:
        case KeyboardInterrupt():
            return 130
        case HostUnfit():
            return 4
        case WriteFailed():
            return 3
        case PausebenchError():
            return 3 if _disk_is_full(error) else 2
    return 70


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether that is what an error was raised from, by the system or by SQLite."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return True
        code = getattr(error, "sqlite_errorcode", 0)
        if isinstance(code, int) and code & 0xFF in (_SQLITE_FULL, _SQLITE_IOERR):
            return True
        error = error.__cause__
    return False


def cannot_write(path: object, error: OSError) -> PausebenchError:
    """The error for a file that could not be written: the disk's fault, or that of its name."""
    kind = WriteFailed if error.errno in NO_SPACE else UsageError
    return kind(f"cannot write {path}: {error.strerror or error}")


class HostUnfit(PausebenchError):
    """This host does not meet the requirements of the measurement."""


class BuildUnfit(PausebenchError):
    """A path that is not a QEMU binary, or a QEMU without the required feature."""


class GuestLost(PausebenchError):
    """A QEMU process exited or stopped responding while it was needed."""

    def __init__(self, message: str, argv: tuple[str, ...] = (), log_tail: str = "") -> None:
        super().__init__(message)
        self.argv = argv
        self.log_tail = log_tail


class TransferRefused(PausebenchError):
    """QEMU rejected a step of the transfer, or a wait timed out."""

    def __init__(self, message: str, sent: str = "", received: str = "") -> None:
        super().__init__(message)
        self.sent = sent
        self.received = received


class EventsLost(PausebenchError):
    """A probe could not write some of its records; their run is invalid."""

    def __init__(self, count: int) -> None:
        super().__init__(f"events lost: {count}; the run is not measured")
        self.count = count


class RecordInvalid(PausebenchError):
    """A stored record that cannot be read."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
