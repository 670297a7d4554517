"""The state of a process, and the time at which a child of ours exits."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from results.records.reasons import because

_STAMP_TIMEOUT_S = 1.0
_TEARDOWN_NS = 2_000_000_000  # of a large guest; beyond it the socket was closed for other reasons


def process_state(pid: int) -> str:
    """The letter of a process's state in /proc/PID/stat; empty if there is no such process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by a signal or by a tracer: it does nothing meanwhile."""
    return process_state(pid) in ("T", "t")


def is_ending(pid: int) -> bool:
    """Whether a process has exited, or its main thread has while the others still do."""
    return process_state(pid) in ("Z", "X", "")


def signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def lost_witness(name: str, process: subprocess.Popen[Any], *, silent: bool = False) -> str:
    """What became of a child of ours that testifies, as a sentence; empty while it runs.

    With `silent` it has not answered, so it is lost even if it still runs.
    """
    code = process.poll()
    if code is None and not silent:
        return ""
    if code is None:
        return because("witness-silent", witness=name, state=process_state(process.pid)).text
    if code < 0:
        return because("witness-killed", witness=name, signal=signal_name(-code)).text
    return because("witness-exited", witness=name, status=code).text


class ExitWatch:
    """Notes when a child exits, in a thread of its own: the event loop is blocked in hooks.

    The child is not reaped, which is left to its Popen. A killed QEMU takes some 25 ms to tear its
    KVM down before it can be waited for; it hangs up its end of `line`, a socket, before that.
    """

    def __init__(self, pid: int, line: socket.socket | None = None) -> None:
        self._pid = pid
        self._line = line.dup() if line is not None else None
        self._ns: int | None = None
        self._thread = threading.Thread(target=self._wait, name=f"exit of {pid}", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        hung_up = 0
        if self._line is not None:
            with self._line:
                hang_up = select.poll()
                hang_up.register(self._line, 0)
                hang_up.poll()
            hung_up = time.monotonic_ns()
        with suppress(ChildProcessError):  # reaped before the thread began to wait
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        exited = time.monotonic_ns()
        self._ns = hung_up if exited - hung_up < _TEARDOWN_NS else exited

    def ended_ns(self) -> int:
        """When the child ended (monotonic ns), once it has; the present time if it has not."""
        self._thread.join(_STAMP_TIMEOUT_S)
        return self._ns or time.monotonic_ns()
