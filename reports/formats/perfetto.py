"""Updates as a Perfetto trace for https://ui.perfetto.dev: recorded events, by thread.

Old and new QEMU are processes with their main thread, every vCPU and every other thread that has an
event. Slices on threads are QEMU's own functions and, on vCPUs, the guest running or stopped;
kernel events (mmap, ioctl, sendmsg, recvmsg) are on a track below their process, with an arrow for
each descriptor from sendmsg to recvmsg. Above the processes are the blackout, the phases and the
steps of the measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.request import Request
from results.errors import UsageError
from results.records.recording import Event, Process, Recording
from results.records.run import Run
from results.summary.report_data import ReportData
from results.timeline.marks import MARK_NAMES, PHASE_SIDES, SYSTEM_CALLS

from .trace_packets import TracePackets

# Arrows connect slices, which need a length: that of a short system call.
_CALL_NS = 1_000


def report(request: Request) -> bytes:
    """The requested run, or the session's longest update and the one nearest to the median."""
    store = request.store
    ids = [request.run] if request.run else _worst_and_median(request.data)
    return trace([(store.run(i), store.recording(i)) for i in ids])


def _worst_and_median(data: ReportData) -> list[str]:
    """The session's longest update and the one nearest to the median of the same cell."""
    cells = [cell for cell in data.cells if cell.worst and cell.median]
    if not cells:
        raise UsageError(f"session {data.session.id} has no valid run to trace")
    cell = max(cells, key=lambda cell: (cell.worst and cell.worst.blackout_ns) or 0)
    return list(dict.fromkeys(run.id for run in (cell.worst, cell.median) if run))


def trace(updates: Sequence[tuple[Run, Recording]]) -> bytes:
    """A serialised Trace of one update on the host's CLOCK_MONOTONIC, or of several.

    Several are overlaid for comparison: the `migrate` of each is moved to one second, and tracks
    have the run's id in their names.
    """
    out = TracePackets()
    for run, recording in updates:
        shift = 0
        prefix = ""
        if len(updates) > 1:
            shift = 1_000_000_000 - (run.migrate_ns or run.blackout_start_ns or 0)
            prefix = f"{run.id}: "
        _UpdateTrace(out, run, recording, shift, prefix).draw()
    return out.serialised()


