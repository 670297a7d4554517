"""The packets of a Perfetto trace: tracks, and slices and instants on them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

_SEQUENCE = 1


class TracePackets:
    """Packets being built; every name is written out, so that a reader needs no state."""

    def __init__(self) -> None:
        # Takes 0.2 s to import, and no other report needs it.
        from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

        self._trace = Trace()
        self._types = TrackEvent
        self._uuids = count(1)
        self.flows = count(1)
        first = self._packet()
        first.sequence_flags = 1  # SEQ_INCREMENTAL_STATE_CLEARED

    def serialised(self) -> bytes:
        return bytes(self._trace.SerializeToString())

    def track(self, name: str, parent: int = 0, order: int = 0) -> int:
        """A new track below `parent`; children are ordered by `order`."""
        uuid = next(self._uuids)
        descriptor = self._packet().track_descriptor
        descriptor.uuid = uuid
        descriptor.name = name
        descriptor.child_ordering = descriptor.EXPLICIT
        descriptor.sibling_order_rank = order
        if parent:
            descriptor.parent_uuid = parent
        return uuid

    def process(self, pid: int, name: str) -> int:
        uuid = next(self._uuids)
        descriptor = self._packet().track_descriptor
        descriptor.uuid = uuid
        descriptor.process.pid = pid
        descriptor.process.process_name = name
        return uuid

    def thread(self, parent: int, pid: int, tid: int, name: str) -> int:
        uuid = next(self._uuids)
        descriptor = self._packet().track_descriptor
        descriptor.uuid = uuid
        descriptor.parent_uuid = parent
        descriptor.thread.pid = pid
        descriptor.thread.tid = tid
        descriptor.thread.thread_name = name
        return uuid

    def slice(
        self,
        track: int,
        name: str,
        start: int,
        end: int,
        notes: dict[str, Any] | None = None,
        *,
        sends: Sequence[int] = (),
        receives: Sequence[int] = (),
    ) -> None:
        """A slice on a track, with the ids of arrows that start and that end here."""
        event = self._event(track, start, self._types.TYPE_SLICE_BEGIN, name, notes)
        event.flow_ids.extend(sends)
        event.terminating_flow_ids.extend(receives)
        self._event(track, end, self._types.TYPE_SLICE_END)

    def instant(self, track: int, name: str, at: int, notes: dict[str, Any] | None = None) -> None:
        self._event(track, at, self._types.TYPE_INSTANT, name, notes)

    def _event(
        self, track: int, at: int, kind: int, name: str = "", notes: dict[str, Any] | None = None
    ) -> Any:
        packet = self._packet()
        packet.timestamp = max(0, at)
        event = packet.track_event
        event.type = kind
        event.track_uuid = track
        if name:
            event.name = name
        for key, value in (notes or {}).items():
            note = event.debug_annotations.add()
            note.name = key
            if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
                note.int_value = value
            else:
                note.string_value = str(value)
        return event

    def _packet(self) -> Any:
        packet = self._trace.packet.add()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet
