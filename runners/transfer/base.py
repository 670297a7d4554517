"""What every mode of a transfer shares: the steps of one update, each of them bounded in time."""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from results.errors import GuestLost
from results.records.observations import DeviceWork, Gap, RamCheck, VcpuBeats
from results.records.recording import Process, QmpStamp
from results.records.scenario import Build
from runners.qemu.command_line import Sockets, Variation
from runners.qemu.guest import Guest, start_qemu, vcpu_tids
from runners.qemu.migration import START_TIMEOUT_S, resumed, runstate, sent
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_mapping
from runners.system.timeouts import patient

BEAT_TIMEOUT_S = patient(10.0)
AWAY_S = 0.03  # for this long at most the CPU is left to QEMU while the guest stands still
UNLIMITED = 0  # max-bandwidth: the default of 128 MiB/s would measure the limit
# Between two looks at a new guest's clock where the pause is long: that a sample may be 25 us late
# makes 40 us of a pause of half a second then.
CLOCK_LOOK_S = 0.3


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


async def describe_ends(
    seen: Transferred, old: Qemu, new: Qemu | None, old_state: str = ""
) -> None:
    """Add the state, log and events in which both QEMUs end the transfer.

    `old_state` is given of an old QEMU that cannot be asked any more.
    """
    state = old_state or await runstate(old)
    seen.old = Process(old.pid, old.argv, seen.old.vcpu_tids, state, old.log_tail())
    stamps = list(old.qmp_stamps("old"))
    if new is not None:
        state = await runstate(new)
        seen.new = Process(new.pid, new.argv, seen.new.vcpu_tids, state, new.log_tail())
        stamps += new.qmp_stamps("new")
    seen.qmp = tuple(sorted(stamps, key=lambda stamp: stamp.ns))


@dataclass(frozen=True, slots=True)
class VcpuView:
    """One vCPU before it is taken away; samples are (host ns, tick) of its last beat."""

    gaps_logged: int
    beats: int
    samples: tuple[tuple[int, int], ...]


@dataclass
class Transfer(ABC):
    """One update of a guest. A mode is a class whose `run` puts the shared steps in its order."""

    guest: Guest
    build: Build
    variation: Variation
    seen: Transferred
    hooks: Hooks
    old: Qemu
    new: Qemu | None = None
    old_state: str = ""  # of a QEMU that cannot be asked any more at the end
    cpr: Path = field(init=False)
    main: Path = field(init=False)
    clock_look_s: ClassVar[float] = 0.0  # before a guest's first update; 0: one look is enough

    def __post_init__(self) -> None:
        name = secrets.token_hex(4)
        self.cpr = self.guest.place.directory / f"{name}.cpr"
        self.main = self.guest.place.directory / f"{name}.main"

    # -- what a mode may do in its own way ----------------------------------------------------

    @abstractmethod
    async def run(self) -> None:
        """Move the guest. Raises TransferRefused, GuestLost; OSError of a QEMU that is gone."""

    def sockets(self) -> Sockets:
        """How new QEMU is reached: an ordinary migration, which has no cpr channel."""
        return Sockets(self.cpr, self.main, plain=True)

    def begin(self) -> None:
        """What is started before all else: new QEMU, which waits."""
        self._start_new()

    def clear(self) -> None:
        """Take away what the update alone needed."""
        for path in (self.cpr, self.main):
            path.unlink(missing_ok=True)

    async def end_old(self) -> None:
        await self.old.quit()

    async def _prepare(self, qemu: Qemu) -> None:
        """Set what both QEMUs must agree on."""
        capabilities = {"events": True, "return-path": self.guest.scenario.return_path}
        await qemu.execute(
            "migrate-set-capabilities",
            capabilities=[{"capability": k, "state": v} for k, v in capabilities.items() if v],
        )

    # -- new QEMU -----------------------------------------------------------------------------

    def _start_new(self) -> Qemu:
        guest = self.guest
        new = start_qemu(guest.scenario, self.build, guest.place, self.sockets(), self.variation)
        return self._is_new(new)

    def _is_new(self, new: Qemu) -> Qemu:
        new.side = "new"
        self.new = new
        self.seen.new = Process(new.pid, new.argv, ())
        return new

    def _waiting(self) -> Qemu:
        """New QEMU as `begin` has started it, before old QEMU is told anything."""
        assert self.new is not None
        self.hooks.started(self.old.pid, self.new.pid)
        return self.new

    async def _hold(self, new: Qemu) -> None:
        """Both QEMUs are ready and the guest still runs in old: others arm their probes."""
        await new.connect(START_TIMEOUT_S)
        self._step("monitor")
        tids = await vcpu_tids(new, self.guest.scenario.vcpus)
        await self._prepare(new)
        self.seen.new = Process(new.pid, new.argv, tids)
        self.hooks.hold(self.old, new, self.guest.vcpu_tids, tids)

    async def _completed(self, new: Qemu) -> None:
        await sent(self.old)
        await resumed(new)
        self._step("completed")

    def _same_file(self, new: Qemu) -> None:
        """New QEMU must map the very file that is compared with the pattern, and share it."""
        guest = self.guest
        mapping = ram_mapping(new.pid, guest.scenario.ram_bytes)
        if mapping.inode != guest.memory.inode or not mapping.shared:
            kind = "another file" if mapping.shared else "a private copy"
            raise GuestLost(f"new QEMU (pid {new.pid}) maps {kind} as guest RAM")

    # -- the guest ----------------------------------------------------------------------------

    def _step(self, name: str) -> None:
        self.seen.steps[name] = time.monotonic_ns()

    def _watch_guest(self) -> list[VcpuView]:
        """Last look at the beats before the guest is taken away."""
        if self.clock_look_s and not self.guest.update:
            time.sleep(self.clock_look_s)
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
