"""The steps of one update, every wait bounded: what all modes share, and cpr-transfer itself.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from qemu.qmp import Message

from results.errors import GuestLost, PausebenchError, TransferRefused
from results.records.observations import DeviceWork, Gap, RamCheck, VcpuBeats
from results.records.recording import Process, QmpStamp
from results.records.scenario import Build
from runners.devices.dma_counts import DeviceWatch
from runners.payload.memory import GuestMemory
from runners.qemu.command_line import Sockets, Variation, channel
from runners.qemu.guest import Guest, start_qemu, vcpu_tids
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_mapping
from runners.system.timeouts import patient

HANDOVER_TIMEOUT_S = patient(30.0)
START_TIMEOUT_S = patient(20.0)
BEAT_TIMEOUT_S = patient(10.0)
AWAY_S = 0.03
_STATE_TIMEOUT_S = patient(2.0)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What others do at the steps of a transfer; none of it runs inside the blackout."""

    started: Callable[[int, int], None] = lambda old, new: None  # both pids, before `migrate`
    hold: Callable[[Qemu, Qemu, tuple[int, ...], tuple[int, ...]], None] = (
        lambda old, new, old_tids, new_tids: None
    )
    # In modes without a hold: old QEMU is about to stop, QEMU `pid` was started, runs the guest.
    leaving: Callable[[Qemu, tuple[int, ...]], None] = lambda old, old_tids: None
    spawned: Callable[[int], None] = lambda pid: None
    arrived: Callable[[Qemu, tuple[int, ...]], None] = lambda new, new_tids: None
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


async def runstate(qemu: Qemu) -> str:
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


def stay_away(memory: GuestMemory, logged: list[int]) -> None:
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
class Drive:
    """The steps of one update in order, with what they share. This one: cpr-transfer."""

    guest: Guest
    build: Build
    variation: Variation
    seen: Transferred
    hooks: Hooks
    old: Qemu
    new: Qemu | None = None
    cpr: Path = field(init=False)
    main: Path = field(init=False)
    # At a new guest's clock, where the pause is long and must not be misread.
    looks_s: ClassVar[float] = 0.0
    old_state: str = ""  # of a QEMU that cannot be asked any more at the end

    def __post_init__(self) -> None:
        name = secrets.token_hex(4)
        self.cpr = self.guest.place.directory / f"{name}.cpr"
        self.main = self.guest.place.directory / f"{name}.main"

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main)

    def begin(self) -> None:
        """What is started before all else: new QEMU, which waits."""
        self._start()

    def _start(self) -> Qemu:
        guest = self.guest
        new = start_qemu(guest.scenario, self.build, guest.place, self.sockets(), self.variation)
        return self._is_new(new)

    def _is_new(self, new: Qemu) -> Qemu:
        new.side = "new"
        self.new = new
        self.seen.new = Process(new.pid, new.argv, ())
        return new

    def clear(self) -> None:
        """Take away what the update alone needed."""
        for path in (self.cpr, self.main):
            path.unlink(missing_ok=True)

    async def end_old(self) -> None:
        await self.old.quit()

    async def run(self) -> None:
        new = self._theirs()
        self.hooks.started(self.old.pid, new.pid)
        await self._prepare(self.old)
        await self.old.execute("migrate-set-parameters", mode="cpr-transfer")
        await listening(new, self.cpr)
        self._step("migrate")
        await self.old.execute(
            "migrate",
            channels=[
                channel("main", self.hooks.main_path(self.main)),
                channel("cpr", self.cpr),
            ],
        )
        await new.connect(START_TIMEOUT_S)
        self._step("monitor")
        tids = await vcpu_tids(new, self.guest.scenario.vcpus)
        await self._prepare(new)
        self.seen.new = Process(new.pid, new.argv, tids)
        self.hooks.hold(self.old, new, self.guest.vcpu_tids, tids)
        work = DeviceWatch(self.guest) if self.guest.plan.device else None
        before = self._watch_guest()
        self._step("migrate_incoming")
        await new.execute("migrate-incoming", uri=f"unix:{self.main}")
        stay_away(self.guest.memory, [view.gaps_logged for view in before])
        await self._completed(new)
        self._step("completed")
        await self._follow_guest(before)
        if work is not None:
            self.seen.device = await asyncio.to_thread(work.finished)
        self.hooks.resumed(self.old, new)
        self.seen.migrate_info = numbers(await self.old.execute("query-migrate"))
        self._same_file(new)
        self._step("done")

    def _theirs(self) -> Qemu:
        assert self.new is not None  # `begin`, or the step before, has started it
        return self.new

    def _step(self, name: str) -> None:
        self.seen.steps[name] = time.monotonic_ns()

    async def _prepare(self, qemu: Qemu) -> None:
        capabilities = {"events": True, "return-path": self.guest.scenario.return_path}
        await qemu.execute(
            "migrate-set-capabilities",
            capabilities=[{"capability": k, "state": v} for k, v in capabilities.items() if v],
        )

    async def _completed(self, new: Qemu) -> None:
        await self._sent()
        await self._resumed(new)

    async def _resumed(self, new: Qemu) -> None:
        def resumed(message: Message) -> bool:
            return message.get("event") == "RESUME"

        await new.wait_for(resumed, "that the guest resumed", HANDOVER_TIMEOUT_S)

    async def _sent(self) -> None:
        def ended(message: Message) -> bool:
            return migration_status(message) in ("completed", "failed")

        _, last = await self.old.wait_for(ended, "the end of the migration", HANDOVER_TIMEOUT_S)
        if migration_status(last) == "failed":
            info = await self.old.execute("query-migrate")
            raise TransferRefused(
                f"old QEMU reports a failed migration: {info.get('error-desc', 'no reason given')}",
                received=str(info),
            )

    def _watch_guest(self) -> list[VcpuView]:
        """Last look at the beats before the guest is taken away."""
        if self.looks_s and not self.guest.update:
            time.sleep(self.looks_s)
        memory = self.guest.memory
        samples = memory.sample_ticks()
        # Counted last: a busy host fills the log with gaps that are none of the blackout's.
        logged = [memory.gaps_logged(v) for v in range(self.guest.scenario.vcpus)]
        beats = memory.beats()
        return [
            VcpuView(count, beat, tuple(ticks))
            for count, beat, ticks in zip(logged, beats, samples, strict=True)
        ]

    async def _follow_guest(self, before: list[VcpuView]) -> None:
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

    def _same_file(self, new: Qemu) -> None:
        """New QEMU must map the very file that is compared with the pattern, and share it."""
        guest = self.guest
        mapping = ram_mapping(new.pid, guest.scenario.ram_bytes)
        if mapping.inode != guest.memory.inode or not mapping.shared:
            kind = "another file" if mapping.shared else "a private copy"
            raise GuestLost(f"new QEMU (pid {new.pid}) maps {kind} as guest RAM")


