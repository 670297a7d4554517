"""The marks of one transfer: the QEMU and attempt of each event, and lookup of moments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from results.records.recording import Event, Recording
from results.records.scenario import Mode

from .marks import (
    COMPLETED,
    CPR_CHANNEL,
    CPR_LOAD,
    CPR_SAVE,
    LOAD,
    LOAD_MAIN,
    MARKS,
    PAUSE,
    PAUSED,
    SET_UP,
    STOPPED,
    STOPS_FIRST,
    VM_START,
    VM_STOP,
    At,
    ControllerStep,
    Derived,
    Moment,
)
from .vfio_calls import is_address_call

Key = tuple[str, str, str]  # side, mark, edge

# Marks that old QEMU passes once in each attempt, and calls that belong to one of them.
_ONCE = frozenset(m.name for m in MARKS if m.side == "old" and not m.repeats)
_WITHIN = {"sendmsg": "cpr_save"}
_OF_AN_ATTEMPT = _ONCE | _WITHIN.keys() | {"vfio_ioctl"}


def transfer_events(recording: Recording) -> tuple[tuple[Event, ...], int, int]:
    """The events of this transfer, with the pids of old and of new QEMU.

    Without those of an earlier attempt of the same old QEMU, which was cancelled. If old and new
    are one process, its events from its execve on are attributed to new, under a negative pid.
    """
    old, new = recording.old.pid, recording.new.pid
    events = recording.events
    sent = recording.steps.get("migrate", 0)
    if old == new:
        new = -old
        begun = min((e.ns for e in events if e.mark == "exec" and e.ns >= sent), default=None)
        if begun is not None:
            events = tuple(
                replace(e, pid=new) if e.pid == old and e.ns >= begun else e for e in events
            )
    entries = [b.run_first_entry_ns for b in recording.brackets if b.run_first_entry_ns is not None]
    return _last_attempt(events, old, sent, max(entries, default=None)), old, new


def _last_attempt(
    events: tuple[Event, ...], old_pid: int, sent_ns: int, entered_ns: int | None
) -> tuple[Event, ...]:
    """Of old QEMU's marks the last ones before the guest's entry, and none before `migrate`."""
    begun = dict.fromkeys(_OF_AN_ATTEMPT, sent_ns)
    for event in events:
        if event.pid != old_pid or event.mark not in _ONCE or event.edge != "enter":
            continue
        if entered_ns is None or event.ns <= entered_ns:
            begun[event.mark] = max(begun[event.mark], event.ns)
    begun |= {call: begun[mark] for call, mark in _WITHIN.items()}
    return tuple(e for e in events if e.pid != old_pid or e.ns >= begun.get(e.mark, 0))


class Marks:
    """Lookup of marks by side, name and edge in one transfer's events."""

    def __init__(self, events: tuple[Event, ...], old_pid: int, new_pid: int) -> None:
        self._sides = {old_pid: "old", new_pid: "new"}
        self._by_key: dict[Key, list[Event]] = {}
        for event in sorted(events, key=lambda e: e.ns):
            side = self._sides.get(event.pid)
            if side is not None:
                self._by_key.setdefault((side, event.mark, event.edge), []).append(event)

    def without(self, keys: Collection[Key]) -> Marks:
        """The same without some marks, as if they had not been seen."""
        rest = Marks((), 0, 0)
        rest._by_key = {key: events for key, events in self._by_key.items() if key not in keys}
        return rest

    @property
    def seen(self) -> Collection[Key]:
        return self._by_key.keys()

    def all(self, side: str, name: str, edge: str) -> list[Event]:
        return self._by_key.get((side, name, edge), [])

    def first(self, side: str, name: str, edge: str, after: int = 0) -> Event | None:
        return next((e for e in self.all(side, name, edge) if e.ns >= after), None)

    def last_before(self, side: str, name: str, edge: str, before: int) -> Event | None:
        return next((e for e in reversed(self.all(side, name, edge)) if e.ns <= before), None)

    def at(self, moment: At) -> Event | None:
        since = self.at(moment.after) if moment.after else None
        return self.first(moment.side, moment.mark, moment.edge, since.ns if since else 0)

    def old(self, name: str, edge: str) -> int | None:
        event = self.first("old", name, edge)
        return event.ns if event else None

    def new(self, name: str, edge: str) -> int | None:
        event = self.first("new", name, edge)
        return event.ns if event else None

    def stop_position(self) -> str:
        """Where old QEMU stopped the VM: before or after it saved the CPR state."""
        stop, save = self.old("vm_stop", "enter"), self.old("cpr_save", "enter")
        if stop is None or save is None:
            return "unknown"
        return "after-cpr-save" if stop > save else "before-cpr-save"


