"""Whether the marks of a transfer are complete and in the order that QEMU's code implies.

A mark out of order may be the wrong function, or belong to something else: nothing is measured from
it. It is treated as not seen, so that its phases are unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from results.records.reasons import Reason, because
from results.records.recording import Event, Recording
from results.records.scenario import Mode

from .marks import (
    COMPLETE,
    COMPLETED,
    CONNECTED,
    CPR_CHANNEL,
    CPR_CLOSED,
    CPR_LOAD,
    CPR_LOADED,
    CPR_SAVE,
    CPR_SAVED,
    ENDED,
    LISTEN,
    LISTENING,
    LOAD,
    LOAD_MAIN,
    MARK_NAMES,
    OUTGOING,
    PAUSE,
    PAUSED,
    SET_UP,
    SETUP,
    STOPPED,
    STOPS_FIRST,
    SUCCEEDS,
    VM_START,
    VM_STOP,
    At,
    Mark,
    expected_marks,
)
from .moments import Key, Marks, transfer_events

_LOADED = At("new", "loaded", after=LOAD)  # it also fires when the machine is created
# Which firing of a mark that repeats belongs to the transfer.
_REPEATED = {at.mark: at for at in (CPR_CLOSED, LOAD_MAIN, _LOADED, ENDED)}

Chain = tuple[At, ...]  # each happens after all those before it

_RESUME, _RUNSTATE = At("new", "resume_vcpus"), At("new", "runstate")
_CONNECT: Chain = (CPR_SAVE, CPR_SAVED, OUTGOING, CONNECTED, SETUP)
_SET_UP: Chain = (SETUP, SET_UP)
_STOP: Chain = (VM_STOP, PAUSE, PAUSED, STOPPED)
_SAVE: Chain = (COMPLETE, COMPLETED)
_INCOMING: Chain = (
    *(CPR_LOAD, CPR_LOADED, LISTEN, LISTENING, CPR_CLOSED, LOAD, LOAD_MAIN, _LOADED),
    *(VM_START, _RESUME, At("new", "resume_vcpus", "return")),
)
_FIRST_CLOSED, _MACHINE_MADE = At("new", "cpr_close"), At("new", "loaded")
_STARTED: tuple[Chain, ...] = ((CPR_LOADED, _FIRST_CLOSED, LOAD), (CPR_LOADED, _MACHINE_MADE))
# New QEMU cannot load what old has not begun to send.
_ACROSS: tuple[Chain, ...] = (
    (OUTGOING, LOAD),
    (CONNECTED, LOAD_MAIN),
    (PAUSED, _LOADED),
    (STOPPED, _LOADED),
    (COMPLETE, _LOADED),
)


def _chains(mode: Mode) -> tuple[Chain, ...]:
    """The orders that hold in `mode`, whichever of the marks fire in it."""
    found = [_CONNECT, _INCOMING, *_STARTED, *_ACROSS]
    if mode in CPR_CHANNEL:
        found.append((CPR_SAVE, CPR_LOADED))
    if mode in STOPS_FIRST:
        found += [(*_STOP, *_SET_UP, *_SAVE), (STOPPED, LOAD_MAIN)]
    elif mode == "snapshot":  # the guest is stopped by `stop`, before the transfer begins
        found += [(PAUSE, PAUSED, CPR_SAVE), (*_SET_UP, VM_STOP, STOPPED, *_SAVE)]
    else:
        found.append((*_SET_UP, *_STOP, *_SAVE))
    if mode in SUCCEEDS:
        found.append((COMPLETED, LOAD))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class CheckedMarks:
    """The marks of one transfer: those in order, all that were seen, and what is wrong there."""

    trusted: Marks
    seen: Marks
    warnings: tuple[Reason, ...] = ()


def check_marks(recording: Recording) -> CheckedMarks:
    """Check the marks of a transfer. None is missing if it was not traced, or if it failed."""
    marks = Marks(*transfer_events(recording))
    disordered = _disordered(marks, recording.scenario.mode)
    warnings: list[Reason] = []
    if recording.probed and not recording.failure:
        for mark in expected_marks(recording.scenario.mode):
            warnings += _missing(marks, mark, recording.scenario.mode)
    if disordered:
        names = ", ".join(sorted(f"{mark} ({side}, {edge})" for side, mark, edge in disordered))
        warnings.append(because("marks-disordered", marks=names))
    return CheckedMarks(marks.without(disordered), marks, tuple(warnings))


def _missing(marks: Marks, mark: Mark, mode: Mode) -> Iterator[Reason]:
    entered = marks.at(_REPEATED.get(mark.name, At(mark.side, mark.name)))
    returned = marks.at(At(mark.side, mark.name, "return")) if mark.returns else entered
    if entered is None and returned is None:
        yield because("mark-silent", mark=mark.name)
    elif returned is None:
        yield because("mark-unreturned", mark=mark.name)
    # New QEMU may have begun to wait for the CPR state before its process was watched.
    elif entered is None and not (mark.name == CPR_LOAD.mark and mode in CPR_CHANNEL):
        yield because("mark-unentered", mark=mark.name)


def _disordered(marks: Marks, mode: Mode) -> frozenset[Key]:
    found = {
        key
        for keys in (*_simultaneous(marks), *_unfinished(marks), *_not_run(marks))
        for key in keys
    }
    for chain in _chains(mode):
        seen = [(at, event.ns) for at in chain if (event := _seen(marks, at)) is not None]
        for (one, earlier), (other, later) in combinations(seen, 2):
            if earlier >= later:
                found |= {one.key, other.key}
    return frozenset(found)


def _seen(marks: Marks, at: At) -> Event | None:
    """The event of a moment; none if that which it must follow was not seen."""
    return marks.at(at) if at.after is None or marks.at(at.after) is not None else None


def _simultaneous(marks: Marks) -> Iterator[set[Key]]:
    """Marks with the same time to the ns: one of them is a copy."""
    at_once: dict[int, set[Key]] = {}
    for side, name, edge in marks.seen:
        for event in marks.all(side, name, edge) if name in MARK_NAMES else ():
            at_once.setdefault(event.ns, set()).add((side, name, edge))
    yield from (keys for keys in at_once.values() if len(keys) > 1)


def _unfinished(marks: Marks) -> Iterator[set[Key]]:
    """RAM or device state that is still being read after it has been loaded."""
    started, loaded = marks.at(VM_START), _seen(marks, _LOADED)
    if started is None or loaded is None:
        return
    reading = marks.last_before(*LOAD_MAIN.key, started.ns)
    if reading is not None and reading.ns > loaded.ns:
        yield {LOAD_MAIN.key, _LOADED.key}


def _not_run(marks: Marks) -> Iterator[set[Key]]:
    """vCPUs that are resumed although the run state was not set since vm_start."""
    started, resumed = marks.at(VM_START), marks.at(_RESUME)
    states = marks.all(*_RUNSTATE.key)
    if started is None or resumed is None or not states:
        return
    if not any(started.ns < state.ns < resumed.ns for state in states):
        yield {VM_START.key, _RUNSTATE.key}
