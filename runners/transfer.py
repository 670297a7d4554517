"""One cpr-transfer, driven step by step with every wait bounded.

The order is that of QEMU's documentation (docs/devel/migration/CPR.rst) with a hold: new QEMU
opens its monitor after it has read the CPR state and before it accepts the guest, so that probes
are armed while the old guest still runs; `migrate-incoming` then closes the cpr channel, which
makes old QEMU connect, stop and send.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from qemu.qmp import Message

from results.brownout import follow
from results.errors import GuestLost, PausebenchError, TransferRefused
from results.guest_clock import tick_difference
from results.records import Build, DeviceWork, Gap, Process, QmpStamp, RamCheck, VcpuBeats

from .command import Sockets, Variation, channel
from .device_watch import DeviceWatch
from .guest import Guest, ram_mapping, start_qemu, vcpu_tids
from .patience import patient
from .payload.memory import GuestMemory
from .qemu import Qemu

HANDOVER_TIMEOUT_S = patient(30.0)
START_TIMEOUT_S = patient(20.0)
BEAT_TIMEOUT_S = patient(10.0)
_STATE_TIMEOUT_S = patient(2.0)
RATE_PATIENCE_S = 0.1
AWAY_S = 0.03


@dataclass(frozen=True, slots=True)
class Hooks:
    """What others do at the steps of a transfer; none of it runs inside the blackout."""

    started: Callable[[int, int], None] = lambda old, new: None  # both pids, before `migrate`
    hold: Callable[[Qemu, Qemu, tuple[int, ...], tuple[int, ...]], None] = (
        lambda old, new, old_tids, new_tids: None
    )
    resumed: Callable[[Qemu, Qemu], None] = lambda old, new: None  # guest runs in new
    ended: Callable[[Qemu], None] = lambda new: None  # old QEMU is gone, RAM was read through new
    # The path that old QEMU connects to, given the one that new QEMU listens on.
    main_path: Callable[[Path], Path] = lambda path: path


@dataclass(slots=True)
class Transferred:
    """What the driver itself saw of one transfer; filled as far as it got."""

    old: Process
    new: Process
    steps: dict[str, int] = field(default_factory=dict)
    qmp: tuple[QmpStamp, ...] = ()
    migrate_info: dict[str, int] = field(default_factory=dict)
    beats: tuple[VcpuBeats, ...] = ()
    ram: RamCheck | None = None
    device: DeviceWork | None = None
    failure: str = ""


async def hand_over(
    guest: Guest,
    build: Build,
    hooks: Hooks | None = None,
    *,
    precopy: bool = False,
    variation: Variation | None = None,
) -> Transferred:
    """Move `guest` into a new QEMU of `build`; the guest's QEMU is the new one afterwards.

    By cpr-transfer, or for comparison by a precopy migration, which copies all of RAM. New QEMU's
    command line varies as old's does, or as `variation` says.

    A failure of the transfer is a value (`failure` is set, both QEMUs are ended by the caller's
    `guest.close()`); only an interrupt is raised.
    """
    hooks = hooks or Hooks()
    old = guest.qemu
    old.side = "old"
    seen = Transferred(Process(old.pid, old.argv, guest.vcpu_tids), Process(0, build.launcher, ()))
    name = secrets.token_hex(4)
    place = guest.place.directory
    sockets = Sockets(place / f"{name}.cpr", place / f"{name}.main", precopy)
    drive = _Precopy if precopy else _Drive
    old.stamps.clear()
    variation = guest.variation if variation is None else variation
    new = start_qemu(guest.scenario, build, guest.place, sockets, variation)
    new.side = "new"
    try:
        await drive(guest, old, new, sockets, seen, hooks).run()
    except PausebenchError as error:
        seen.failure = str(error)
    except OSError as error:
        # A QEMU that ends at an unlucky moment is met as a /proc entry that is gone.
        seen.failure = f"a QEMU could not be looked at any more: {error}"
    except BaseException:
        new.kill()
        await new.reap()
        raise
    finally:
        for path in (sockets.cpr, sockets.main):
            path.unlink(missing_ok=True)
    states = [await _runstate(qemu) for qemu in (old, new)]
    seen.old = Process(old.pid, old.argv, seen.old.vcpu_tids, states[0], old.log_tail())
    seen.new = Process(new.pid, new.argv, seen.new.vcpu_tids, states[1], new.log_tail())
    seen.qmp = tuple(
        sorted((*old.qmp_stamps("old"), *new.qmp_stamps("new")), key=lambda stamp: stamp.ns)
    )
    if seen.failure:
        new.kill()
        await new.reap()
        return seen
    # Read and compared without Python's lock, while old QEMU ends, which takes as long.
    await asyncio.gather(old.quit(), _check_ram(guest, new, seen))
    guest.qemu, guest.build, guest.vcpu_tids = new, build, seen.new.vcpu_tids
    guest.variation = variation
    guest.update += 1
    await _follow_rate(guest, seen)
    hooks.ended(new)
    return seen


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


async def _runstate(qemu: Qemu) -> str:
    """The state in which a QEMU ends a transfer, `gone`, or `silent` when it does not answer."""
    end = time.monotonic() + _STATE_TIMEOUT_S
    state = "silent"
    with suppress(PausebenchError, TimeoutError):
        while qemu.alive():
            left = max(0.1, end - time.monotonic())
            state = str((await asyncio.wait_for(qemu.execute("query-status"), left))["status"])
            # The migration is reported as completed a moment before the runstate follows
            # (migration_iteration_finish in QEMU's migration/migration.c).
            if state != "finish-migrate" or time.monotonic() > end:
                return state
            await asyncio.sleep(0.001)
        return "gone"
    return state


def _stay_away(memory: GuestMemory, logged: list[int]) -> None:
    """Sleep until the guest beats again after its pause, or for a while at most.

    QEMU reports a dozen events meanwhile. To handle each as it came took a CPU away from QEMU when
    the guest waited for it: 0.4 ms of a blackout of 2.7 ms on two cores. They are kept in the
    monitors' sockets. A pause has come and gone when the guest has logged a gap, or, where its
    clock stood still with it, when its beats stood still and moved again.
    """
    end = time.monotonic() + AWAY_S
    still, beats = False, memory.beats()
    while time.monotonic() < end:
        time.sleep(0.001)
        if all(memory.gaps_logged(v) != count for v, count in enumerate(logged)):
            return
        earlier, beats = beats, memory.beats()
        moved = all(a != b for a, b in zip(earlier, beats, strict=True))
        if still and moved:
            return
        still = still or not moved


@dataclass(slots=True)
class _Drive:
    """The steps of one transfer in order, with what they share."""

    guest: Guest
    old: Qemu
    new: Qemu
    sockets: Sockets
    seen: Transferred
    hooks: Hooks

    async def run(self) -> None:
        self.hooks.started(self.old.pid, self.new.pid)
        await self._prepare(self.old)
        await self.old.execute("migrate-set-parameters", mode="cpr-transfer")
        await self._listening()
        self._step("migrate")
        await self.old.execute(
            "migrate",
            channels=[
                channel("main", self.hooks.main_path(self.sockets.main)),
                channel("cpr", self.sockets.cpr),
            ],
        )
        await self.new.connect(START_TIMEOUT_S)
        self._step("monitor")
        tids = await vcpu_tids(self.new, self.guest.scenario.vcpus)
        await self._prepare(self.new)
        self.seen.new = Process(self.new.pid, self.new.argv, tids)
        self.hooks.hold(self.old, self.new, self.guest.vcpu_tids, tids)
        work = DeviceWatch(self.guest) if self.guest.plan.device else None
        before = self._watch_guest()
        self._step("migrate_incoming")
        await self.new.execute("migrate-incoming", uri=f"unix:{self.sockets.main}")
        _stay_away(self.guest.memory, [view.gaps_logged for view in before])
        await self._completed()
        self._step("completed")
        await self._follow_guest(before)
        if work is not None:
            self.seen.device = await asyncio.to_thread(work.finished)
        self.hooks.resumed(self.old, self.new)
        self.seen.migrate_info = _numbers(await self.old.execute("query-migrate"))
        self._same_file()
        self._step("done")

    def _step(self, name: str) -> None:
        self.seen.steps[name] = time.monotonic_ns()

    async def _prepare(self, qemu: Qemu) -> None:
        capabilities = {"events": True, "return-path": self.guest.scenario.return_path}
        await qemu.execute(
            "migrate-set-capabilities",
            capabilities=[{"capability": k, "state": v} for k, v in capabilities.items() if v],
        )

    async def _listening(self) -> None:
        """Wait until new QEMU listens on the cpr socket, without connecting to it.

        The file exists a moment before it listens, and a connection that is only tried would be
        taken for old QEMU's.
        """
        end = time.monotonic() + START_TIMEOUT_S
        while not _listens(self.sockets.cpr):
            if not self.new.alive():
                raise self.new.lost("it opened the cpr socket")
            if time.monotonic() > end:
                raise TransferRefused(
                    f"new QEMU (pid {self.new.pid}) did not listen on its cpr socket "
                    f"in {START_TIMEOUT_S:g} s"
                )
            await asyncio.sleep(0.001)

    async def _completed(self) -> None:
        def ended(message: Message) -> bool:
            return _migration_status(message) in ("completed", "failed")

        def resumed(message: Message) -> bool:
            return message.get("event") == "RESUME"

        _, last = await self.old.wait_for(ended, "the end of the migration", HANDOVER_TIMEOUT_S)
        if _migration_status(last) == "failed":
            info = await self.old.execute("query-migrate")
            raise TransferRefused(
                f"old QEMU reports a failed migration: {info.get('error-desc', 'no reason given')}",
                received=str(info),
            )
        await self.new.wait_for(resumed, "that the guest resumed", HANDOVER_TIMEOUT_S)

    def _watch_guest(self) -> list[_VcpuView]:
        """Last look at the beats before the guest is taken away."""
        memory = self.guest.memory
        samples = memory.sample_ticks()
        # Counted last: a busy host fills the log with gaps that are none of the blackout's.
        logged = [memory.gaps_logged(v) for v in range(self.guest.scenario.vcpus)]
        beats = memory.beats()
        return [
            _VcpuView(count, beat, tuple(ticks))
            for count, beat, ticks in zip(logged, beats, samples, strict=True)
        ]

    async def _follow_guest(self, before: list[_VcpuView]) -> None:
        """See every vCPU beat in new QEMU and read the gap that it logged."""
        memory = self.guest.memory
        await asyncio.to_thread(memory.wait_for_beats, memory.beats(), BEAT_TIMEOUT_S)
        logs = [memory.gaps_since(v, view.gaps_logged) for v, view in enumerate(before)]
        samples = memory.sample_ticks()
        after = memory.beats()
        found = []
        for vcpu, view in enumerate(before):
            gaps, overflowed = logs[vcpu]
            errors, first = memory.errors(vcpu)
            found.append(
                VcpuBeats(
                    index=vcpu,
                    before=view.samples,
                    after=tuple(samples[vcpu]),
                    gaps=tuple(Gap(g.start_tick, g.end_tick) for g in gaps),
                    beats_before=view.beats,
                    beats_after=after[vcpu],
                    gaps_overflowed=overflowed,
                    pattern_errors=errors,
                    first_error=first,
                )
            )
        self.seen.beats = tuple(found)

    def _same_file(self) -> None:
        """New QEMU must map the very file that is compared with the pattern, and share it."""
        guest = self.guest
        mapping = ram_mapping(self.new.pid, guest.scenario.ram_bytes)
        if mapping.inode != guest.memory.inode or not mapping.shared:
            kind = "another file" if mapping.shared else "a private copy"
            raise GuestLost(f"new QEMU (pid {self.new.pid}) maps {kind} as guest RAM")


class _Precopy(_Drive):
    """The steps of a precopy migration over a unix socket, as fast as it goes."""

    async def run(self) -> None:
        self.hooks.started(self.old.pid, self.new.pid)
        await self._prepare(self.old)
        # Unlimited: the default of 128 MiB/s would measure the limit.
        await self.old.execute("migrate-set-parameters", mode="normal", max_bandwidth=0)
        await self.new.connect(START_TIMEOUT_S)
        self._step("monitor")
        tids = await vcpu_tids(self.new, self.guest.scenario.vcpus)
        await self._prepare(self.new)
        self.seen.new = Process(self.new.pid, self.new.argv, tids)
        self.hooks.hold(self.old, self.new, self.guest.vcpu_tids, tids)
        await self.new.execute("migrate-incoming", uri=f"unix:{self.sockets.main}")
        before = self._watch_guest()
        self._step("migrate")
        await self.old.execute("migrate", uri=f"unix:{self.sockets.main}")
        await self._completed()
        self._step("completed")
        self.guest.adopt_ram(self.new)
        await self._follow_guest(before)
        self.hooks.resumed(self.old, self.new)
        self.seen.migrate_info = _numbers(await self.old.execute("query-migrate"))
        self._step("done")


@dataclass(frozen=True, slots=True)
class _VcpuView:
    gaps_logged: int
    beats: int
    samples: tuple[tuple[int, int], ...]


def _migration_status(message: Message) -> str:
    data = message.get("data")
    if message.get("event") == "MIGRATION" and isinstance(data, dict):
        return str(data.get("status"))
    return ""


def _listens(path: Path) -> bool:
    """Whether a unix socket at `path` accepts: flag __SO_ACCEPTCON in /proc/net/unix."""
    needle = str(path)
    for line in Path("/proc/net/unix").read_text().splitlines():
        if line.endswith(needle) and line.split()[3] == "00010000":
            return True
    return False


def _numbers(answer: dict[str, object]) -> dict[str, int]:
    return {k: v for k, v in answer.items() if isinstance(v, int) and not isinstance(v, bool)}
