"""Phases of a handover as spans on one clock, and their shares of the blackout.

Old and new QEMU work at the same time, so spans overlap. Shares do not: every instant of the
blackout belongs to one phase at the most, that of the side the guest is waiting for: old until new
reads the first section of device state or old has sent all, new from then on. What belongs to none
is the residual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from results.records.recording import Event, Recording
from results.records.run import Span
from results.timeline.vfio_calls import is_address_call


def sided_events(recording: Recording) -> tuple[tuple[Event, ...], int, int]:
    """The events with the ids of old and of new QEMU.

    Where they are one process, what it did from its execve on is new QEMU's, under an id that no
    process has.
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
    """Look-up of marks by side, name and edge in one transfer's events."""

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


@dataclass(frozen=True, slots=True)
class _Bound:
    """A phase before its share is known: `share_from` is where the guest begins to wait for it."""

    name: str
    side: str
    start: Event | int | None
    end: Event | int | None
    share_from: int | None = None


def _ns(bound: Event | int | None) -> int | None:
    return bound.ns if isinstance(bound, Event) else bound


def build_spans(
    marks: Marks, steps: Mapping[str, int], window: tuple[int, int] | None
) -> tuple[Span, ...]:
    """Every phase whose both ends were seen, in order of time.

    `window` is the VM blackout (start, end); without it all shares are 0.
    """
    spans = []
    for bound in _bounds(marks, steps, window[1] if window else None):
        start, end = _ns(bound.start), _ns(bound.end)
        if start is None or end is None or end < start:
            continue
        counters = _spent(bound.start, bound.end)
        spans.append(Span(bound.name, bound.side, start, end, 0, counters))
    if window is None:
        return tuple(spans)
    from_ns = {b.name: b.share_from for b in _bounds(marks, steps, window[1])}
    return _with_shares(spans, from_ns, window)


def phase_owners(
    marks: Marks, steps: Mapping[str, int], window: tuple[int, int]
) -> tuple[tuple[int, int, str], ...]:
    """The window cut where its owner changes: (start, end, phase), empty where none claims it."""
    bounds = _bounds(marks, steps, window[1])
    spans = build_spans(marks, steps, window)
    return tuple(_owners(spans, {b.name: b.share_from for b in bounds}, window))


