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
from runners.system.timeouts import scaled_timeout

LOG_TAIL_BYTES = 4096
COMMAND_TIMEOUT_S = scaled_timeout(20.0)
_QUIT_TIMEOUT_S = scaled_timeout(5.0)


class Qemu:
    """A QEMU process. The kernel kills it when our process exits for any reason."""

    def __init__(self, process: subprocess.Popen[bytes], argv: tuple[str, ...], log: Path) -> None:
        self.process = process
        self.argv = argv
        self.log = log
        self.client = QMPClient(f"qemu-{process.pid}")
        self.stamps: list[tuple[int, Message]] = []
        self._arrived = asyncio.Event()
        self._monitor: socket.socket | None = None
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
        qemu = cls(process, argv, log)
        qemu._monitor = ours
        return qemu

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

    def lost(self, when: str) -> GuestLost:
        """The error for a QEMU that exited or does not answer; `when` is a clause of time."""
        code = self.process.poll()
        state = "does not answer" if code is None else f"ended with {_describe(code)}"
        tail = self.log_tail()
        message = last_message(tail) or "its log is empty"
        return GuestLost(
            f"QEMU (pid {self.pid}) {state} {when}: {message}",
            self.argv,
            tail,
        )

    async def ended(self, when: str) -> GuestLost:
        """`lost`, after giving a QEMU that closed its monitor a moment to exit."""
        for _ in range(100):
            if not self.alive():
                break
            await asyncio.sleep(0.01)
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
        except (QMPError, OSError, EOFError) as error:
            raise await self.ended("while opening its monitor") from error

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
        except (QMPError, OSError, EOFError) as error:
            raise await self.ended(f"while executing {command}") from error

    async def wait_for(
        self, wanted: Callable[[Message], bool], what: str, timeout_s: float
    ) -> tuple[int, Message]:
        """The first recorded event that `wanted` accepts, with its arrival time (monotonic ns).

        Raises TransferRefused on a timeout and GuestLost when QEMU exits.
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
            if not self.alive():
                raise self.lost(f"before reporting {what}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), min(left, 0.1))

    def qmp_stamps(self, side: Side) -> tuple[QmpStamp, ...]:
        """The events so far, as records."""
        return tuple(_as_stamp(ns, side, message) for ns, message in self.stamps)

    async def _bounded(self, task: asyncio.Future[Any], timeout_s: float, when: str) -> Any:
        try:
            return await asyncio.wait_for(task, timeout_s)
        except TimeoutError:
            raise self.lost(when) from None

    async def quit(self) -> None:
        """Ask QEMU to quit, and kill it when it does not."""
        if self.alive():
            with suppress(QMPError, OSError, EOFError, TimeoutError, asyncio.CancelledError):
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
        with suppress(QMPError, OSError, EOFError, TimeoutError):
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
    label = message.get("timestamp")
    wall = 0
    if isinstance(label, dict):
        wall = int(label.get("seconds", 0)) * 1_000_000 + int(label.get("microseconds", 0))
    data = message.get("data")
    fields = {str(k): str(v) for k, v in data.items()} if isinstance(data, dict) else {}
    return QmpStamp(ns, side, str(message.get("event", "")), wall, fields)


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
