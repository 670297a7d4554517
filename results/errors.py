"""One tree of errors, by who must act on them.

PausebenchError
├── UsageError         the caller: a wrong name, number or file (exit 2)
├── HostUnfit          the host's owner: something is missing or refused here (exit 4)
├── BuildUnfit         whoever supplies the QEMU build (exit 2)
├── GuestLost          the run: QEMU died or stopped answering
├── TransferRefused    the run: QEMU said no, or never said yes
├── EventsLost         the run: a probe could not write every record
└── RecordInvalid      whoever keeps the store: a record cannot be read (exit 2)
"""

from __future__ import annotations


class PausebenchError(Exception):
    """Base of every error that a user may see.

    The message is one line that says what is wrong, where, and what to do.
    """


class UsageError(PausebenchError):
    """The request itself cannot be carried out: a name, a number, a file."""


class HostUnfit(PausebenchError):
    """This host lacks what the measurement needs."""


class BuildUnfit(PausebenchError):
    """A path that is no QEMU, or a QEMU without the feature."""


class GuestLost(PausebenchError):
    """A QEMU process ended or went silent while it was needed."""

    def __init__(self, message: str, argv: tuple[str, ...] = (), log_tail: str = "") -> None:
        super().__init__(message)
        self.argv = argv
        self.log_tail = log_tail


class TransferRefused(PausebenchError):
    """QEMU refused a step of the transfer, or a bounded wait ended."""

    def __init__(self, message: str, sent: str = "", received: str = "") -> None:
        super().__init__(message)
        self.sent = sent
        self.received = received


class EventsLost(PausebenchError):
    """Records that a probe could not write; the run they belong to is invalid."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} probe records were lost; the run is not measured")
        self.count = count


class RecordInvalid(PausebenchError):
    """A stored record that cannot be read."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
