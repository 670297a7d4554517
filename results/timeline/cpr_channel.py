"""Descriptors passed over the cpr channel by SCM_RIGHTS, from captured messages.

For every descriptor QEMU (migration/cpr.c) writes the length of its name (big-endian u32, NUL
included), the name, the id (i32), and then one byte with the descriptor as ancillary data. The
fields before them differ between releases, so an entry is parsed backwards from its descriptor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from results.records.reasons import Reason, because
from results.records.recording import Event
from results.records.run import CarriedFd, RamMap

_LONGEST_NAME = 256
MAP_SHARED = 0x01


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    id: int
    ns: int
    fd: int


def carried_descriptors(
    events: Iterable[Event], old_pid: int, new_pid: int
) -> tuple[tuple[CarriedFd, ...], tuple[Reason, ...]]:
    """Match what old sent with what new received, by name and id, in the order of sending.

    Returns the descriptors, and a reason for each that was sent and not received, received and not
    sent, or had no readable name.
    """
    ordered = sorted(events, key=lambda event: event.ns)
    sent = _entries(e for e in ordered if e.mark == "sendmsg" and e.pid == old_pid)
    received = _entries(e for e in ordered if e.mark == "recvmsg" and e.pid == new_pid)
    waiting = list(received)
    found: list[CarriedFd] = []
    doubts: list[Reason] = []
    for entry in sent:
        carried = CarriedFd(entry.name, entry.id, sent_ns=entry.ns, old_fd=entry.fd)
        twin = next((w for w in waiting if (w.name, w.id) == (entry.name, entry.id)), None)
        if twin is None:
            doubts.append(because("descriptor-lost", name=entry.name, id=entry.id))
        else:
            waiting.remove(twin)
            carried = replace(carried, received_ns=twin.ns, new_fd=twin.fd)
        found.append(carried)
    doubts += [because("descriptor-unsent", name=w.name, id=w.id) for w in waiting]
    doubts += [because("descriptor-nameless", fd=e.fd) for e in sent if not e.name]
    return tuple(found), tuple(doubts)


def _entries(messages: Iterable[Event]) -> list[_Entry]:
    found = []
    stream = b""
    for message in messages:
        stream += bytes.fromhex(message.data)
        for number in range(message.values.get("fds", 0)):
            # The descriptor is attached to the message's last byte; the entry ends just before it.
            name, identifier = _read_back(stream[:-1])
            fd = message.values.get(f"fd{number}", -1)
            found.append(_Entry(name, identifier, message.ns, fd))
            stream = b""
    return found


def _read_back(entry: bytes) -> tuple[str, int]:
    """Name and id at the end of `entry`; the name is empty if it cannot be parsed."""
    if len(entry) < 9 or entry[-5] != 0:
        return "", -1
    identifier = int.from_bytes(entry[-4:], "big", signed=True)
    for length in range(2, min(_LONGEST_NAME, len(entry) - 8) + 1):
        at = len(entry) - 4 - length
        if int.from_bytes(entry[at - 4 : at], "big") == length:
            return entry[at:-5].decode("ascii", "replace"), identifier
    return "", identifier


def ram_maps(events: Iterable[Event], new_pid: int, fds: Iterable[CarriedFd]) -> tuple[RamMap, ...]:
    """Shared mappings in new QEMU of descriptors that it received over the cpr channel."""
    names = {f.new_fd: (f.name, f.received_ns or 0) for f in fds if f.new_fd is not None}
    found = []
    for event in events:
        if (event.mark, event.edge) != ("mmap", "return") or event.pid != new_pid:
            continue
        fd, address = event.values["fd"], event.values["address"]
        name, since = names.get(fd, ("", 0))
        if not name or event.ns < since or not event.values["flags"] & MAP_SHARED:
            continue
        found.append(RamMap(name, fd, address, event.values["length"], event.ns))
    return tuple(found)
