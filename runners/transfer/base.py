"""The steps of one update that all modes of transfer share, each with a timeout."""

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
from results.records.rollback import Where
from results.records.scenario import Build
from runners.qemu.command_line import Sockets, Variation
from runners.qemu.guest import Guest, start_qemu, vcpu_tids
from runners.qemu.migration import START_TIMEOUT_S, runstate, wait_until_resumed, wait_until_sent
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_mapping
from runners.system.timeouts import scaled_timeout

BEAT_TIMEOUT_S = scaled_timeout(10.0)
BLACKOUT_SLEEP_S = 0.03  # longest sleep that leaves the CPU to QEMU during the blackout
UNLIMITED = 0  # max-bandwidth: with the default of 128 MiB/s the limit would be measured
# Baseline for the rate of a new guest's clock in modes with long pauses: samples that are 25 us
# late then make an error of 40 us in a pause of half a second.
CLOCK_BASELINE_S = 0.3


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks at the steps of a transfer; none of them runs inside the blackout."""

    started: Callable[[int, int], None] = lambda old, new: None  # both pids, before `migrate`
    hold: Callable[[Qemu, Qemu, tuple[int, ...], tuple[int, ...]], None] = (
        lambda old, new, old_tids, new_tids: None
    )
    # In modes without a hold: old QEMU is about to stop; QEMU `pid` was started; it runs the guest.
    leaving: Callable[[Qemu, tuple[int, ...]], None] = lambda old, old_tids: None
    spawned: Callable[[int], None] = lambda pid: None
    arrived: Callable[[Qemu, tuple[int, ...]], None] = lambda new, new_tids: None
    resumed: Callable[[Qemu, Qemu], None] = lambda old, new: None  # guest runs in new QEMU
    ended: Callable[[Qemu], None] = lambda new: None  # old QEMU has exited, guest RAM was checked
    # The path that old QEMU connects to, from the one that new QEMU listens on.
    main_path: Callable[[Path], Path] = lambda path: path


@dataclass(slots=True)
class Transferred:
    """What the driver itself recorded of one transfer; incomplete when the transfer failed."""

    old: Process
    new: Process
    steps: dict[str, int] = field(default_factory=dict)
    qmp: tuple[QmpStamp, ...] = ()
    migrate_info: dict[str, int] = field(default_factory=dict)
    beats: tuple[VcpuBeats, ...] = ()
    ram: RamCheck | None = None
    device: DeviceWork | None = None
    failure: str = ""
    controller_stops: int = 0  # how often our own process was continued after a stop
    continued_in: Where = "unknown"  # after a failure: the QEMU in which every vCPU beat on


async def record_final_state(
    seen: Transferred, old: Qemu, new: Qemu | None, old_state: str = "", new_state: str = ""
) -> None:
    """Add both QEMUs' runstate, log and events at the end of the transfer.

    `old_state` and `new_state` replace the runstate of a QEMU that cannot be queried any more.
    """
    state = old_state or await runstate(old)
    seen.old = Process(old.pid, old.argv, seen.old.vcpu_tids, state, old.log_tail())
    stamps = list(old.qmp_stamps("old"))
    if new is not None:
        state = new_state or await runstate(new)
        seen.new = Process(new.pid, new.argv, seen.new.vcpu_tids, state, new.log_tail())
        stamps += new.qmp_stamps("new")
    seen.qmp = tuple(sorted(stamps, key=lambda stamp: stamp.ns))


@dataclass(frozen=True, slots=True)
class VcpuSnapshot:
    """One vCPU before the transfer; samples are (host ns, tick) of its last beat."""

    gaps_logged: int
    beats: int
    samples: tuple[tuple[int, int], ...]


@dataclass
class Transfer(ABC):
    """One update of a guest. Each mode is a subclass whose `run` calls the shared steps."""

    guest: Guest
    build: Build
    variation: Variation
    seen: Transferred
    hooks: Hooks
    old: Qemu
    new: Qemu | None = None
    old_state: str = ""  # runstate of an old QEMU that cannot be queried at the end
    cpr: Path = field(init=False)
    main: Path = field(init=False)
    clock_baseline_s: ClassVar[float] = 0.0  # before a guest's first update; 0: not needed

    def __post_init__(self) -> None:
        name = secrets.token_hex(4)
        self.cpr = self.guest.place.directory / f"{name}.cpr"
        self.main = self.guest.place.directory / f"{name}.main"

    # -- what a mode may override -------------------------------------------------------------

    @abstractmethod
    async def run(self) -> None:
        """Move the guest. Raises TransferRefused, GuestLost; OSError when a QEMU has exited."""

    def sockets(self) -> Sockets:
        """New QEMU's sockets: by default an ordinary migration, without a cpr channel."""
        return Sockets(self.cpr, self.main, plain=True)

    def begin(self) -> None:
        """Start new QEMU, which waits for the guest."""
        self._start_new()

    def clean_up(self) -> None:
        """Remove the sockets of this update."""
        for path in (self.cpr, self.main):
            path.unlink(missing_ok=True)

    async def end_old(self) -> None:
        await self.old.quit()

    async def _prepare(self, qemu: Qemu) -> None:
        """Set the capabilities that both QEMUs must agree on."""
        capabilities = {"events": True, "return-path": self.guest.scenario.return_path}
        await qemu.execute(
            "migrate-set-capabilities",
            capabilities=[{"capability": k, "state": v} for k, v in capabilities.items() if v],
        )

    # -- new QEMU -----------------------------------------------------------------------------

    def _start_new(self) -> Qemu:
        guest = self.guest
        new = start_qemu(guest.scenario, self.build, guest.place, self.sockets(), self.variation)
        return self._register_new(new)

    def _register_new(self, new: Qemu) -> Qemu:
        new.side = "new"
        self.new = new
        self.seen.new = Process(new.pid, new.argv, ())
        return new

    def _announce_start(self) -> Qemu:
        """Call the hook for new QEMU, before old QEMU gets any command; returns new QEMU."""
        assert self.new is not None
        self.hooks.started(self.old.pid, self.new.pid)
        return self.new

    async def _hold(self, new: Qemu) -> None:
        """Both QEMUs are ready and the guest still runs in old QEMU: probes are armed now."""
        await new.connect(START_TIMEOUT_S)
        self._step("monitor")
        tids = await vcpu_tids(new, self.guest.scenario.vcpus)
        await self._prepare(new)
        self.seen.new = Process(new.pid, new.argv, tids)
        self.hooks.hold(self.old, new, self.guest.vcpu_tids, tids)

    async def _wait_until_completed(self, new: Qemu) -> None:
        await wait_until_sent(self.old, new)
        await wait_until_resumed(new)
        self._step("completed")

    def _check_same_file(self, new: Qemu) -> None:
        """Check that new QEMU maps the same RAM file as the host, and maps it shared."""
        guest = self.guest
        mapping = ram_mapping(new.pid, guest.scenario.ram_bytes)
        if mapping.inode != guest.memory.inode or not mapping.shared:
            kind = "another file" if mapping.shared else "a private copy"
            raise GuestLost(f"new QEMU (pid {new.pid}) maps {kind} as guest RAM")

    # -- the guest ----------------------------------------------------------------------------

    def _step(self, name: str) -> None:
        self.seen.steps[name] = time.monotonic_ns()

    def _snapshot_vcpus(self) -> list[VcpuSnapshot]:
        """Sample the beats just before the guest is stopped."""
        if self.clock_baseline_s and not self.guest.updates:
            time.sleep(self.clock_baseline_s)
        memory = self.guest.memory
        samples = memory.sample_ticks()
        # Read last: on a busy host the log also fills with gaps outside the blackout.
        logged = [memory.gaps_logged(v) for v in range(self.guest.scenario.vcpus)]
        beats = memory.beats()
        return [
            VcpuSnapshot(count, beat, tuple(ticks))
            for count, beat, ticks in zip(logged, beats, samples, strict=True)
        ]

    async def _record_beats(self, before: list[VcpuSnapshot]) -> None:
        """Wait until every vCPU beats in new QEMU, and read the gaps that it logged."""
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
