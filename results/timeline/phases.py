"""Phases of a handover as spans on one clock, and their shares of the blackout.

Old and new QEMU work in parallel, so spans overlap. Shares do not: every instant of the blackout
belongs to at most one phase, that of the side that the guest is waiting for. This is old QEMU until
new reads the first section of device state or old has sent everything, and new QEMU from then on.
Time that belongs to no phase is the residual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from results.records.recording import Event, Recording
from results.records.run import Span

from .marks import (
    COMPLETED,
    CPR_SAVE,
    LOAD,
    PHASES,
    SET_UP,
    SETUP,
    STOPPED,
    VM_START,
    VM_STOP,
    At,
    Derived,
    Moment,
    Step,
)
from .vfio_calls import is_address_call


def sided_events(recording: Recording) -> tuple[tuple[Event, ...], int, int]:
    """The events with the pids of old and of new QEMU.

    If both are one process, its events from its execve on are attributed to new QEMU, under a
    negative pid.
    """
    old, new = recording.old.pid, recording.new.pid
    if old != new:
        return recording.events, old, new
    begun = min((e.ns for e in recording.events if e.mark == "exec"), default=None)
    if begun is None:
        return recording.events, old, -old
    events = tuple(
        replace(e, pid=-old) if e.pid == old and e.ns >= begun else e for e in recording.events
    )
    return events, old, -old


class Marks:
    """Lookup of marks by side, name and edge in one transfer's events."""

    def __init__(self, events: tuple[Event, ...], old_pid: int, new_pid: int) -> None:
        self._sides = {old_pid: "old", new_pid: "new"}
        self._by_key: dict[tuple[str, str, str], list[Event]] = {}
        for event in sorted(events, key=lambda e: e.ns):
            side = self._sides.get(event.pid)
            if side is not None:
                self._by_key.setdefault((side, event.mark, event.edge), []).append(event)

    def all(self, side: str, name: str, edge: str) -> list[Event]:
        return self._by_key.get((side, name, edge), [])

    def first(self, side: str, name: str, edge: str, after: int = 0) -> Event | None:
        return next((e for e in self.all(side, name, edge) if e.ns >= after), None)

    def last_before(self, side: str, name: str, edge: str, before: int) -> Event | None:
        return next((e for e in reversed(self.all(side, name, edge)) if e.ns <= before), None)

    def old(self, name: str, edge: str) -> int | None:
        event = self.first("old", name, edge)
        return event.ns if event else None

    def new(self, name: str, edge: str) -> int | None:
        event = self.first("new", name, edge)
        return event.ns if event else None

    def fired(self, name: str) -> bool:
        return any(key[1] == name for key in self._by_key)

    def stop_position(self) -> str:
        """Where old QEMU stopped the VM: before or after it saved the CPR state."""
        stop, save = self.old("vm_stop", "enter"), self.old("cpr_save", "enter")
        if stop is None or save is None:
            return "unknown"
        return "after-cpr-save" if stop > save else "before-cpr-save"


class _Moments:
    """The moments of the table in one transfer; None for one that was not seen.

    A moment is an event if the process's counters can be read from it, else a time in ns.
    """

    def __init__(self, marks: Marks, steps: Mapping[str, int], first_entry: int | None) -> None:
        self.marks, self.steps, self.first_entry = marks, steps, first_entry

    def find(self, moment: Moment) -> Event | int | None:
        match moment:
            case At():
                return self.at(moment)
            case Step(name):
                return self.steps.get(name)
            case _:
                return _DERIVED[moment](self)

    def at(self, moment: At) -> Event | None:
        since = self.at(moment.after) if moment.after else None
        after = since.ns if since else 0
        return self.marks.first(moment.side, moment.mark, moment.edge, after)

    def ns(self, moment: Moment) -> int | None:
        return _ns(self.find(moment))

    def asked_to_stop(self) -> Event | None:
        """The stop of a guest that is paused before its QEMU is told to save it."""
        ends_first = self.steps.get("old_gone") is not None
        return self.marks.first("old", "pause_vcpus", "enter") if ends_first else None

    def copied_while_running(self) -> bool:
        """Whether RAM was copied while the guest ran: the setup began before it stopped."""
        setup, stopped = self.ns(SETUP), self.ns(STOPPED)
        return setup is not None and stopped is not None and setup < stopped


def _cpr_load_begun(seen: _Moments) -> int | None:
    """New QEMU waits in accept() until old connects; that is not part of loading."""
    save, waited = seen.ns(CPR_SAVE), seen.marks.new("cpr_load", "enter")
    if waited is None or save is None:
        return save
    return max(waited, save)


def _stop(seen: _Moments) -> Event | None:
    return seen.asked_to_stop() or seen.at(VM_STOP)


def _paused(seen: _Moments) -> Event | None:
    after = None if seen.asked_to_stop() else VM_STOP
    return seen.at(At("old", "pause_vcpus", "return", after))


def _saving(seen: _Moments) -> Event | None:
    """New QEMU waits for old from the stop on if it has already been reading RAM."""
    return seen.at(STOPPED if seen.copied_while_running() else SET_UP)


def _followed(seen: _Moments) -> int | None:
    """When new QEMU could start: old had exited, or became new by execve."""
    stopped = seen.at(STOPPED)
    # The guest does not wait for a process that was started before it stopped.
    execve = seen.marks.first("new", "exec", "enter", stopped.ns) if stopped else None
    return seen.steps.get("old_gone", _ns(execve))


