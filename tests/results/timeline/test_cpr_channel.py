"""Descriptors on the cpr channel, parsed from bytes that QEMU sent."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from results.records.reasons import Reason
from results.records.recording import Event
from results.records.run import CarriedFd
from results.timeline.cpr_channel import carried_descriptors, ram_maps

OLD, NEW = 100, 200
# Captured from QEMU 10.0.2: the channel's header and the first entry, and a later entry.
FIRST = "514350520000000101000000132f726f6d406574632f616370692f727364700000000000"
RAM0 = "010000000572616d300000000000"
MARKER = "20"  # the byte that carries the descriptor
END = "00"


def entry(name: str, identifier: int = 0) -> str:
    text = name.encode() + b"\0"
    body = len(text).to_bytes(4, "big") + text + identifier.to_bytes(4, "big", signed=True)
    return (b"\1" + body).hex()


def message(ns: int, pid: int, data: str, *fds: int) -> Event:
    values = {"fds": len(fds)} | {f"fd{n}": fd for n, fd in enumerate(fds)}
    mark, edge = ("sendmsg", "enter") if pid == OLD else ("recvmsg", "return")
    return Event(ns, pid, pid, mark, edge, values, data)  # type: ignore[arg-type]


def sent(ns: int, data: str, fd: int) -> list[Event]:
    """Old QEMU sends an entry and its descriptor in two messages."""
    return [message(ns, OLD, data), message(ns + 1, OLD, MARKER, fd)]


def received(ns: int, data: str, fd: int) -> list[Event]:
    """New QEMU receives both in one: the kernel merges bytes up to a descriptor."""
    return [message(ns, NEW, data + MARKER, fd)]


def test_captured_bytes_of_a_transfer() -> None:
    events = [
        *sent(10, FIRST, 3),
        *sent(20, RAM0, 13),
        message(30, OLD, END),
        *received(110, FIRST, 4),
        *received(120, RAM0, 14),
        message(130, NEW, END),
    ]
    found, doubts = carried_descriptors(events, OLD, NEW)
    assert found == (
        CarriedFd("/rom@etc/acpi/rsdp", 0, 11, 110, 3, 4),
        CarriedFd("ram0", 0, 21, 120, 13, 14),
    )
    assert doubts == ()


def test_entry_in_two_messages_on_both_sides() -> None:
    events = [
        *sent(10, RAM0, 13),
        message(110, NEW, RAM0),
        message(111, NEW, MARKER, 14),
    ]
    found, doubts = carried_descriptors(events, OLD, NEW)
    assert found == (CarriedFd("ram0", 0, 11, 111, 13, 14),)
    assert doubts == ()


def test_entry_split_by_a_short_read() -> None:
    cut = len(RAM0) // 2
    events = [
        *sent(10, RAM0, 13),
        message(110, NEW, RAM0[:cut]),
        message(111, NEW, RAM0[cut:] + MARKER, 14),
    ]
    assert carried_descriptors(events, OLD, NEW)[1] == ()


def test_events_in_any_order_of_arrival() -> None:
    events = [*sent(10, FIRST, 3), *sent(20, RAM0, 13), *received(110, FIRST, 3)]
    events += received(120, RAM0, 13)
    assert carried_descriptors(reversed(events), OLD, NEW) == carried_descriptors(events, OLD, NEW)


def test_ids_distinguish_descriptors_of_the_same_name() -> None:
    """vfio and iommufd save several under one name; ids may be negative."""
    ids = (0, 1, -1, 0x7FFFFFFF, -0x80000000)
    events: list[Event] = []
    for n, identifier in enumerate(ids):
        events += sent(10 * n + 10, entry("vfio_group", identifier), 30 + n)
    for n, identifier in enumerate(reversed(ids)):
        events += received(10 * n + 1_000, entry("vfio_group", identifier), 40 + n)
    found, doubts = carried_descriptors(events, OLD, NEW)
    assert [fd.id for fd in found] == list(ids)
    assert [fd.new_fd for fd in found] == [44, 43, 42, 41, 40]
    assert doubts == ()


def test_same_key_twice_is_matched_in_order() -> None:
    events = [*sent(10, RAM0, 13), *sent(20, RAM0, 15)]
    events += [*received(110, RAM0, 23), *received(120, RAM0, 25)]
    found, doubts = carried_descriptors(events, OLD, NEW)
    assert [(fd.old_fd, fd.new_fd) for fd in found] == [(13, 23), (15, 25)]
    assert doubts == ()


def test_sent_and_not_received() -> None:
    found, doubts = carried_descriptors(sent(10, RAM0, 13), OLD, NEW)
    assert found == (CarriedFd("ram0", 0, 11, None, 13, None),)
    assert [d.text for d in doubts] == ["descriptor ram0 id 0 was sent and not received"]


def test_received_and_not_sent() -> None:
    found, doubts = carried_descriptors(received(10, entry("ram0", 2), 13), OLD, NEW)
    assert found == ()
    assert [d.text for d in doubts] == ["descriptor ram0 id 2 was received and not sent"]


def test_another_id_is_another_descriptor() -> None:
    events = [*sent(10, entry("ram0", 1), 13), *received(110, entry("ram0", 2), 13)]
    assert [doubt.text for doubt in carried_descriptors(events, OLD, NEW)[1]] == [
        "descriptor ram0 id 1 was sent and not received",
        "descriptor ram0 id 2 was received and not sent",
    ]


def test_descriptor_without_a_readable_name_is_a_reason() -> None:
    events = [*sent(10, "ffffff", 13), *received(110, "ffffff", 14)]
    found, doubts = carried_descriptors(events, OLD, NEW)
    assert [(fd.name, fd.old_fd) for fd in found] == [("", 13)]
    assert [d.text for d in doubts] == ["a descriptor had no readable name (fd 13)"]


def test_long_name_within_qemus_own_limit() -> None:
    name = "n" * 255
    events = [*sent(10, entry(name), 13), *received(110, entry(name), 14)]
    found, doubts = carried_descriptors(events, OLD, NEW)
    assert ([fd.name for fd in found], doubts) == ([name], ())


def test_messages_of_other_processes_are_ignored() -> None:
    stranger = Event(5, 999, 999, "sendmsg", "enter", {"fds": 1, "fd0": 7}, RAM0 + MARKER)
    assert carried_descriptors([stranger], OLD, NEW) == ((), ())


@given(
    messages=st.lists(
        st.tuples(
            st.sampled_from((OLD, NEW)),
            st.binary(max_size=60).map(bytes.hex),
            st.lists(st.integers(-1, 1 << 16), max_size=3),
        ),
        max_size=12,
    )
)
@example(messages=[(OLD, "", [3])])
@example(messages=[(NEW, MARKER, [3, 4]), (OLD, RAM0[:-4], [5])])
@example(messages=[(OLD, "00000002" + "ff00" + "00000000" + MARKER, [5])])
def test_hostile_or_truncated_bytes_are_never_an_error(
    messages: list[tuple[int, str, list[int]]],
) -> None:
    events = [message(n, pid, data, *fds) for n, (pid, data, fds) in enumerate(messages)]
    found, doubts = carried_descriptors(events, OLD, NEW)
    carried = sum(len(fds) for pid, _, fds in messages if pid == OLD)
    assert len(found) == carried
    assert all(isinstance(doubt, Reason) for doubt in doubts)


@given(
    name=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200),
    identifier=st.integers(-(1 << 31), (1 << 31) - 1),
    before=st.binary(max_size=40),
)
def test_every_name_and_id_is_parsed_whatever_precedes_it(
    name: str, identifier: int, before: bytes
) -> None:
    events = sent(10, before.hex() + entry(name, identifier), 13)
    found, _ = carried_descriptors(events, OLD, NEW)
    assert [(fd.name, fd.id) for fd in found] == [(name, identifier)]


# -- guest RAM in new QEMU ------------------------------------------------------------------------


def mapping(ns: int, fd: int, flags: int = 1, pid: int = NEW) -> Event:
    values = {"address": 0x7F00 << 24, "length": 256 << 20, "fd": fd, "flags": flags}
    return Event(ns, pid, pid, "mmap", "return", values)


def test_only_shared_mappings_of_passed_descriptors_are_guest_ram() -> None:
    fds = (CarriedFd("ram0", 0, 11, 110, 13, 14),)
    events = [
        mapping(105, 14),  # the number belonged to another file then
        mapping(200, 14),
        mapping(210, 14, flags=2),  # private
        mapping(220, 13),  # old QEMU's number
        mapping(230, 14, pid=OLD),
    ]
    (found,) = ram_maps(events, NEW, fds)
    assert (found.name, found.fd, found.ns) == ("ram0", 14, 200)
    assert (found.address, found.length_bytes) == (0x7F00 << 24, 256 << 20)


def test_descriptor_that_never_arrived_maps_nothing() -> None:
    assert ram_maps([mapping(200, 13)], NEW, [CarriedFd("ram0", 0, 11, None, 13, None)]) == ()