@dataclass(frozen=True, slots=True)
class VcpuView:
    """One vCPU before it is taken away; samples are (host ns, tick) of its last beat."""

    gaps_logged: int
    beats: int
    samples: tuple[tuple[int, int], ...]


def migration_status(message: Message) -> str:
    data = message.get("data")
    if message.get("event") == "MIGRATION" and isinstance(data, dict):
        return str(data.get("status"))
    return ""


async def listening(new: Qemu, cpr: Path) -> None:
    """Wait until new QEMU listens on its cpr socket, without connecting to it.

    The file exists a moment before it listens, and a connection that is only tried would be
    taken for old QEMU's. Raises GuestLost, TransferRefused.
    """
    end = time.monotonic() + START_TIMEOUT_S
    while not listens(cpr):
        if not new.alive():
            raise new.lost("it opened the cpr socket")
        if time.monotonic() > end:
            raise TransferRefused(
                f"new QEMU (pid {new.pid}) did not listen on its cpr socket "
                f"in {START_TIMEOUT_S:g} s"
            )
        await asyncio.sleep(0.001)


def listens(path: Path) -> bool:
    """Whether a unix socket at `path` accepts: flag __SO_ACCEPTCON in /proc/net/unix."""
    needle = str(path)
    for line in Path("/proc/net/unix").read_text().splitlines():
        if line.endswith(needle) and line.split()[3] == "00010000":
            return True
    return False


def numbers(answer: dict[str, object]) -> dict[str, int]:
    return {k: v for k, v in answer.items() if isinstance(v, int) and not isinstance(v, bool)}


_FASTEST = 0  # max-bandwidth: the default of 128 MiB/s would measure the limit


_STILL_S = 0.001


# 25 us that a sample may be late are 40 us of a pause of half a second then.
_LOOKS_S = 0.3