@dataclass(slots=True)
class _UpdateTrace:
    """One run being drawn, with the host's times moved by `shift_ns`."""

    out: TracePackets
    run: Run
    recording: Recording
    shift_ns: int
    prefix: str
    _threads: dict[int, int] = field(default_factory=dict)
    _kernel: dict[int, int] = field(default_factory=dict)

    def draw(self) -> None:
        self._summary()
        for side, process, build in (
            ("old", self.recording.old, self.run.old_build),
            ("new", self.recording.new, self.run.new_build),
        ):
            if process.pid:
                self._process(side, process, build)
        self._functions()
        self._kernel_events()
        self._vcpus()

    def _at(self, ns: int) -> int:
        return ns + self.shift_ns

    # -- above the processes

    def _summary(self) -> None:
        run, out = self.run, self.out
        top = out.track(f"{self.prefix}handover {run.id}")
        if run.blackout_ns is not None and run.blackout_start_ns is not None:
            lane = out.track("blackout", top, 0)
            start = self._at(run.blackout_start_ns)
            about = {"blackout_ns": run.blackout_ns, "residual_ns": run.residual_ns or 0}
            out.slice(lane, "VM blackout", start, start + run.blackout_ns, about | _proof(run))
        for order, side in enumerate(PHASE_SIDES, 1):
            spans = [span for span in run.spans if span.side == side]
            for lane_spans in _lanes(spans):
                lane = out.track(f"phases: {side}", top, order)
                for span in lane_spans:
                    notes = {"blackout_ns": span.blackout_ns, **span.counters}
                    out.slice(
                        lane, span.name, self._at(span.start_ns), self._at(span.end_ns), notes
                    )
        lane = out.track("measurement", top, 9)
        for name, ns in self.recording.steps.items():
            out.instant(lane, name, self._at(ns))
        for stamp in self.recording.qmp:
            details: dict[str, Any] = {"side": stamp.side, "wall_us": stamp.wall_us, **stamp.data}
            out.instant(lane, f"QMP {stamp.side}: {stamp.name}", self._at(stamp.ns), details)

    # -- processes and threads

    def _process(self, side: str, process: Process, build: str) -> None:
        out, pid = self.out, process.pid
        parent = out.process(pid, f"{self.prefix}{side} QEMU {build}")
        self._threads[pid] = out.thread(parent, pid, pid, "main")
        for index, tid in enumerate(process.vcpu_tids):
            self._threads[tid] = out.thread(parent, pid, tid, f"vCPU {index}")
        others = dict.fromkeys(event.tid for event in self.recording.events if event.pid == pid)
        for tid in others:
            if tid not in self._threads:
                self._threads[tid] = out.thread(parent, pid, tid, f"thread {tid}")
        self._kernel[pid] = out.track("kernel events", parent, 1)

    def _functions(self) -> None:
        """QEMU's functions; one whose return is not probed is an instant."""
        for event, end in _calls(self.recording.events):
            track = self._threads.get(event.tid)
            if track is None:
                continue
            if end is None:
                self.out.instant(track, event.mark, self._at(event.ns), dict(event.values))
            else:
                self.out.slice(
                    track, event.mark, self._at(event.ns), self._at(end.ns), dict(event.counters)
                )

    def _kernel_events(self) -> None:
        sent, received = self._flows()
        for event in self.recording.events:
            track = self._kernel.get(event.pid)
            if track is None or event.mark not in SYSTEM_CALLS:
                continue
            notes = {"tid": event.tid, **event.values}
            at = self._at(event.ns)
            arrows = (sent if event.mark == "sendmsg" else received).get((event.pid, event.ns), [])
            names = [name for name, _ in arrows]
            ids = [flow for _, flow in arrows]
            title = f"{event.mark} {', '.join(names)}".strip()
            # The probe fires at one edge of the call, so that its duration is not known.
            self.out.slice(
                track,
                title,
                at,
                at + _CALL_NS,
                notes,
                sends=ids if event.mark == "sendmsg" else (),
                receives=ids if event.mark == "recvmsg" else (),
            )

    def _flows(self) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, int], Any]]:
        """(pid, time) of a message → names and arrows of the descriptors in it."""
        sent: dict[tuple[int, int], list[tuple[str, int]]] = {}
        received: dict[tuple[int, int], list[tuple[str, int]]] = {}
        for fd in self.run.fds:
            if fd.sent_ns is None or fd.received_ns is None:
                continue
            arrow = (f"{fd.name} {fd.id}", next(self.out.flows))
            sent.setdefault((self.recording.old.pid, fd.sent_ns), []).append(arrow)
            received.setdefault((self.recording.new.pid, fd.received_ns), []).append(arrow)
        return sent, received

    def _vcpus(self) -> None:
        """The guest runs in old QEMU, is stopped, and runs in new, from end to end of the trace."""
        times = [event.ns for event in self.recording.events] + list(self.recording.steps.values())
        for bracket in self.recording.brackets:
            stopped, started = bracket.run_last_exit_ns, bracket.run_first_entry_ns
            old, new = self._threads.get(bracket.old_tid), self._threads.get(bracket.new_tid)
            if stopped is not None and old is not None and times and min(times) < stopped:
                self.out.slice(old, "guest runs", self._at(min(times)), self._at(stopped))
            if started is not None and new is not None and times and started < max(times):
                self.out.slice(new, "guest runs", self._at(started), self._at(max(times)))
            if stopped is not None and started is not None and old is not None:
                notes = {"vcpu": bracket.index, "blackout_ns": started - stopped}
                self.out.slice(old, "stopped", self._at(stopped), self._at(started), notes)


def _proof(run: Run) -> dict[str, Any]:
    """The verdict of the run's proof, and why it is not `held`."""
    if run.proof is None:
        return {}
    found = {"proof": run.proof.verdict}
    return found | {"proof_reason": run.proof.reason} if run.proof.reason else found


def _lanes(spans: Sequence[Any]) -> list[list[Any]]:
    """Spans that do not nest, by lane: slices of one track must nest."""
    lanes: list[list[Any]] = []
    for span in sorted(spans, key=lambda span: (span.start_ns, -span.end_ns)):
        free = next((lane for lane in lanes if lane[-1].end_ns <= span.start_ns), None)
        if free is None:
            lanes.append([span])
        else:
            free.append(span)
    return lanes


def _calls(events: Sequence[Event]) -> Iterator[tuple[Event, Event | None]]:
    """Entries of QEMU's functions with their returns, matched within a thread."""
    waiting: dict[tuple[int, str], list[Event]] = {}
    returns: dict[int, Event] = {}
    for event in sorted(events, key=lambda event: event.ns):
        if event.mark not in MARK_NAMES:
            continue
        key = (event.tid, event.mark)
        if event.edge == "enter":
            waiting.setdefault(key, []).append(event)
        elif waiting.get(key):
            returns[id(waiting[key].pop())] = event
    for event in sorted(events, key=lambda event: event.ns):
        if event.mark in MARK_NAMES and event.edge == "enter":
            yield event, returns.get(id(event))
