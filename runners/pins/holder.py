"""The session's stand-in for a device: a process that pins guest RAM, controlled over a pipe."""

from __future__ import annotations

import errno
import json
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from results.denial import denial, errno_in
from results.errors import HostUnfit
from runners.system.child import spawn
from runners.system.process_state import lost_witness
from runners.system.timeouts import scaled_timeout

_PROGRAM = "runners.pins.io_uring_holder"
_START_TIMEOUT_S = 30.0  # it pins all of guest RAM
_TIMEOUT_S = scaled_timeout(5.0)
_RELEASE_TIMEOUT_S = 2.0
_EXIT_TIMEOUT_S = 0.5
# In a page that the payload does not use, for the device to write to (see payload/layout.py).
DMA_OFFSET = 0x30000


def _why(error: str) -> str:
    """The holder's error with the fix for its errno."""
    code = errno_in(error)
    if code == errno.EPERM:
        fix = "sysctl kernel.io_uring_disabled=0 (docker: --security-opt seccomp=unconfined)"
    else:
        fix = denial(
            code,
            absent="use a kernel with CONFIG_IO_URING",
            memory="raise the limit of locked memory (ulimit -l unlimited), or give CAP_IPC_LOCK "
            "(docker and podman: --cap-add=IPC_LOCK)",
        ).fix
    return f"{error}: {fix}" if fix else error


class HolderLost(HostUnfit):
    """The pin holder does not answer, which says nothing about the pages."""


class PinHolder:
    """Pins `length` bytes of the RAM file at `path` until `release` or `close`."""

    def __init__(self, path: Path, length: int) -> None:
        """Raises HostUnfit when the kernel refuses to pin, with its reason and the fix."""
        self.bytes = length
        self._silent = False
        self._process = spawn(
            [sys.executable, "-m", _PROGRAM, str(path), str(length)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        try:
            answer = self._read(_START_TIMEOUT_S)
            if "error" in answer:
                raise HostUnfit(f"guest RAM could not be pinned: {_why(answer['error'])}")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def dma(self, value: int) -> None:
        """Write 8 bytes at DMA_OFFSET through the pinned pages.

        Raises HostUnfit when the kernel refuses, HolderLost when the holder does not answer.
        """
        self._request(f"dma {DMA_OFFSET} {value}")

    def release(self) -> None:
        """Release all pins; the process keeps running."""
        self._request("release")

    def _request(self, line: str, timeout_s: float = _TIMEOUT_S) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._lost(f"has exited: {error}") from error
        answer = self._read(timeout_s)
        if "error" in answer:
            raise HostUnfit(
                f"the pin holder (pid {self.pid}): {line.split()[0]} failed: {answer['error']}"
            )

    def _read(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise self._lost("does not answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _lost(self, how: str) -> HolderLost:
        self._silent = True
        return HolderLost(f"the pin holder (pid {self.pid}) {how}")

    def lost(self) -> str:
        """What became of the process, as a sentence; empty while it runs and answers."""
        if self._silent:  # a killed process closes its pipes before it can be waited for
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_TIMEOUT_S)
        return lost_witness("pin holder", self._process, silent=self._silent)

    def close(self) -> None:
        """Release all pins and kill the process. May be called twice."""
        try:
            if self._process.poll() is None and not self._silent:
                # When a process exits without releasing, a kernel worker unpins some 20 ms later
                # (measured on 6.18): the next guest would still see the pins.
                with suppress(HostUnfit):
                    self._request("release", _RELEASE_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                # Flushing a request that a dead holder did not read raises a broken pipe.
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
