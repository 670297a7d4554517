"""Phases of a handover as spans on one clock, and their shares of the blackout.

Old and new QEMU work in parallel, so spans overlap. Shares do not: every instant of the blackout
belongs to at most one phase, that of the side that the guest is waiting for. This is old QEMU until
new reads the first section of device state or old has sent everything, and new QEMU from then on.
Time that belongs to no phase is the residual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from results.records.recording import Event
from results.records.run import Span
from results.records.scenario import Mode

from .marks import PHASES
from .moments import Marks, Moments, in_ns

# The last phase that claims an instant owns it, so those that yield come first.
_MEASURED = tuple(sorted(PHASES, key=lambda phase: not phase.yields))
_BY_NAME = {phase.name: phase for phase in PHASES}


def build_spans(
    marks: Marks, steps: Mapping[str, int], mode: Mode, window: tuple[int, int] | None
) -> tuple[Span, ...]:
    """Every known phase: those that yield first, then in order of time.

    A phase is known if both its ends were seen, and if so was the moment from which the guest waits
    for it. `window` is the VM blackout (start, end); without it all shares are 0.
    """
    seen = Moments(marks, steps, mode, window[1] if window else None)
    spans = _spans(seen)
    if window is None:
        return tuple(spans)
    shares: dict[str, int] = {}
    for start, end, owner in _owners(spans, seen, window):
        shares[owner] = shares.get(owner, 0) + end - start
    return tuple(replace(span, blackout_ns=shares.get(span.name, 0)) for span in spans)


def phase_owners(
    marks: Marks, steps: Mapping[str, int], mode: Mode, window: tuple[int, int]
) -> tuple[tuple[int, int, str], ...]:
    """The window split where its owner changes: (start, end, phase); "" for the residual."""
    seen = Moments(marks, steps, mode, window[1])
    return tuple(_owners(_spans(seen), seen, window))


def _spans(seen: Moments) -> list[Span]:
    """Every known phase, without its share."""
    spans = []
    for phase in _MEASURED:
        if phase.share_from is not None and seen.ns(phase.share_from) is None:
            continue
        bounds = seen.find(phase.start), seen.find(phase.end)
        start, end = map(in_ns, bounds)
        if start is not None and end is not None and end >= start:
            spans.append(Span(phase.name, phase.side, start, end, 0, _spent(*bounds)))
    return spans


def _spent(start: Event | int | None, end: Event | int | None) -> dict[str, int]:
    """Increase of the process's counters between two of its events."""
    if not isinstance(start, Event) or not isinstance(end, Event) or start.pid != end.pid:
        return {}
    return {k: max(0, v - start.counters.get(k, 0)) for k, v in end.counters.items()}


def _owners(
    spans: Sequence[Span], seen: Moments, window: tuple[int, int]
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
