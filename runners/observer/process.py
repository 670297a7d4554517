"""The observer process: started before a handover, read when the guest runs again."""

from __future__ import annotations

import mmap
import os
import platform
import struct
import subprocess
import time
from pathlib import Path
from typing import Self

from results.errors import HostUnfit
from results.records.observations import ObservedGap
from runners.payload import layout as payload
from runners.system.assembler import assemble
from runners.system.child import spawn
from runners.system.process_state import lost_witness

from . import layout as at

THRESHOLD_NS = 200_000  # the same as in the payload's log of gaps
_START_TIMEOUT_S = 5.0
_END_TIMEOUT_S = 2.0


def build_observer(directory: Path) -> Path:
    """Assemble the observer into `directory` and return its path. Raises HostUnfit."""
    if platform.machine() != "x86_64":
        raise HostUnfit("the observer runs on x86-64 only: omit --observer")
    return assemble(
        __package__,
        "observer.S",
        payload.symbols() | at.symbols(),
        directory / "observer",
        assembler=("--64",),
        linker=("-m", "elf_x86_64", "-z", "noexecstack"),
    )


class Observer:
    """Watches `vcpus` vCPUs in the RAM file at `ram` until it is closed; a context manager.

    It needs its own CPU. When it has to share one, the reach of each gap shows how late its reads
    were.
    """

    def __init__(
        self, program: Path, ram: Path, vcpus: int, threshold_ns: int = THRESHOLD_NS
    ) -> None:
        """Raises HostUnfit when the program does not start."""
        area = os.memfd_create("pausebench-observer", os.MFD_CLOEXEC)
        slots = os.open(ram, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(area, at.AREA_BYTES)
            self._area = mmap.mmap(area, at.AREA_BYTES)
            struct.pack_into("<IIQ", self._area, at.O_STOP, 0, vcpus, threshold_ns)
            struct.pack_into("<Q", self._area, at.O_SLOT_BYTES, vcpus << payload.SLOT_SHIFT)
            self._vcpus = vcpus
            self._process = spawn(
                [str(program)],
                stdin=area,
                stdout=slots,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        finally:
            os.close(area)
            os.close(slots)
        self._lost, self._stopped = "", False
        try:
            self._wait_until_it_runs()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def rounds(self) -> int:
        """How often it has read all vCPUs so far."""
        return int(struct.unpack_from("<Q", self._area, at.O_LOOPS)[0])

    def _wait_until_it_runs(self) -> None:
        end = time.monotonic() + _START_TIMEOUT_S
        while self.rounds() < 2:
            if self._process.poll() is not None or time.monotonic() > end:
                raise HostUnfit("the observer did not start: omit --observer")
            time.sleep(0.0002)

    def gaps(self) -> tuple[ObservedGap, ...]:
        """The logged gaps between beats, by vCPU, oldest first; at most the last 32 of each."""
        found = []
        for vcpu in range(self._vcpus):
            count = struct.unpack_from("<I", self._area, at.O_COUNTS + 4 * vcpu)[0]
            for number in range(max(0, count - at.LOG_ENTRIES), count):
                place = at.O_LOGS + (vcpu << at.LOG_SHIFT) + (number % at.LOG_ENTRIES) * 32
                found.append(ObservedGap(vcpu, *struct.unpack_from("<QQQQ", self._area, place)))
        return tuple(found)

    def lost(self) -> str:
        """What became of the process before it was told to stop, as a sentence, or empty."""
        return self._lost

    def close(self) -> None:
        """Stop it. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        self._lost = lost_witness("observer", self._process)
        if not self._lost:
            struct.pack_into("<I", self._area, at.O_STOP, 1)
            try:
                self._process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._lost = lost_witness("observer", self._process, silent=True)
                self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
