"""The stand-in device of a session: a process that pins guest RAM, spoken to over a pipe."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from results.errors import HostUnfit
from runners.system.child import dying_with_us

_PROGRAM = "runners.pins.io_uring_holder"
_TIMEOUT_S = 30.0
_RELEASE_TIMEOUT_S = 2.0
# A page that the payload does not use, for the device to write into (see payload/layout.py).
DMA_OFFSET = 0x30000


class PinHolder:
    """Holds `length` bytes of the RAM file at `path` pinned until `release` or the end."""

    def __init__(self, path: Path, length: int) -> None:
        """Raises HostUnfit when the kernel refuses the pins, with its reason and the fix."""
        self.bytes = length
        self._process = subprocess.Popen(
            dying_with_us([sys.executable, "-m", _PROGRAM, str(path), str(length)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        try:
            answer = self._read(_TIMEOUT_S)
            if "error" in answer:
                raise HostUnfit(
                    f"guest RAM could not be pinned: {answer['error']} (needs io_uring: "
                    "sysctl kernel.io_uring_disabled=0; and memlock: ulimit -l unlimited)"
                )
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def dma(self, value: int) -> None:
        """Write 8 bytes at DMA_OFFSET through the pinned pages. Raises HostUnfit on an error."""
        self._say(f"dma {DMA_OFFSET} {value}")

    def release(self) -> None:
        """Let every pin go; the process stays."""
        self._say("release")

    def _say(self, line: str, timeout_s: float = _TIMEOUT_S) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise HostUnfit(f"the pin holder (pid {self.pid}) is gone: {error}") from error
        answer = self._read(timeout_s)
        if "error" in answer:
            raise HostUnfit(
                f"the pin holder (pid {self.pid}) could not {line.split()[0]}: {answer['error']}"
            )

    def _read(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise HostUnfit(f"the pin holder (pid {self.pid}) does not answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let every pin go and end the process. May be called twice."""
        try:
            if self._process.poll() is None:
                # The ring of a process that only ends gives its pins back some 20 ms later, from a
                # kernel worker (measured on 6.18): the next guest would still find them taken.
                with suppress(HostUnfit):
                    self._say("release", _RELEASE_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                # A line that a dead holder did not read any more is flushed into a broken pipe.
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
