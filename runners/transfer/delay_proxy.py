"""Between old and new QEMU's main channel: passes everything on, and can hold the end back.

New QEMU has not got the guest until it has read the last byte of device state. That byte is kept
until old QEMU has closed its end, so that nothing more is going on, and let go after a known time:
a pause that no signal and no kernel probe has a part in.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from results.errors import TransferRefused

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Delay:
    """How long the last byte was kept (host ns): from old QEMU's end of file to its sending."""

    start_ns: int
    end_ns: int

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


class DelayProxy:
    """Listens at `path` for old QEMU and passes on to new QEMU at `target`; a context manager.

    One connection, in a thread of its own. Without a return path: old QEMU must end by itself.
    """

    def __init__(self, path: Path, target: Path, hold_ns: int) -> None:
        self._path = path
        self._target = target
        self._hold_ns = hold_ns
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stop, self._stopped = socket.socketpair()
        self._held: Delay | None = None
        self._error = ""
        self._thread = threading.Thread(target=self._serve, name="main channel", daemon=True)

    def __enter__(self) -> Self:
        self._listener.bind(str(self._path))
        self._listener.listen(1)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.close()
        self._thread.join()
        for end in (self._stopped, self._listener):
            end.close()
        self._path.unlink(missing_ok=True)

    def delay(self) -> Delay:
        """What was held back. Raises TransferRefused when the channel did not get that far."""
        if self._held is None:
            raise TransferRefused(f"nothing was held back: {self._error or 'old QEMU did not end'}")
        return self._held

    def _serve(self) -> None:
        try:
            with ExitStack() as stack:
                if not self._readable(self._listener):
                    return
                old = stack.enter_context(self._listener.accept()[0])
                new = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                new.settimeout(_TIMEOUT_S)
                new.connect(str(self._target))
                self._pass_on(old, new)
        except OSError as error:
            self._error = str(error)

    def _pass_on(self, old: socket.socket, new: socket.socket) -> None:
        kept = b""
        while self._readable(old):
            data = old.recv(_CHUNK_BYTES)
            if not data:
                break
            data = kept + data
            kept = data[-1:]
            new.sendall(data[:-1])
        else:
            return
        start = time.monotonic_ns()
        if self._hold_ns > 0:
            time.sleep(self._hold_ns / 1e9)
        end = time.monotonic_ns()
        new.sendall(kept)
        self._held = Delay(start, end)
        with suppress(OSError):  # new QEMU may be done and gone
            new.shutdown(socket.SHUT_WR)
        # Closed by new QEMU when it has read all: to close first could discard what it has not.
        self._readable(new)

    def _readable(self, wanted: socket.socket) -> bool:
        """Wait until there is something to read; False when the channel is taken down."""
        with selectors.DefaultSelector() as selector:
            selector.register(wanted, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            ready = selector.select(_TIMEOUT_S)
        return any(key.fileobj is wanted for key, _ in ready)
