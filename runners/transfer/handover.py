"""One update of a guest by any mode of transfer, and the checks after it."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from results.errors import GuestLost, PausebenchError
from results.judgement.brownout import follow
from results.judgement.guest_clock import tick_difference
from results.records.observations import VcpuBeats
from results.records.recording import Process
from results.records.scenario import Build, Mode
from runners.qemu.command_line import Variation
from runners.qemu.guest import Guest
from runners.qemu.migration import runstate
from runners.qemu.process import Qemu, removed
from runners.system.process_memory import ram_mapping
from runners.system.process_state import is_ending
from runners.system.timeouts import scaled_timeout

from .base import Hooks, Transfer, Transferred, record_final_state
from .failure import explain
from .modes import TRANSFERS

__all__ = ["Hooks", "Transferred", "update_guest"]

RATE_TIMEOUT_S = 0.1
RETURN_TIMEOUT_S = scaled_timeout(2.0)  # for a guest to run on in old QEMU after a failure
_NO_BEAT_S = 0.05  # where none is expected
_RUNS_THERE = ("running", "silent")  # as far as is known
_MAY_RETURN = ("finish-migrate", "paused", "device", "inmigrate")


async def update_guest(
    guest: Guest,
    build: Build,
    hooks: Hooks | None = None,
    *,
    mode: Mode | None = None,
    variation: Variation | None = None,
) -> Transferred:
    """Move `guest` into a new QEMU of `build`, which is the guest's QEMU afterwards.

    The mode defaults to the scenario's, `variation` to that of old QEMU.

    A failed transfer does not raise: `failure` is set in the result, and the caller's
    `guest.close()` ends old QEMU. Only an interrupt is raised.
    """
    old = guest.qemu
    old.side = "old"
    old.stamps.clear()
    seen = Transferred(Process(old.pid, old.argv, guest.vcpu_tids), Process(0, build.launcher, ()))
    variation = guest.variation if variation is None else variation
    kind = TRANSFERS[mode or guest.scenario.mode]
    transfer = kind(guest, build, variation, seen, hooks or Hooks(), old)
    with _noting_stops(seen):
        await _attempt(transfer)
    new = transfer.new
    if seen.failure:
        seen.failure = removed(guest.place.directory) or seen.failure
    if seen.failure or new is None:
        await _fall_back(transfer)
        return seen
    await record_final_state(seen, old, new, transfer.old_state)
    # The check releases Python's GIL and runs while old QEMU exits, which takes as long.
    await asyncio.gather(transfer.end_old(), _check_ram(transfer, new))
    guest.qemu, guest.build, guest.vcpu_tids = new, build, seen.new.vcpu_tids
    guest.variation = variation
    guest.updates += 1
    await _follow_rate(guest, seen)
    transfer.hooks.ended(new)
    await _check_still_alive(transfer, new)
    return seen


@contextmanager
def _noting_stops(seen: Transferred) -> Iterator[None]:
    """Count how often our own process is continued; the kernel cannot be asked how long it was."""

    def continued(number: int, frame: object) -> None:
        seen.controller_stops += 1

    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in its main thread alone
        return
    before = signal.signal(signal.SIGCONT, continued)
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, before or signal.SIG_DFL)


async def _attempt(transfer: Transfer) -> None:
    """Run the transfer; an error becomes its `failure`."""
    try:
        transfer.begin()
        await transfer.run()
    except (PausebenchError, OSError) as error:
        transfer.seen.failure = await explain(transfer, error)
    except BaseException:
        await _kill(transfer.new)
        raise
    finally:
        transfer.clean_up()


async def _fall_back(transfer: Transfer) -> None:
    """End new QEMU, and see whether the guest goes on in old QEMU, which resumes it by itself.

    Old QEMU may wait for new QEMU without end, so new is ended first.
    """
    seen, guest, old, new = transfer.seen, transfer.guest, transfer.old, transfer.new
    replaced = transfer.old_state or (new is not None and new.pid == old.pid)
    if replaced:
        await record_final_state(seen, old, new, transfer.old_state)
        await _kill(new)
        return
    new_state = await runstate(new) if new is not None else ""
    # One that does not answer may run the guest all the same, if old QEMU does not.
    silent = new_state == "silent" and await runstate(old) not in _RUNS_THERE
    if (new_state == "running" or silent) and await _beats(guest, _NO_BEAT_S):
        seen.continued_in = "new"
    await _kill(new)
    if seen.continued_in == "unknown":
        await _follow_guest(guest, old, seen)
    await record_final_state(seen, old, new, transfer.old_state, new_state)


async def _follow_guest(guest: Guest, old: Qemu, seen: Transferred) -> None:
    """Wait until old QEMU runs the guest again, and check the guest's RAM."""
    end = time.monotonic() + RETURN_TIMEOUT_S
    while (state := await runstate(old)) in _MAY_RETURN and time.monotonic() < end:
        await asyncio.sleep(0.005)
    timeout_s = RETURN_TIMEOUT_S if state in _RUNS_THERE else _NO_BEAT_S
    seen.continued_in = "old" if await _beats(guest, timeout_s) else "nowhere"
    if seen.continued_in == "old":
        seen.ram = await asyncio.to_thread(guest.memory.check)


