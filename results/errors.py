"""One tree of errors, by who must act on them.

PausebenchError
├── UsageError         the caller: a wrong name, number or file (exit 2)
├── HostUnfit          the host's administrator: something is missing or denied here (exit 4)
├── BuildUnfit         whoever supplies the QEMU build (exit 2)
├── GuestLost          fails the run: QEMU died or stopped answering
├── TransferRefused    fails the run: QEMU rejected a command, or a wait timed out
├── EventsLost         fails the run: a probe could not write every record
└── RecordInvalid      the store's administrator: a record cannot be read (exit 2)
"""

from __future__ import annotations


class PausebenchError(Exception):
    """Base of every error that is shown to the user.

    The message is one line: what is wrong, where, and what to do about it.
    """

    @property
    def line(self) -> str:
        """The message as a terminal may print it, whatever the texts are that it quotes."""
        words = " ".join(str(self).split())
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


class UsageError(PausebenchError):
    """The request itself is invalid: a name, a number or a file."""


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
