"""The observers of one transfer: what is watched from its start to old QEMU's end."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from probes.handover import Observed
from probes.memory_accounts import thread_faults
from probes.perf import ProcessCounters
from results.qemu.modes import promise
from results.records.observations import ObservedGap
from results.records.recording import Recording, VcpuBracket
from results.records.scenario import Scenario
from results.records.scheduler import Scheduling
from results.timeline.cpr_channel import carried_descriptors
from runners.devices.dma_counts import interrupt_numbers
from runners.observer.process import Observer
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_descriptor
from runners.transfer.handover import Hooks, Transferred

from .evidence import Prover

if TYPE_CHECKING:
    from .experiment import Experiment


class Window:
    """The observers of one transfer, from its start to old QEMU's end."""

    def __init__(self, experiment: Experiment, prover: Prover | None, scenario: Scenario) -> None:
        self._devices = [address for address in scenario.devices.split(",") if address]
        self._probe = experiment.probe
        self._ram_bytes = scenario.ram_bytes
        self._further = experiment.hooks
        self._perf = experiment.perf
        self._observer: Observer | None = None
        self.gaps: tuple[ObservedGap, ...] | None = None
        mode = promise(scenario)
        self._held = mode.held
        self._cpr = mode.descriptors
        # The scheduler's ring holds a blackout of milliseconds; the observer looks at old's RAM.
        self._scheduler = experiment.scheduler if mode.descriptors else None
        self._program = experiment.observer if mode.ram == "stays" else None
        self._prover = prover
        self._stack = ExitStack()
        self._counters: dict[str, ProcessCounters] = {}
        self._tids: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        self._first: Observed = Observed((), (), 0)
        self._faults: dict[int, tuple[int | None, int | None]] = {}  # vCPU thread → host, guest
        self.scheduling: Scheduling | None = None
        self.counts: dict[str, dict[str, int]] = {}

    def __enter__(self) -> None:
        self._stack.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def hooks(self) -> Hooks:
        further = self._further.main_path
        return Hooks(
            started=self._started,
            hold=self._hold,
            leaving=self._leaving,
            spawned=self._spawned,
            arrived=self._arrived,
            resumed=self._resumed,
            ended=self._ended,
            main_path=further,
        )

    def _leaving(self, old: Qemu, old_tids: tuple[int, ...]) -> None:
        """In a mode without a hold: new QEMU's threads are not known before it runs the guest."""
        self._tids = (old_tids, (0,) * len(old_tids))
        if self._probe is not None:
            self._probe.watch(old.pid)
            self._probe.arm(old_tids)
        if self._program is not None:
            ram = ram_descriptor(old.pid, self._ram_bytes)
            watching = Observer(self._program, ram, len(old_tids))
            self._observer = self._stack.enter_context(watching)
        self._further.leaving(old, old_tids)

    def _spawned(self, pid: int) -> None:
        if self._probe is not None:
            self._probe.watch(pid)
            self._probe.open_brackets(pid)
        self._further.spawned(pid)

    def _arrived(self, new: Qemu, new_tids: tuple[int, ...]) -> None:
        self._tids = (self._tids[0], new_tids)
        self._further.arrived(new, new_tids)

    def _started(self, old: int, new: int) -> None:
        if self._probe is not None:
            self._probe.watch(old)
            self._probe.watch(new, incoming=self._cpr)  # else it would await CPR state for ever
            for address in self._devices:
                self._probe.watch_interrupts(interrupt_numbers(address))
        if self._prover is not None:
            self._prover.before(old, new)
        self._further.started(old, new)

    def _hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        self._tids = (old_tids, new_tids)
        if self._prover is not None:
            self._prover.hold(old, new)
        if self._perf:
            for side, qemu in (("old", old), ("new", new)):
                self._counters[side] = self._stack.enter_context(ProcessCounters(qemu.pid))
        if self._probe is not None:
            self._probe.arm((*old_tids, *new_tids))
        if self._program is not None:
            ram = ram_descriptor(old.pid, self._ram_bytes)
            watching = Observer(self._program, ram, len(old_tids))
            self._observer = self._stack.enter_context(watching)
        self._further.hold(old, new, old_tids, new_tids)
        if self._scheduler is not None:  # last, so that the ring holds the blackout and little else
            self._scheduler.open((old.pid, new.pid))

    def _resumed(self, old: Qemu, new: Qemu) -> None:
        if self._probe is not None and not self._held:
            self._probe.close_brackets(new.pid)  # every vCPU has beaten, so has entered
        self._end_scheduling()
        if self._observer is not None:
            self._observer.close()
            self.gaps = self._observer.gaps()
        self.counts = {side: counters.read() for side, counters in self._counters.items()}
        self._first = self._collect()
        if self._prover is not None:
            carried, _ = carried_descriptors(self._first.events, old.pid, new.pid)
            self._prover.resumed(old, new, carried)
        self._further.resumed(old, new)

    def _end_scheduling(self) -> None:
        if self._scheduler is not None and self.scheduling is None:
            self.scheduling = self._scheduler.close()

    def _ended(self, new: Qemu) -> None:
        if self._probe is not None:
            for tid in self._tids[1]:
                self._faults[tid] = thread_faults(new.pid, tid), self._probe.guest_faults(tid)
        if self._prover is not None:
            self._prover.ended(new)
        self._further.ended(new)

    def _collect(self) -> Observed:
        return self._probe.collect(*self._tids) if self._probe is not None else Observed((), (), 0)

    def recorded(self, about: Recording, seen: Transferred) -> Recording:
        """`about` with what the driver and all observers saw; also ends the watch over old QEMU."""
        observed = self._observed(seen)
        return replace(
            about,
            old=seen.old,
            new=seen.new,
            steps=seen.steps,
            events=observed.events,
            brackets=observed.brackets,
            lost=observed.lost,
            skipped=observed.skipped,
            qmp=seen.qmp,
            migrate_info=seen.migrate_info,
            perf=self.counts,
            observed=self.gaps,
            failure=seen.failure,
            scheduling=self.scheduling,
        )

    def _observed(self, seen: Transferred) -> Observed:
        self._end_scheduling()
        if self._probe is None:
            return self._first
        last = self._collect()
        if seen.old.pid != seen.new.pid:  # else it goes on as new QEMU
            self._probe.forget(seen.old.pid, seen.old.vcpu_tids)
        if seen.failure:
            self._probe.forget(seen.new.pid, seen.new.vcpu_tids)
        if not self._held:
            self._probe.forget_ended()
        return Observed(
            self._first.events + last.events,
            tuple(map(self._with_faults, self._first.brackets or last.brackets)),
            self._first.lost + last.lost,
            self._first.skipped + last.skipped,
        )

    def _with_faults(self, bracket: VcpuBracket) -> VcpuBracket:
        host, guest = self._faults.get(bracket.new_tid, (None, None))
        return replace(bracket, host_faults=host, guest_faults=guest)