async def _beats(guest: Guest, timeout_s: float) -> bool:
    """Whether every vCPU beats, in whichever QEMU."""
    try:
        await asyncio.to_thread(guest.memory.wait_for_beats, guest.memory.beats(), timeout_s)
    except GuestLost:
        return False
    return True


async def _kill(qemu: Qemu | None) -> None:
    if qemu is not None:
        qemu.kill()
        await qemu.reap()


async def _check_ram(transfer: Transfer, new: Qemu) -> None:
    guest, seen = transfer.guest, transfer.seen
    try:
        start = ram_mapping(new.pid, guest.scenario.ram_bytes).start
        seen.ram = await asyncio.to_thread(guest.memory.check, (new.pid, start))
    except (OSError, GuestLost) as error:
        await _lose(transfer, new, f"guest RAM could not be read through new QEMU: {error}")


async def _check_still_alive(transfer: Transfer, new: Qemu) -> None:
    """The guest must live for as long as it is watched, not only until RAM was checked."""
    if not transfer.seen.failure and (is_ending(new.pid) or new.stopped()):
        await _lose(transfer, new, "new QEMU ended")


async def _lose(transfer: Transfer, new: Qemu, what: str) -> None:
    """The guest arrived in new QEMU, and is lost there."""
    seen = transfer.seen
    seen.failure = await explain(transfer, GuestLost(what), old_has_ended=True)
    seen.new = replace(seen.new, runstate=await runstate(new), log_tail=new.log_tail())
    alive = await _beats(transfer.guest, _NO_BEAT_S)
    seen.continued_in = "new" if alive else "nowhere"


async def _follow_rate(guest: Guest, seen: Transferred) -> None:
    """Read every vCPU's ring of beats until its rate has recovered, or until the timeout."""
    end = time.monotonic() + RATE_TIMEOUT_S
    while True:
        seen.beats = tuple(
            replace(beats, ring=guest.memory.ring(beats.index, tick))
            if (tick := _tick_before(beats)) is not None
            else beats
            for beats in seen.beats
        )
        if all(map(_rate_is_back, seen.beats)) or time.monotonic() > end:
            return
        await asyncio.sleep(0.005)


def _tick_before(beats: VcpuBeats) -> int | None:
    """A tick shortly before the pause."""
    if beats.before:
        return beats.before[-1][1]
    return beats.gaps[0].start_tick if beats.gaps else None


def _rate_is_back(beats: VcpuBeats) -> bool:
    """Whether the rate has recovered, or cannot be determined, so that waiting does not help."""
    if beats.ring is None or not beats.gaps:
        return True
    longest = max(beats.gaps, key=lambda gap: tick_difference(gap.end_tick, gap.start_tick))
    # The duration of a tick only scales the result.
    found = follow(beats.ring, longest.start_tick, longest.end_tick, 1.0)
    return found is None or found.length_ns is not None
