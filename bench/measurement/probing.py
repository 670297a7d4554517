"""Instruments around the probes and counters that are loaded once per session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from probes.handover import HandoverProbe, Observed
from probes.memory_accounts import thread_faults
from probes.perf import ProcessCounters
from probes.scheduler import SchedulerProbe
from results.records.observations import ObservedGap
from results.records.recording import Recording, VcpuBracket
from results.records.scheduler import Scheduling
from runners.devices.dma_counts import interrupt_numbers
from runners.observer.process import Observer
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_descriptor

from .instruments import Instrument, Update


@dataclass(slots=True)
class HandoverMarks(Instrument):
    """Functions, system calls and descriptors of both QEMUs, by the handover probe."""

    probe: HandoverProbe
    traces_marks: bool = True  # False: the probe was loaded for guest entry and exit alone
    _first: Observed = field(default=Observed((), (), 0), init=False)

    def started(self, old: int, new: int) -> None:
        self.probe.watch(old)
        # In a mode without descriptors it would wait for CPR state forever.
        self.probe.watch(new, incoming=self.update.promise.descriptors)

    def leaving(self, old: Qemu, old_tids: tuple[int, ...]) -> None:
        self.probe.watch(old.pid)

    def spawned(self, pid: int) -> None:
        self.probe.watch(pid)

    def resumed(self, old: Qemu, new: Qemu) -> None:
        self._first = self.probe.collect((), ())
        self.update.events = self._first.events

    def recorded(self, about: Recording) -> Recording:
        """Also stop watching old QEMU, and new QEMU if the guest is lost with it."""
        first, last = self._first, self.probe.collect((), ())
        if about.old.pid != about.new.pid:  # else it continues as new QEMU
            self.probe.forget(about.old.pid, about.old.vcpu_tids)
        if about.failure:
            self.probe.forget(about.new.pid, about.new.vcpu_tids)
        return replace(
            about,
            events=first.events + last.events,
            lost=first.lost + last.lost,
            skipped=first.skipped + last.skipped,
        )

    def forget(self, pid: int, tids: Iterable[int]) -> None:
        self.probe.forget(pid, tids)


@dataclass(slots=True)
class Interrupts(Instrument):
    """Interrupts of assigned devices, recorded among the marks."""

    probe: HandoverProbe

    def works_for(self, update: Update) -> bool:
        return bool(update.scenario.devices)

    def started(self, old: int, new: int) -> None:
        for address in filter(None, self.update.scenario.devices.split(",")):
            self.probe.watch_interrupts(interrupt_numbers(address))


@dataclass(slots=True)
class Brackets(Instrument):
    """Each vCPU's last exit from the guest in old QEMU and its first entry in new."""

    probe: HandoverProbe
    _tids: tuple[tuple[int, ...], tuple[int, ...]] = field(default=((), ()), init=False)
    _seen: tuple[VcpuBracket, ...] = field(default=(), init=False)
    # vCPU thread → faults that the host served for it, and faults of the guest
    _faults: dict[int, tuple[int | None, int | None]] = field(default_factory=dict, init=False)

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        self._tids = (old_tids, new_tids)
        self.probe.arm((*old_tids, *new_tids))

    def leaving(self, old: Qemu, old_tids: tuple[int, ...]) -> None:
        self._tids = (old_tids, (0,) * len(old_tids))  # those of new are not known yet
        self.probe.arm(old_tids)

    def spawned(self, pid: int) -> None:
        self.probe.open_brackets(pid)

    def arrived(self, new: Qemu, new_tids: tuple[int, ...]) -> None:
        self._tids = (self._tids[0], new_tids)

    def disarm(self, new: Qemu) -> None:
        if not self.update.promise.held:
            self.probe.close_brackets(new.pid)  # every vCPU has beaten, so it has entered

    def resumed(self, old: Qemu, new: Qemu) -> None:
        self._seen = self.probe.brackets(*self._tids)

    def ended(self, new: Qemu) -> None:
        for tid in self._tids[1]:
            self._faults[tid] = thread_faults(new.pid, tid), self.probe.guest_faults(tid)

    def recorded(self, about: Recording) -> Recording:
        brackets = self._seen or self.probe.brackets(*self._tids)
        if not self.update.promise.held:
            self.probe.forget_ended()
        if not about.failure:  # the guest did not come back to old QEMU
            brackets = tuple(
                replace(b, longest_left_ns=None, longest_entered_ns=None) for b in brackets
            )
        return replace(about, brackets=tuple(map(self._with_faults, brackets)))

    def _with_faults(self, bracket: VcpuBracket) -> VcpuBracket:
        host, guest = self._faults.get(bracket.new_tid, (None, None))
        return replace(bracket, host_faults=host, guest_faults=guest)


@dataclass(slots=True)
class PerfCounts(Instrument):
    """perf events of both QEMUs in the hold and in the blackout, which counting lengthens."""

    _counters: dict[str, ProcessCounters] = field(default_factory=dict, init=False)
    _counts: dict[str, dict[str, int]] = field(default_factory=dict, init=False)

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        for side, qemu in (("old", old), ("new", new)):
            self._counters[side] = ProcessCounters(qemu.pid)

    def disarm(self, new: Qemu) -> None:
        self._counts = {side: counters.read() for side, counters in self._counters.items()}

    def close(self) -> None:
        for counters in self._counters.values():
            counters.close()

    def recorded(self, about: Recording) -> Recording:
        return replace(about, perf=self._counts)


@dataclass(slots=True)
class BeatObserver(Instrument):
    """The guest's beats as seen by a program on the host that shares nothing with the probes.

    It reads old QEMU's RAM, so it works only in modes whose RAM stays in place.
    """

    program: Path
    _observer: Observer | None = field(default=None, init=False)
    _gaps: tuple[ObservedGap, ...] | None = field(default=None, init=False)

    def works_for(self, update: Update) -> bool:
        return update.promise.ram == "stays"

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        self.leaving(old, old_tids)

    def leaving(self, old: Qemu, old_tids: tuple[int, ...]) -> None:
        ram = ram_descriptor(old.pid, self.update.scenario.ram_bytes)
        self._observer = Observer(self.program, ram, len(old_tids))

    def disarm(self, new: Qemu) -> None:
        if self._observer is not None:
            self._observer.close()
            # One that did not last saw the beginning of a pause at best.
            self._gaps = None if self._observer.lost() else self._observer.gaps()

    def close(self) -> None:
        if self._observer is not None:
            self._observer.close()

    def recorded(self, about: Recording) -> Recording:
        lost = self._observer.lost() if self._observer is not None else ""
        return replace(
            about,
            observed=self._gaps,
            lost_witnesses=(*about.lost_witnesses, *([lost] if lost else [])),
        )


@dataclass(slots=True)
class SchedulerRing(Instrument):
    """The scheduler's events of both QEMUs, for the causes of a blackout.

    Its ring holds a blackout of milliseconds and little else: it opens last in the hold, and is of
    no use in modes that do not pass descriptors, whose blackouts are longer.
    """

    late: ClassVar[bool] = True
    probe: SchedulerProbe
    _seen: Scheduling | None = field(default=None, init=False)

    def works_for(self, update: Update) -> bool:
        return update.promise.descriptors

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        self.probe.open((old.pid, new.pid))

    def disarm(self, new: Qemu) -> None:
        self._seen = self.probe.close()

    def recorded(self, about: Recording) -> Recording:
        if self._seen is None:  # the transfer failed before the guest resumed
            self._seen = self.probe.close()
        return replace(about, scheduling=self._seen)