class Moments:
    """The moments of the table in one transfer; None for one that was not seen.

    A moment is an event if the process's counters can be read from it, else a time in ns.
    """

    def __init__(
        self, marks: Marks, steps: Mapping[str, int], mode: Mode, first_entry: int | None
    ) -> None:
        self.marks, self.steps, self.mode, self.first_entry = marks, steps, mode, first_entry

    def find(self, moment: Moment) -> Event | int | None:
        match moment:
            case At():
                return self.marks.at(moment)
            case ControllerStep(name):
                return self.steps.get(name)
            case _:
                return _DERIVED[moment](self)

    def ns(self, moment: Moment) -> int | None:
        return in_ns(self.find(moment))

    def asked_to_stop(self) -> Event | None:
        """The stop of a guest that is paused before its QEMU is told to save it."""
        ends_first = self.steps.get("old_gone") is not None
        return self.marks.at(PAUSE) if ends_first else None


def _cpr_load_begun(seen: Moments) -> int | None:
    """New QEMU waits in accept() until old connects; that is not part of loading."""
    begun, save = seen.ns(CPR_LOAD), seen.ns(CPR_SAVE)
    if save is None or (begun is None and seen.mode not in CPR_CHANNEL):
        return None
    # New may have begun to wait before its process was watched.
    return save if begun is None else max(begun, save)


def _stop(seen: Moments) -> Event | None:
    return seen.asked_to_stop() or seen.marks.at(VM_STOP)


def _paused(seen: Moments) -> Event | None:
    paused = PAUSED if seen.asked_to_stop() else replace(PAUSED, after=VM_STOP)
    return seen.marks.at(paused)


def _saving(seen: Moments) -> Event | None:
    """New QEMU that has been reading RAM before waits for old from the stop on."""
    return seen.marks.at(SET_UP if seen.mode in STOPS_FIRST else STOPPED)


def _followed(seen: Moments) -> int | None:
    """When new QEMU could start: old had exited, or became new by execve."""
    stopped = seen.marks.at(STOPPED)
    # The guest does not wait for a process that was started before it stopped.
    execve = seen.marks.first("new", "exec", "enter", stopped.ns) if stopped else None
    return seen.steps.get("old_gone", in_ns(execve))


def _loaded(seen: Moments) -> Event | None:
    """The same function is also called when the machine is created, before loading."""
    vm_start, load = seen.marks.at(VM_START), seen.marks.at(LOAD)
    loaded = seen.marks.last_before("new", "loaded", "enter", vm_start.ns) if vm_start else None
    return None if loaded and load and loaded.ns < load.ns else loaded


def _awaited(seen: Moments) -> int | None:
    """When the guest starts to wait for new QEMU to load, and no longer for old to save."""
    completed, sections = seen.ns(COMPLETED), seen.ns(LOAD_MAIN)
    if seen.mode not in STOPS_FIRST:  # new QEMU has been reading since before the stop
        late = completed is not None and completed > (seen.first_entry or completed)
        return seen.ns(STOPPED) if seen.mode == "postcopy" or late else completed
    # The guest waits for old until new reads the first section, or until old has sent everything.
    if sections is None or completed is None:
        return sections
    return min(sections, completed)


def _addresses_given_up(seen: Moments) -> int | None:
    unmapped, (taken, _) = vfio_bounds(seen.marks)
    return in_ns(unmapped or taken)


_DERIVED: dict[Derived, Callable[[Moments], Event | int | None]] = {
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


def in_ns(moment: Event | int | None) -> int | None:
    return moment.ns if isinstance(moment, Event) else moment


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
