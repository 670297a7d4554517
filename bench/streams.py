"""Standard output and error that may be closed, full, or a pipe whose reader has gone.

What cannot be written is dropped: a measurement goes on and keeps its status. What was lost of the
output is known in the end, see `Streams.status`.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from dataclasses import dataclass
from typing import Any

from results.printable import one_line

LOST = 3  # exit status: the output of a command that only prints could not be written


class _Forgiving(io.FileIO):
    """A descriptor to write to, of which the first failure is kept and the rest is dropped."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        if self.failure is not None:
            return size
        try:
            # None: a pipe that does not block is full; its reader is awaited.
            while (written := super().write(data)) is None:
                select.select((), (self,), ())
        except OSError as error:
            self.failure = error
            return size
        return written


@dataclass(frozen=True, slots=True)
class Streams:
    """The descriptors below `sys.stdout` and `sys.stderr`."""

    output: _Forgiving
    error: _Forgiving

    def status(self, status: int, *, prints_only: bool) -> int:
        """The exit status of a command that ended with `status`, once all is flushed.

        Output that a closed pipe did not take was not wanted. Any other loss is reported in one
        line, and fails a command that has nothing but its output to give.
        """
        sys.stdout.flush()
        failure = self.output.failure
        if failure is not None and failure.errno != errno.EPIPE:
            reason = failure.strerror or str(failure)
            what = one_line(f"standard output could not be written: {reason}")
            print(f"pausebench: {what}", file=sys.stderr)
            status = status or (LOST if prints_only else 0)
        sys.stderr.flush()
        return status


def forgiving_streams() -> Streams:
    """Put forgiving streams in the place of `sys.stdout` and `sys.stderr`.

    A descriptor 0 to 2 that is closed is opened first: a file of the store or a socket of QEMU's
    would get its number, and with it what is printed.
    """
    closed = [fd for fd in (0, 1, 2) if not _is_open(fd)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    output, error = _Forgiving(1, "wb", closefd=False), _Forgiving(2, "wb", closefd=False)
    if 1 in closed:
        output.failure = OSError(errno.EBADF, "it is closed")
    # Paths that are not UTF-8 are printed as they are.
    sys.stdout = _text(output, sys.stdout, "surrogateescape")
    sys.stderr = _text(error, sys.stderr, "backslashreplace")
    return Streams(output, error)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _text(raw: _Forgiving, before: object, errors: str) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    # Lines are written at once to a terminal, and to a log that is followed.
    lines = raw.fileno() == 2 or raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors, newline="\n", line_buffering=lines
    )
