"""A QEMU that dies, or that something stops, is named with the signal or state and the time."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import runners.qemu.process
from results.errors import GuestLost
from results.records.reasons import read_reasons
from results.records.scenario import MIB, Build, Scenario
from runners.payload.build import build_payload
from runners.qemu.guest import Guest, GuestPlace
from runners.qemu.process import Qemu
from runners.system.process_state import is_ending
from runners.transfer.handover import Hooks, Transferred, update_guest

pytestmark = pytest.mark.qemu

ACCELS = [pytest.param("kvm", marks=pytest.mark.kvm), "tcg"]
STEPS = {
    "started": "new QEMU was started",
    "hold": "(the monitor of new QEMU opened|`migrate-incoming`)",  # a QEMU takes ms to die
    "resumed": "(RESUME|the end of the migration)",
    "ended": "(RESUME|the end of the migration)",
}
LONGEST_S = 35.0


@pytest.fixture(scope="module")
def build() -> Build:
    qemu = str(shutil.which("qemu-system-x86_64"))
    return Build("system", qemu, "", "", "", (qemu,))


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> GuestPlace:
    directory = tmp_path_factory.mktemp("g")
    return GuestPlace(directory, build_payload(directory))


def scenario(accel: str) -> Scenario:
    return Scenario("test", "anon", accel=accel, ram_bytes=64 * MIB, vcpus=2)  # type: ignore[arg-type]


def hooks(step: str, act: Callable[[int, int], None]) -> Hooks:
    """Calls `act` with the pids of old and new QEMU at one step of an update."""
    pids: list[int] = []

    def started(old: int, new: int) -> None:
        pids.extend((old, new))
        if step == "started":
            act(old, new)

    def at(name: str) -> Callable[..., None]:
        return lambda *_: act(*pids) if step == name else None

    return Hooks(started=started, hold=at("hold"), resumed=at("resumed"), ended=at("ended"))


def updated(accel: str, build: Build, place: GuestPlace, given: Hooks) -> tuple[Transferred, float]:
    """An update of a new guest, and how long it took in seconds."""

    async def scene() -> tuple[Transferred, float]:
        guest = await Guest.boot(scenario(accel), build, place)
        try:
            start = time.monotonic()
            seen = await update_guest(guest, build, given)
            return seen, time.monotonic() - start
        finally:
            await guest.end()

    return asyncio.run(scene())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("accel", ACCELS)
def test_the_signal_that_killed_new_qemu_is_named(
    accel: str, step: str, build: Build, place: GuestPlace
) -> None:
    def kill(old: int, new: int) -> None:
        os.kill(new, signal.SIGKILL)
        while not is_ending(new) and step == "ended":
            time.sleep(0.001)  # later it would be noticed by the next update

    given = hooks(step, kill)
    seen, _ = updated(accel, build, place, given)
    (reason,) = read_reasons(seen.failure)
    assert reason.code == "qemu-killed", seen.failure
    assert (reason.figures["side"], reason.figures["number"]) == ("new", 9)
    assert re.fullmatch(rf"\d+\.\d ms after {STEPS[step]}", str(reason.figures["when"]))
    assert seen.new.runstate == "gone"


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("step", ["started", "hold", "resumed"])
def test_a_stopped_qemu_is_named_with_its_state_and_soon(
    side: str, step: str, build: Build, place: GuestPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP is a fault that no command reports: QEMU answers nothing, for ever."""
    monkeypatch.setattr(runners.qemu.process, "STOPPED_TIMEOUT_S", 0.5)

    def stop(old: int, new: int) -> None:
        os.kill(old if side == "old" else new, signal.SIGSTOP)

    seen, took_s = updated("tcg", build, place, hooks(step, stop))
    if (side, step) == ("old", "resumed"):  # the guest has left it
        assert took_s < LONGEST_S
        return
    (reason,) = read_reasons(seen.failure)
    assert reason.code == "qemu-stopped", seen.failure
    assert reason.figures["side"] == side
    assert (seen.old if side == "old" else seen.new).runstate == "stopped"
    assert took_s < LONGEST_S


def test_a_qemu_that_is_killed_while_it_boots_a_guest(
    build: Build, place: GuestPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Qemu.start

    def killed(*given: object, **named: object) -> Qemu:
        qemu = start(*given, **named)  # type: ignore[arg-type]
        monkeypatch.setattr(
            runners.qemu.guest, "ram_descriptor", lambda pid, size: kill_and_read(pid, size)
        )
        return qemu

    read = runners.qemu.guest.ram_descriptor

    def kill_and_read(pid: int, size: int) -> Path:
        os.kill(pid, signal.SIGKILL)
        while not is_ending(pid):
            time.sleep(0.001)
        return read(pid, size)

    monkeypatch.setattr(Qemu, "start", killed)
    with pytest.raises(GuestLost, match=r"was killed by signal 9 \(SIGKILL\) before its RAM"):
        asyncio.run(Guest.boot(scenario("tcg"), build, place))
