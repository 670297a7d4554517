"""The trace, read back by Perfetto's own protobuf classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from reports.formats.perfetto import trace
from results.judgement.judge import judge
from results.records.recording import Event, Recording

# The evidence of a real update on KVM.
DATA = Path(__file__).parents[2] / "results" / "data" / "handover-kvm.json"


@pytest.fixture(scope="module")
def handover():
    recording = msgspec.json.decode(DATA.read_bytes(), type=Recording)
    return judge(recording), recording


class Read:
    """Tracks and events of a trace by name, with slices closed."""

    def __init__(self, data):
        parsed = Trace()
        parsed.ParseFromString(data)
        self.tracks = {
            p.track_descriptor.uuid: p.track_descriptor
            for p in parsed.packet
            if p.HasField("track_descriptor")
        }
        self.slices, self.instants, self.sends, self.receives = [], [], {}, {}
        stacks = {}
        for packet in parsed.packet:
            if not packet.HasField("track_event"):
                continue
            event = packet.track_event
            assert event.track_uuid in self.tracks
            stack = stacks.setdefault(event.track_uuid, [])
            if event.type == TrackEvent.TYPE_SLICE_BEGIN:
                stack.append((event.name, packet.timestamp, event))
                self.sends |= dict.fromkeys(event.flow_ids, (packet.timestamp, event))
                self.receives |= dict.fromkeys(
                    event.terminating_flow_ids, (packet.timestamp, event)
                )
            elif event.type == TrackEvent.TYPE_SLICE_END:
                name, start, begun = stack.pop()
                self.slices.append(
                    (self.name(event.track_uuid), name, start, packet.timestamp, begun)
                )
            else:
                self.instants.append((self.name(event.track_uuid), event.name, packet.timestamp))
        assert not any(stacks.values())

    def name(self, uuid):
        track = self.tracks[uuid]
        if track.HasField("process"):
            return track.process.process_name
        if track.HasField("thread"):
            return f"{self.name(track.parent_uuid)}/{track.thread.thread_name}"
        parent = f"{self.name(track.parent_uuid)}/" if track.parent_uuid else ""
        return f"{parent}{track.name}"

    def named(self, name):
        return [(track, start, end) for track, n, start, end, _ in self.slices if n == name]


@pytest.fixture(scope="module")
def read(handover):
    return Read(trace([handover]))


def test_threads_of_both_processes_are_there(handover, read):
    _, recording = handover
    names = {read.name(uuid) for uuid in read.tracks}
    for side, process in (("old", recording.old), ("new", recording.new)):
        head = next(n for n in names if n.startswith(f"{side} QEMU") and "/" not in n)
        assert {f"{head}/main", f"{head}/kernel events"} <= names
        assert {f"{head}/vCPU {i}" for i in range(len(process.vcpu_tids))} <= names
    threads = [t.thread for t in read.tracks.values() if t.HasField("thread")]
    assert {t.tid for t in threads} >= {*recording.old.vcpu_tids, *recording.new.vcpu_tids}


def test_blackout_and_phases_have_the_runs_times(handover, read):
    run, _ = handover
    ((_, start, end),) = read.named("VM blackout")
    assert (start, end) == (run.blackout_start_ns, run.blackout_start_ns + run.blackout_ns)
    drawn = {(n, s, e) for track, n, s, e, _ in read.slices if "phases" in track}
    assert drawn == {(s.name, s.start_ns, s.end_ns) for s in run.spans}


def test_each_vcpu_is_stopped_for_its_blackout(handover, read):
    _, recording = handover
    still = read.named("stopped")
    assert len(still) == len(recording.brackets)
    for bracket, (track, start, end) in zip(recording.brackets, still, strict=True):
        assert (start, end) == (bracket.run_last_exit_ns, bracket.run_first_entry_ns)
        assert track.endswith(f"vCPU {bracket.index}")


def test_arrows_go_from_sender_to_receiver(handover, read):
    run, _ = handover
    carried = [fd for fd in run.fds if fd.sent_ns is not None and fd.received_ns is not None]
    assert carried
    assert len(read.sends) == len(read.receives) == len(carried)
    assert set(read.sends) == set(read.receives)
    found = set()
    for flow, (sent, sender) in read.sends.items():
        received, receiver = read.receives[flow]
        assert sender.name.startswith("sendmsg ")
        assert receiver.name.startswith("recvmsg ")
        assert sender.name.removeprefix("sendmsg ") == receiver.name.removeprefix("recvmsg ")
        assert sent < received
        found.add((sent, received))
    assert found == {(fd.sent_ns, fd.received_ns) for fd in carried}


def test_every_event_is_drawn_once(handover, read):
    _, recording = handover
    for mark in ("mmap", "sendmsg", "recvmsg"):
        drawn = [n for track, n, *_ in read.slices if n.split()[0] == mark and "kernel" in track]
        assert len(drawn) == sum(event.mark == mark for event in recording.events)
    stop = [e.ns for e in recording.events if e.mark == "vm_stop"]
    ((track, start, end),) = read.named("vm_stop")
    assert [start, end] == stop
    assert track.endswith("/main")


def test_calls_on_assigned_devices_are_drawn(handover):
    run, recording = handover
    at, pid = recording.events[0].ns, recording.old.pid
    call = Event(at, pid, pid, "vfio_ioctl", "enter", {"command": 0x3B72})
    read = Read(trace([(run, replace(recording, events=(*recording.events, call)))]))
    ((track, start, _),) = read.named("vfio_ioctl")
    assert (track.endswith("kernel events"), start) == (True, at)


def test_several_updates_are_overlaid(handover):
    run, recording = handover
    later = replace(run, id=run.id[:-1] + "9")
    read = Read(trace([handover, (later, recording)]))
    first, second = read.named("VM blackout")
    assert first[1:] == second[1:]
    assert first[1] == 1_000_000_000 + run.blackout_start_ns - run.migrate_ns
    assert first[0].startswith(run.id)
    assert second[0].startswith(later.id)


def test_a_failed_run_without_evidence_has_a_trace(handover):
    run, recording = handover
    bare = replace(recording, events=(), brackets=(), qmp=(), steps={})
    lost = replace(run, blackout_ns=None, spans=(), fds=(), outcome="failed")
    assert not Read(trace([(lost, bare)])).slices