def _loaded(seen: _Moments) -> Event | None:
    """The same function is also called when the machine is created, before loading."""
    vm_start, load = seen.at(VM_START), seen.at(LOAD)
    loaded = seen.marks.last_before("new", "loaded", "enter", vm_start.ns) if vm_start else None
    return None if loaded and load and loaded.ns < load.ns else loaded


def _awaited(seen: _Moments) -> int | None:
    """When the guest starts to wait for new QEMU to load, and no longer for old to save."""
    completed, sections = seen.ns(COMPLETED), seen.marks.new("load_main", "enter")
    if seen.copied_while_running():
        # In postcopy the guest resumes before everything is sent.
        sent = completed is not None and (seen.first_entry is None or completed <= seen.first_entry)
        return completed if sent else seen.ns(STOPPED)
    # The guest waits for old until new reads the first section, or until old has sent everything.
    if sections is None or completed is None:
        return sections
    return min(sections, completed)


def _addresses_given_up(seen: _Moments) -> int | None:
    unmapped, (taken, _) = vfio_bounds(seen.marks)
    return _ns(unmapped or taken)


_DERIVED: dict[Derived, Callable[[_Moments], Event | int | None]] = {
    "cpr_load_begun": _cpr_load_begun,
    "stop": _stop,
    "paused": _paused,
    "saving": _saving,
    "followed": _followed,
    "loaded": _loaded,
    "awaited": _awaited,
    "first_entry": lambda seen: seen.first_entry,
    "addresses_given_up": _addresses_given_up,
    "remap_begun": lambda seen: vfio_bounds(seen.marks)[1][0],
    "remap_ended": lambda seen: vfio_bounds(seen.marks)[1][1],
}


def _ns(moment: Event | int | None) -> int | None:
    return moment.ns if isinstance(moment, Event) else moment


# The last phase that claims an instant owns it, so those that yield come first.
_MEASURED = tuple(sorted(PHASES, key=lambda phase: not phase.yields))
_BY_NAME = {phase.name: phase for phase in PHASES}


def build_spans(
    marks: Marks, steps: Mapping[str, int], window: tuple[int, int] | None
) -> tuple[Span, ...]:
    """Every phase of which both ends were seen; those that yield first, then in order of time.

    `window` is the VM blackout (start, end); without it all shares are 0.
    """
    seen = _Moments(marks, steps, window[1] if window else None)
    spans = _spans(seen)
    if window is None:
        return tuple(spans)
    shares: dict[str, int] = {}
    for start, end, owner in _owners(spans, seen, window):
        shares[owner] = shares.get(owner, 0) + end - start
    return tuple(replace(span, blackout_ns=shares.get(span.name, 0)) for span in spans)


def phase_owners(
    marks: Marks, steps: Mapping[str, int], window: tuple[int, int]
) -> tuple[tuple[int, int, str], ...]:
    """The window split where its owner changes: (start, end, phase); "" for the residual."""
    seen = _Moments(marks, steps, window[1])
    return tuple(_owners(_spans(seen), seen, window))


def _spans(seen: _Moments) -> list[Span]:
    """Every phase of which both ends were seen, without its share."""
    spans = []
    for phase in _MEASURED:
        bounds = seen.find(phase.start), seen.find(phase.end)
        start, end = map(_ns, bounds)
        if start is not None and end is not None and end >= start:
            spans.append(Span(phase.name, phase.side, start, end, 0, _spent(*bounds)))
    return spans


def vfio_bounds(marks: Marks) -> tuple[Event | None, tuple[Event | None, Event | None]]:
    """The handover of assigned devices: old invalidates its addresses, new sets its own."""
    # Before the stop QEMU only probes whether iommufd supports the call.
    stop = marks.old("vm_stop", "enter") or 0
    unmapped = next(
        (e for e in marks.all("old", "vfio_ioctl", "enter") if e.ns > stop and is_address_call(e)),
        None,
    )
    taken = [
        e for e in marks.all("new", "vfio_ioctl", "enter") if e.ns > stop and is_address_call(e)
    ]
    if not taken:
        return unmapped, (None, None)
    ends = [e for e in marks.all("new", "vfio_ioctl", "return") if e.ns > taken[-1].ns]
    return unmapped, (taken[0], ends[0] if ends else None)


def _spent(start: Event | int | None, end: Event | int | None) -> dict[str, int]:
    """Increase of the process's counters between two of its events."""
    if not isinstance(start, Event) or not isinstance(end, Event) or start.pid != end.pid:
        return {}
    return {k: max(0, v - start.counters.get(k, 0)) for k, v in end.counters.items()}


def _owners(
    spans: Sequence[Span], seen: _Moments, window: tuple[int, int]
) -> Iterator[tuple[int, int, str]]:
    """Assign each instant of the window to the last phase that claims it."""
    claims: dict[str, tuple[int, int]] = {}
    for span in spans:
        phase = _BY_NAME[span.name]
        awaited = seen.ns(phase.share_from) if phase.share_from else None
        start = max(span.start_ns, awaited or span.start_ns, window[0])
        end = min(span.end_ns, window[1])
        if end > start and phase.waited_for:
            claims[span.name] = (start, end)
    edges = sorted({window[0], window[1], *(edge for claim in claims.values() for edge in claim)})
    begun, owner = window[0], ""
    for start, end in pairwise(edges):
        owners = [name for name, claim in claims.items() if claim[0] <= start and claim[1] >= end]
        owned_by = owners[-1] if owners else ""
        if owned_by != owner and start > begun:
            yield begun, start, owner
            begun = start
        owner = owned_by
    yield begun, window[1], owner
