"""Controls that must fail, run before a session's first proof with the very checks it uses.

A file of 2 MiB stands in for guest RAM, this process for old QEMU, and a process with a deliberate
fault for new QEMU. A check that does not catch the fault proves nothing, and the proof says so.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from probes.memory_accounts import read_accounts
from probes.pagemap import PAGE_BYTES, choose_pages
from probes.pin_events import PinProbe
from results.errors import PausebenchError
from results.judgement.proof import check_files, check_frames, check_pins
from results.records.evidence import Check, Control
from results.records.run import CarriedFd
from results.records.scenario import MIB, Build, Scenario
from runners.pins.holder import PinHolder
from runners.qemu.guest import GuestPlace
from runners.system.child import spawn

from .evidence import compare_descriptor, compare_views, view_from
from .vfio_control import vfio_control

_BYTES = 2 * MIB
_ATTEMPTS = 3


class Controls:
    """The controls of a session, each run once, before the first proof that rests on it."""

    def __init__(self, doing: Callable[[str], None] = lambda what: None) -> None:
        """`doing` is called with what is being done."""
        self._doing = doing
        self._run: dict[bool, tuple[Control, ...]] = {}
        self._vfio: dict[str, Control] = {}  # by scenario

    def of(self, scenario: Scenario) -> tuple[Control, ...]:
        """The controls that a proof of this scenario rests on."""
        if not scenario.vfio:
            return self._controls(stand_in=True)
        extra = self._vfio.get(scenario.id)
        return (*self._controls(stand_in=False), *([extra] if extra else []))

    def _controls(self, *, stand_in: bool) -> tuple[Control, ...]:
        """The controls of every transfer, with `stand_in` that of the process that pins RAM."""
        if stand_in not in self._run:
            self._doing("running the controls that must fail")
            self._run[stand_in] = run_controls(stand_in=stand_in)
        return self._run[stand_in]

    async def before_boot(
        self, scenario: Scenario, build: Build, place: GuestPlace, pins: PinProbe
    ) -> None:
        """Run the control that needs the scenario's device, before a guest holds it."""
        if scenario.vfio and scenario.id not in self._vfio:
            self._vfio[scenario.id] = await vfio_control(scenario, build, place, pins)


def run_controls(*, stand_in: bool = True) -> tuple[Control, ...]:
    """Run all four controls; one that cannot be carried out counts as not caught.

    Without `stand_in` the control of the process that pins RAM is left out: the pins of a real
    device have a control of their own.
    """
    with _ram_file() as (fd, address):
        return (
            _control("private copy", lambda: _frames(fd, address, "private")),
            _control("replaced page", lambda: _frames(fd, address, "replaced")),
            _control("swapped descriptor", lambda: _descriptor(fd)),
            *([_control("pins let go", lambda: _pins(fd))] if stand_in else []),
        )


def _control(name: str, attempt: Callable[[], tuple[Check, Check]]) -> Control:
    """Carry out one control, again if the kernel moved a page of the faultless case."""
    result = Control(name, False, "was not carried out")
    for _ in range(_ATTEMPTS):
        try:
            good, bad = attempt()
        except (PausebenchError, OSError, json.JSONDecodeError) as error:
            return Control(name, False, f"could not be carried out: {error}")
        if good.state == "held":
            return Control(name, bad.state == "broken", f"{bad.name}: {bad.text}")
        result = Control(name, False, f"the same check fails without the fault: {good.text}")
    return result


def _frames(fd: int, address: int, mode: str) -> tuple[Check, Check]:
    """The check of page frames against a shared mapping and a faulty one."""
    units = choose_pages(0, _BYTES // PAGE_BYTES, PAGE_BYTES, 0)
    old = view_from(os.getpid(), address, units, PAGE_BYTES)
    checks = []
    for way in ("shared", mode):
        with _tampered_mapping(way, fd) as other:
            new = view_from(other["pid"], other["address"], units, PAGE_BYTES)
            frames = compare_views(units, PAGE_BYTES, len(units), old, new)
            checks.append(check_frames(frames))
    return checks[0], checks[1]


def _descriptor(fd: int) -> tuple[Check, Check]:
    """The check of descriptors against an inherited and against a reopened one."""
    twin = os.dup(fd)
    try:
        carried = CarriedFd("control", 0, old_fd=fd, new_fd=twin)
        good = check_files((compare_descriptor(os.getpid(), os.getpid(), carried),))
    finally:
        os.close(twin)
    with _tampered_mapping("reopened", fd) as other:
        carried = CarriedFd("control", 0, old_fd=fd, new_fd=other["fd"])
        bad = check_files((compare_descriptor(os.getpid(), other["pid"], carried),))
    return good, bad


def _pins(fd: int) -> tuple[Check, Check]:
    """The check of pins before and after the holder releases them."""
    with PinHolder(_path(fd), _BYTES) as holder:
        pids = {"holder": holder.pid}
        before, hold = read_accounts("before", pids), read_accounts("hold", pids)
        holder.release()
        after = read_accounts("resumed", pids)
    good = check_pins((before, hold), _BYTES)
    return good, check_pins((before, hold, after), _BYTES)


def _path(fd: int) -> Path:
    return Path(f"/proc/{os.getpid()}/fd/{fd}")


@contextmanager
def _ram_file() -> Iterator[tuple[int, int]]:
    """A memfd of 2 MiB with content, mapped here: (descriptor, address)."""
    fd = os.memfd_create("pausebench-control", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, _BYTES)
        area = mmap.mmap(fd, _BYTES)
        for start in range(0, _BYTES, PAGE_BYTES):
            area[start] = 1 + start // PAGE_BYTES % 255
        held = ctypes.c_char.from_buffer(area)
        try:
            yield fd, ctypes.addressof(held)
        finally:
            del held
            area.close()
    finally:
        os.close(fd)


@contextmanager
def _tampered_mapping(mode: str, fd: int) -> Iterator[dict[str, int]]:
    argv = [
        sys.executable,
        "-m",
        "runners.pins.tampered_mapping",
        mode,
        str(_path(fd)),
        str(_BYTES),
    ]
    with spawn(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise ChildProcessError("the process ended before it mapped the file")
            yield json.loads(line)
        finally:
            process.kill()
