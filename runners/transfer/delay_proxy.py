"""A proxy for the main channel that forwards everything and can delay the last byte.

New QEMU has not received the guest before it has read the last byte of device state. The proxy
holds that byte until old QEMU has closed its end, and forwards it after a known time: a pause that
involves neither signals nor kernel probes.
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
    """How long the last byte was held (host ns): from old QEMU's end of file to its forwarding."""

    start_ns: int
    end_ns: int

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


class DelayProxy:
    """Listens at `path` for old QEMU and forwards to new QEMU at `target`; a context manager.

    Serves one connection in its own thread, without a return path: old QEMU must close its end by
    itself.
    """

    def __init__(self, path: Path, target: Path, hold_ns: int) -> None:
        self._path = path
        self._target = target
        self._hold_ns = hold_ns
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stop, self._stopped = socket.socketpair()
        self._delay: Delay | None = None
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
        """The delay that was applied. Raises TransferRefused when there was none."""
        if self._delay is None:
            reason = self._error or "old QEMU did not close the channel"
            raise TransferRefused(f"the main channel was not delayed: {reason}")
        return self._delay

    def _serve(self) -> None:
        try:
            with ExitStack() as stack:
                if not self._readable(self._listener):
                    return
                old = stack.enter_context(self._listener.accept()[0])
                new = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                new.settimeout(_TIMEOUT_S)
                new.connect(str(self._target))
                self._forward(old, new)
        except OSError as error:
            self._error = str(error)

    def _forward(self, old: socket.socket, new: socket.socket) -> None:
        held = b""
        while self._readable(old):
            data = old.recv(_CHUNK_BYTES)
            if not data:
                break
            data = held + data
            held = data[-1:]
            new.sendall(data[:-1])
        else:
            return
        start = time.monotonic_ns()
        if self._hold_ns > 0:
            time.sleep(self._hold_ns / 1e9)
        end = time.monotonic_ns()
        new.sendall(held)
        self._delay = Delay(start, end)
        with suppress(OSError):  # new QEMU may have exited
            new.shutdown(socket.SHUT_WR)
        # Wait for new QEMU to close: closing first could discard data that it has not read.
        self._readable(new)

    def _readable(self, wanted: socket.socket) -> bool:
        """Wait until the socket is readable; False on a timeout or when the proxy is closed."""
        with selectors.DefaultSelector() as selector:
            selector.register(wanted, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            ready = selector.select(_TIMEOUT_S)
        return any(key.fileobj is wanted for key, _ in ready)