def _bounds(marks: Marks, steps: Mapping[str, int], first_entry: int | None) -> list[_Bound]:
    """The table of phases in measurement order, each with the events that bound it."""
    save = marks.first("old", "cpr_save", "enter")
    loaded_cpr = marks.first("new", "cpr_load", "return")
    waited = marks.first("new", "cpr_load", "enter")
    listening = marks.first("new", "main_listen", "return")
    closed = marks.first("new", "cpr_close", "enter", after=listening.ns if listening else 0)
    outgoing = marks.first("old", "outgoing", "enter")
    stop = marks.first("old", "vm_stop", "enter")
    paused = marks.first("old", "pause_vcpus", "return", after=stop.ns if stop else 0)
    stopped = marks.first("old", "vm_stop", "return")
    gone = steps.get("old_gone")
    if gone is not None and (asked := marks.first("old", "pause_vcpus", "enter")):
        # A guest that was told to stop stands still before its QEMU is told to save it.
        stop, paused = asked, marks.first("old", "pause_vcpus", "return")
    # A process that is started before the guest stops is none that it waits for.
    execve = marks.first("new", "exec", "enter", after=stopped.ns) if stopped else None
    followed_at = gone if gone is not None else _ns(execve)
    setup, set_up = (marks.first("old", "setup", edge) for edge in ("enter", "return"))
    completed = marks.first("old", "complete", "return")
    load = marks.first("new", "load", "enter")
    sections = marks.first("new", "load_main", "enter")
    vm_start = marks.first("new", "vm_start", "enter")
    loaded = marks.last_before("new", "loaded", "enter", vm_start.ns) if vm_start else None
    if loaded and load and loaded.ns < load.ns:
        loaded = None  # the same function also runs once when the machine is made
    resumed = marks.first("new", "resume_vcpus", "return", after=vm_start.ns if vm_start else 0)
    ended = marks.first("old", "runstate", "enter", after=completed.ns) if completed else None
    # Until new reads the first section the guest waits for old, but not once old has sent all.
    awaited = min(sections.ns, completed.ns) if sections and completed else _ns(sections)
    saving = set_up
    if setup and stopped and setup.ns < stopped.ns:
        # RAM was copied while the guest ran: new QEMU has been reading since, and waits for old.
        sent = completed is not None and (first_entry is None or completed.ns <= first_entry)
        saving, awaited = stopped, _ns(completed if sent else stopped)  # postcopy: not all is sent
    unmapped, remap = vfio_bounds(marks)
    # New QEMU waits in accept until old connects: that is not loading.
    begun = waited if waited and save and waited.ns > save.ns else save
    return [
        # Without a hold QEMU starts in the blackout; what it is known to do meanwhile comes later.
        _Bound("source_quit", "old", completed, followed_at),
        _Bound("target_start", "new", followed_at, _ns(load)),
        _Bound("cpr_save", "old", save, marks.first("old", "cpr_save", "return")),
        _Bound("cpr_load", "new", _ns(begun), loaded_cpr),
        _Bound("target_init", "new", loaded_cpr, steps.get("monitor")),
        _Bound("hold", "controller", steps.get("monitor"), steps.get("migrate_incoming")),
        _Bound("hang_up", "both", _ns(closed), _ns(outgoing)),
        _Bound("main_connect", "old", outgoing, marks.first("old", "connected", "enter")),
        _Bound("vcpu_stop", "old", stop, paused),
        _Bound("quiesce", "old", paused, stopped),
        _Bound("save_start", "old", stopped, setup),
        _Bound("ram_setup", "old", setup, set_up),
        _Bound("state_save", "old", saving, completed),
        _Bound("state_load", "new", load, loaded, share_from=awaited),
        _Bound("vfio_remap", "new", *remap),
        _Bound("activation", "new", loaded, vm_start),
        _Bound("vm_start", "new", vm_start, resumed),
        _Bound("first_entry", "new", resumed, first_entry),
        _Bound("vfio_handover", "both", _ns(unmapped or remap[0]), _ns(remap[1])),
        _Bound("source_end", "old", completed, ended),
    ]


def vfio_bounds(marks: Marks) -> tuple[Event | None, tuple[Event | None, Event | None]]:
    """Where assigned devices change hands: old lets go of its addresses, new gives its own."""
    # Before the stop QEMU only tries out whether iommufd knows the call.
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
    """Counters of the process between two of its events."""
    if not isinstance(start, Event) or not isinstance(end, Event) or start.pid != end.pid:
        return {}
    return {k: max(0, v - start.counters.get(k, 0)) for k, v in end.counters.items()}


def _with_shares(
    spans: list[Span], share_from: Mapping[str, int | None], window: tuple[int, int]
) -> tuple[Span, ...]:
    shares: dict[str, int] = {}
    for start, end, owner in _owners(spans, share_from, window):
        shares[owner] = shares.get(owner, 0) + end - start
    return tuple(
        Span(s.name, s.side, s.start_ns, s.end_ns, shares.get(s.name, 0), s.counters) for s in spans
    )


def _owners(
    spans: Sequence[Span], share_from: Mapping[str, int | None], window: tuple[int, int]
) -> Iterator[tuple[int, int, str]]:
    """Give each instant of the window to the last-listed phase that claims it."""
    claims: dict[str, tuple[int, int]] = {}
    for span in spans:
        start = max(span.start_ns, share_from.get(span.name) or span.start_ns, window[0])
        end = min(span.end_ns, window[1])
        if end > start and span.name not in _OUTSIDE:
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


# Never what the guest waits for: the controller's hold, and what old QEMU does after the fact.
# The devices' handover spans phases of both sides; its part that only new does is vfio_remap.
_OUTSIDE = frozenset({"hold", "source_end", "vfio_handover"})
