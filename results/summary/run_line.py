"""One run in one line, for findings, where a table would be too long."""

from __future__ import annotations

from results.records.observations import Stream
from results.records.run import Run

_LARGEST = 3


def figures(run: Run) -> str:
    """Blackout, the guest's own gap and the largest phases in ms, then each stream."""
    words = [f"blackout {run.blackout_ns / 1e6:.2f} ms"] if run.blackout_ns is not None else []
    if run.guest_gap_ns is not None:
        words.append(f"guest's gap {run.guest_gap_ns / 1e6:.2f}")
    largest = sorted(run.phases.items(), key=lambda phase: -phase[1])[:_LARGEST]
    words += [f"{name} {ns / 1e6:.2f}" for name, ns in largest]
    return "; ".join([", ".join(words), *map(stream_line, run.streams)])


def stream_line(stream: Stream) -> str:
    """What a stream lost and repeated, and its longest and its usual gap in ms."""
    gaps = (stream.longest_gap_ns, stream.usual_gap_ns)
    longest, usual = ("unknown" if ns is None else f"{ns / 1e6:.2f} ms" for ns in gaps)
    return (
        f"{stream.name}: {stream.lost} lost, {stream.repeated} repeated, "
        f"longest gap {longest}, usually {usual}"
    )
