"""One update as bars on a time axis, for HTML templates: positions in percent of the axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.wording import figure, ms
from results.records.run import Run, Span, blackout_window
from results.timeline.marks import phase_label


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: `left` and `width` in percent; `ticks` are moments, in percent."""

    side: str
    name: str
    left: float
    width: float
    text: str
    kind: str = ""  # guest, blackout or empty: drawn by side
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """Bars on one axis of `length` with labels at quarters."""

    title: str
    labels: tuple[str, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Handover:
    """A run's two axes (the handover, the blackout magnified) and its numbers."""

    run: Run
    name: str
    axes: tuple[Axis, ...]
    rows: tuple[tuple[str, ...], ...]


HEADER = ("process", "phase", "starts, ms", "takes", "of the blackout", "switches", "faults", "CPU")


def handover(run: Run, name: str) -> Handover:
    """`name` is which run it is: the longest, or the one nearest to the median."""
    window = blackout_window(run)
    axes = []
    if run.spans:
        axes.append(_whole(run, window))
    if window is not None:
        axes.append(_magnified(run, window))
    start = _start(run, window)
    rows = tuple(_row(span, start) for span in _ordered(run.spans))
    return Handover(run, name, tuple(axes), rows)


def _start(run: Run, window: tuple[int, int] | None) -> int:
    starts = [span.start_ns for span in run.spans] or [0]
    if window is not None and run.migrate_ns:
        starts.append(run.migrate_ns)
    return min(starts)


def _whole(run: Run, window: tuple[int, int] | None) -> Axis:
    start = _start(run, window)
    end = max(span.end_ns for span in run.spans)
    bars = []
    if window is not None:
        end = max(end, window[1])
        bars.append(_bar("old", "guest runs", start, window[0], "", (start, end), "guest"))
        bars.append(_bar("", "blackout", *window, ms(run.blackout_ns), (start, end), "blackout"))
        bars.append(_bar("new", "guest runs", window[1], end, "", (start, end), "guest"))
    bars += [
        _bar(
            s.side,
            phase_label(s.name),
            s.start_ns,
            s.end_ns,
            ms(s.end_ns - s.start_ns),
            (start, end),
        )
        for s in _ordered(run.spans)
    ]
    bars += _descriptors(run, start, end)
    return Axis(f"The handover, {ms(end - start)}", _labels(end - start), tuple(bars))


def _descriptors(run: Run, start: int, end: int) -> list[Bar]:
    """When each descriptor was sent by old and received by new QEMU."""
    rows = []
    for side, what, moments in (
        ("old", "fds sent", [fd.sent_ns for fd in run.fds]),
        ("new", "fds received", [fd.received_ns for fd in run.fds]),
    ):
        known = [moment for moment in moments if moment is not None and start <= moment <= end]
        if known:
            ticks = tuple(_percent(moment - start, end - start) for moment in known)
            rows.append(Bar(side, what, 0, 0, str(len(known)), "", ticks))
    return rows


def _magnified(run: Run, window: tuple[int, int]) -> Axis:
    start, end = window
    bars = []
    for span in _ordered(run.spans):
        if span.end_ns <= start or span.start_ns >= end:
            continue
        share = 100.0 * span.blackout_ns / (end - start)
        text = f"{ms(span.blackout_ns)}, {share:.0f} %" if span.blackout_ns > 0 else "overlaps"
        bars.append(
            _bar(span.side, phase_label(span.name), span.start_ns, span.end_ns, text, window)
        )
    if run.residual_ns:
        bars.append(Bar("", "no phase", 0, 0, ms(run.residual_ns)))
    title = f"The blackout, magnified: {ms(end - start)}"
    return Axis(title, _labels(end - start), tuple(bars))


def _bar(
    side: str, name: str, start: int, end: int, text: str, axis: tuple[int, int], kind: str = ""
) -> Bar:
    """Clipped to the axis."""
    first, last = max(start, axis[0]), min(end, axis[1])
    length = axis[1] - axis[0]
    left = _percent(first - axis[0], length)
    return Bar(side, name, left, _percent(max(0, last - first), length), text, kind)


def _percent(part: int, whole: int) -> float:
    return round(100.0 * part / max(1, whole), 3)


def _labels(length: int) -> tuple[str, ...]:
    # No label at three quarters: on a phone it would overlap the last one.
    return ("0", figure(length // 4), figure(length // 2), "", ms(length))


def _ordered(spans: Iterable[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: (span.start_ns, span.end_ns))


def _row(span: Span, start: int) -> tuple[str, ...]:
    counters = span.counters
    return (
        span.side,
        phase_label(span.name),
        figure(span.start_ns - start),
        ms(span.end_ns - span.start_ns),
        ms(span.blackout_ns) if span.blackout_ns else "–",
        *(str(counters.get(key, "–")) for key in ("switches", "faults")),
        ms(counters.get("task_ns")),
    )
