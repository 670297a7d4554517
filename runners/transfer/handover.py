"""One update of a guest by any mode: from its start to the look at what came of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from results.errors import GuestLost, PausebenchError
from results.judgement.brownout import follow
from results.judgement.guest_clock import tick_difference
from results.records.observations import VcpuBeats
from results.records.recording import Process
from results.records.scenario import Build, Mode
from runners.qemu.command_line import Variation
from runners.qemu.guest import Guest
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_mapping

from .base import Hooks, Transfer, Transferred, describe_ends
from .modes import TRANSFERS

__all__ = ["Hooks", "Transferred", "hand_over"]

RATE_PATIENCE_S = 0.1


async def hand_over(
    guest: Guest,
    build: Build,
    hooks: Hooks | None = None,
    *,
    mode: Mode | None = None,
    variation: Variation | None = None,
) -> Transferred:
    """Move `guest` into a new QEMU of `build`; the guest's QEMU is the new one afterwards.

    By `mode`, or the scenario's. New QEMU's command line varies as old's does, or as `variation`
    says.

    A failure of the transfer is a value (`failure` is set, both QEMUs are ended by the caller's
    `guest.close()`); only an interrupt is raised.
    """
    old = guest.qemu
    old.side = "old"
    old.stamps.clear()
    seen = Transferred(Process(old.pid, old.argv, guest.vcpu_tids), Process(0, build.launcher, ()))
    variation = guest.variation if variation is None else variation
    kind = TRANSFERS[mode or guest.scenario.mode]
    transfer = kind(guest, build, variation, seen, hooks or Hooks(), old)
    await _attempt(transfer)
    new = transfer.new
    await describe_ends(seen, old, new, transfer.old_state)
    if seen.failure or new is None:
        await _kill(new)
        return seen
    # Read and compared without Python's lock, while old QEMU ends, which takes as long.
    await asyncio.gather(transfer.end_old(), _check_ram(guest, new, seen))
    guest.qemu, guest.build, guest.vcpu_tids = new, build, seen.new.vcpu_tids
    guest.variation = variation
    guest.update += 1
    await _follow_rate(guest, seen)
    transfer.hooks.ended(new)
    return seen


async def _attempt(transfer: Transfer) -> None:
    """Carry the transfer out; what stops it is kept as its failure."""
    seen = transfer.seen
    try:
        transfer.begin()
        await transfer.run()
    except PausebenchError as error:
        seen.failure = str(error)
    except OSError as error:
        # A QEMU that ends at an unlucky moment is met as a /proc entry that is gone.
        seen.failure = f"a QEMU could not be looked at any more: {error}"
    except BaseException:
        await _kill(transfer.new)
        raise
    finally:
        transfer.clear()


async def _kill(qemu: Qemu | None) -> None:
    if qemu is not None:
        qemu.kill()
        await qemu.reap()


async def _check_ram(guest: Guest, new: Qemu, seen: Transferred) -> None:
    try:
        start = ram_mapping(new.pid, guest.scenario.ram_bytes).start
        seen.ram = await asyncio.to_thread(guest.memory.check, (new.pid, start))
    except (OSError, GuestLost) as error:
        seen.failure = f"guest RAM could not be read through new QEMU: {error}"


async def _follow_rate(guest: Guest, seen: Transferred) -> None:
    """Read every vCPU's ring of beats, again until its rate is back or patience is at its end."""
    end = time.monotonic() + RATE_PATIENCE_S
    while True:
        seen.beats = tuple(
            replace(beats, ring=guest.memory.ring(beats.index, tick))
            if (tick := _tick_before(beats)) is not None
            else beats
            for beats in seen.beats
        )
        if all(map(_is_back, seen.beats)) or time.monotonic() > end:
            return
        await asyncio.sleep(0.005)


def _tick_before(beats: VcpuBeats) -> int | None:
    """A tick shortly before the pause."""
    if beats.before:
        return beats.before[-1][1]
    return beats.gaps[0].start_tick if beats.gaps else None


def _is_back(beats: VcpuBeats) -> bool:
    """Whether its rate is back; also where that cannot be told, as waiting would not help."""
    if beats.ring is None or not beats.gaps:
        return True
    longest = max(beats.gaps, key=lambda gap: tick_difference(gap.end_tick, gap.start_tick))
    # The duration of a tick scales the answer and does not change it.
    found = follow(beats.ring, longest.start_tick, longest.end_tick, 1.0)
    return found is None or found.length_ns is not None
