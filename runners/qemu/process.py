"""One QEMU process: started, controlled over QMP, monitored, and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError

from results.errors import GuestLost, HostUnfit, TransferRefused
from results.qemu.log import last_message
from results.records.recording import QmpStamp
from results.records.run import Side
from runners.system.child import spawn
from runners.system.limits import offer_to_oom_killer
from runners.system.process_state import ExitWatch, is_stopped, signal_name
from runners.system.timeouts import scaled_timeout

from .answers import integers

# Of a monitor that ends, or on which something else than QMP arrives: text that is no UTF-8, or
# JSON that is nested too deeply.
_BROKEN = (QMPError, OSError, EOFError, ValueError, RecursionError)
LOG_TAIL_BYTES = 4096
COMMAND_TIMEOUT_S = scaled_timeout(20.0)
_QUIT_TIMEOUT_S = scaled_timeout(5.0)
# A QEMU that something has stopped (state T) does not continue by itself. `calibrate` stops it for
# two seconds at most.
STOPPED_TIMEOUT_S = scaled_timeout(5.0)
_CANCEL_S = 2.0
_SETTLE_S = 1.0
_LOOK_S = 0.1  # between two readings of its state while something is awaited


class Qemu:
    """A QEMU process. The kernel kills it when our process exits for any reason."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        argv: tuple[str, ...],
        log: Path,
        monitor: socket.socket | None = None,
    ) -> None:
        self.process = process
        self.argv = argv
        self.log = log
        self.client = QMPClient(f"qemu-{process.pid}")
        self.stamps: list[tuple[int, Message]] = []
        self._arrived = asyncio.Event()
        self._monitor = monitor
        self.started_ns = time.monotonic_ns()
        self._exit = ExitWatch(process.pid, monitor)
        self._stopped_since: int | None = None
        self._speaks_qmp = True
        self.silent = False  # a command was not answered, so that no other will be
        self.side: Side = "old"

    @classmethod
    def start(
        cls,
        make_argv: Callable[[int], tuple[str, ...]],
        log: Path,
        descriptors: tuple[int, ...] = (),
    ) -> Qemu:
        """Start QEMU with the argv that `make_argv` builds for the monitor's descriptor.

        QEMU also inherits `descriptors`. The monitor is one end of a socket pair: it has no path,
        needs no polling, and no other process can reach it. Raises GuestLost when the binary
        cannot be executed, and HostUnfit when the session's directory was removed.
        """
        ours, theirs = socket.socketpair()
        try:
            argv = make_argv(theirs.fileno())
            with _open_log(log) as output:
                process = _spawn(argv, output, (theirs.fileno(), *descriptors))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        offer_to_oom_killer(process.pid)
        return cls(process, argv, log, ours)

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def log_tail(self) -> str:
        """The last 4 KiB of QEMU's standard output and error."""
        with suppress(OSError), self.log.open("rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - LOG_TAIL_BYTES))
            return handle.read().decode(errors="replace").strip()
        return ""

    def stopped(self) -> bool:
        """Whether something has stopped the process (state T)."""
        return is_stopped(self.pid)

    def ended_ns(self) -> int:
        """When the process exited, once it has; monotonic ns."""
        return self._exit.ended_ns()

    def lost(self, when: str) -> GuestLost:
        """The error for a QEMU that exited or does not answer; `when` is a clause of time."""
        tail = self.log_tail()
        message = last_message(tail) or ("" if self.alive() else "its log is empty")
        said = f": {message}" if message else ""
        return GuestLost(f"QEMU (pid {self.pid}) {self._fate()} {when}{said}", self.argv, tail)

    def _fate(self) -> str:
        code = self.process.poll()
        if code is not None:
            return ending(code)
        if self.stopped():
            return "is stopped (state T)"
        return "does not answer" if self._speaks_qmp else "does not speak QMP any more"

    def check(self, when: str) -> None:
        """Raise `lost` if QEMU has exited, or has been stopped for STOPPED_TIMEOUT_S."""
        if not self.alive():
            raise self.lost(when)
        self.check_not_stopped(when)

    def check_not_stopped(self, when: str) -> None:
        """Raise `lost` if QEMU has been stopped for STOPPED_TIMEOUT_S."""
        since, now = self.stopped_since_ns(), time.monotonic_ns()
        if since is not None and now - since > STOPPED_TIMEOUT_S * 1e9:
            raise self.lost(when)

    def stopped_since_ns(self) -> int | None:
        """When QEMU was first seen stopped (monotonic ns); None if it is not stopped now."""
        if not self.stopped():
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = time.monotonic_ns()
        return self._stopped_since

    async def settle(self, timeout_s: float = _SETTLE_S) -> None:
        """Give a QEMU that is ending a moment: it loses its memory and files before it is dead."""
        end = time.monotonic() + timeout_s
        while self.alive() and time.monotonic() < end:
            await asyncio.sleep(0.01)

    async def ended(self, when: str, error: BaseException) -> GuestLost:
        """`lost`, after giving a QEMU that broke off its monitor a moment to exit."""
        self.silent = True
        self._speaks_qmp = isinstance(error, OSError | EOFError)
        await self.settle()
        return self.lost(when)

    async def connect(self, timeout_s: float = COMMAND_TIMEOUT_S, path: Path | None = None) -> None:
        """Wait for the monitor to open and negotiate; events are recorded from here on.

        Uses the inherited socket, or the one at `path` that QEMU listens on.
        """
        listener = EventListener(event_filter=self._stamp)
        self.client.register_listener(listener)
        monitor, self._monitor = self._monitor, None
        assert (monitor is None) != (path is None)
        connecting = asyncio.ensure_future(self.client.connect(monitor or str(path)))
        try:
            await self._bounded(connecting, timeout_s, "while opening its monitor")
        except _BROKEN as error:
            raise await self.ended("while opening its monitor", error) from error

    def _stamp(self, message: Message) -> bool:
        """Event filter: records the event with its arrival time and keeps it out of the queue."""
        self.stamps.append((time.monotonic_ns(), message))
        self._arrived.set()
        return False

    async def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Run one QMP command. Raises TransferRefused with QEMU's error, GuestLost on a timeout."""
        given = dict(arguments or {}) | {k.replace("_", "-"): v for k, v in kwargs.items()}
        try:
            return await self._bounded(
                asyncio.ensure_future(self.client.execute(command, given or None)),
                COMMAND_TIMEOUT_S,
                f"while executing {command}",
            )
        except ExecuteError as error:
            raise TransferRefused(
                f"{self.side} QEMU refused {command}: {error}", f"{command} {given}", str(error)
            ) from error
        except _BROKEN as error:
            raise await self.ended(f"while executing {command}", error) from error

    async def wait_for(
        self,
        wanted: Callable[[Message], bool],
        what: str,
        timeout_s: float,
        other: Qemu | None = None,
    ) -> tuple[int, Message]:
        """The first recorded event that `wanted` accepts, with its arrival time (monotonic ns).

        Raises TransferRefused on a timeout and GuestLost when QEMU exits or is stopped, or when
        `other` is stopped, for which this one would wait.
        """
        end = time.monotonic() + timeout_s
        while True:
            self._arrived.clear()
            for stamp, message in self.stamps:
                if wanted(message):
                    return stamp, message
            left = end - time.monotonic()
            if left <= 0:
                raise TransferRefused(
                    f"{self.side} QEMU (pid {self.pid}) did not report {what} in {timeout_s:g} s"
                )
            self.check(f"before reporting {what}")
            if other is not None:
                other.check_not_stopped(f"before {self.side} QEMU reported {what}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), min(left, _LOOK_S))

    def qmp_stamps(self, side: Side) -> tuple[QmpStamp, ...]:
        """The events so far, as records."""
        return tuple(_as_stamp(ns, side, message) for ns, message in self.stamps)

    async def _bounded(self, task: asyncio.Future[Any], timeout_s: float, when: str) -> Any:
        end = time.monotonic() + timeout_s
        try:
            while not (await asyncio.wait((task,), timeout=_LOOK_S))[0]:
                self.check(when)
                if time.monotonic() > end:
                    self.silent = True
                    raise self.lost(when)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,), timeout=_CANCEL_S)

    async def quit(self) -> None:
        """Ask QEMU to quit, and kill it when it does not; at once if it cannot answer."""
        if self.stopped() or self.silent:
            await self.reap()
            return
        if self.alive():
            with suppress(*_BROKEN, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self.client.execute("quit"), 2.0)
        await self.reap(_QUIT_TIMEOUT_S)

    async def reap(self, timeout_s: float = 0.0) -> None:
        """Wait up to `timeout_s` for QEMU to exit, then kill it; close the monitor. Idempotent."""
        end = time.monotonic() + timeout_s
        while self.alive() and time.monotonic() < end:
            await asyncio.sleep(0.002)
        self.kill()
        await self.disconnect()

    async def disconnect(self) -> None:
        """Close the monitor; QEMU keeps running."""
        with suppress(*_BROKEN, TimeoutError):
            await asyncio.wait_for(self.client.disconnect(), 2.0)

    def kill(self) -> None:
        """Kill QEMU; needs no event loop, so that an interrupt handler may call it too."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _spawn(
    argv: tuple[str, ...], output: BinaryIO, descriptors: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    try:
        # In its own process group, so that a Ctrl-C at the terminal does not kill QEMU before our
        # clean-up runs.
        return spawn(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=descriptors,
            process_group=0,
            umask=0o077,  # its sockets and files are ours alone
        )
    except OSError as error:
        raise GuestLost(f"{argv[0]} cannot be executed: {error.strerror or error}", argv) from error


def removed(directory: Path) -> str:
    """Why no update can succeed once the session's directory is gone; empty while it is there."""
    if directory.is_dir():
        return ""
    return (
        f"the session's directory {directory} was removed: exclude pausebench-* from what deletes "
        "temporary files"
    )


def _open_log(log: Path) -> BinaryIO:
    try:
        return log.open("ab")
    except FileNotFoundError:
        raise HostUnfit(removed(log.parent) or f"{log} cannot be made") from None


def _as_stamp(ns: int, side: Side, message: Message) -> QmpStamp:
    label = integers(message.get("timestamp"))
    wall = label.get("seconds", 0) * 1_000_000 + label.get("microseconds", 0)
    data = message.get("data")
    fields = {str(k): str(v) for k, v in data.items()} if isinstance(data, dict) else {}
    return QmpStamp(ns, side, str(message.get("event", "")), max(0, wall), fields)


def ending(code: int) -> str:
    """How a process ended, by its return code as subprocess gives it."""
    if code >= 0:
        return f"exited with status {code}"
    return f"was killed by signal {-code} ({signal_name(-code)})"
